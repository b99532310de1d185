"""Change events: what they say, what carries them, and who applies them."""
