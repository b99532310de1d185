"""One chat completion through the cache, whatever protocol asked for it."""
