"""The ``semcache`` command. What a command needs is imported when it runs."""

from semcache_async.cli.commands import app, main

__all__ = ["app", "main"]
