"""Entries in Redis: what their hashes say, how they are written, found and removed."""
