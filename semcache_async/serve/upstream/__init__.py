"""What is spoken with the LLM's own service: its client, its streams, what they add up to."""
