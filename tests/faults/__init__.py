"""What fails around the cache, made to fail."""
