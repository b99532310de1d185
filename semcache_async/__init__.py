"""An asyncio semantic cache for LLM answers."""
