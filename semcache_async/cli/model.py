"""The ``semcache model`` commands."""

from __future__ import annotations

from typing import Annotated

import typer

from semcache_async.cli.flags import Debug
from semcache_async.shell import one_line_errors

__all__ = ["pull"]


def pull(
    force: Annotated[bool, typer.Option("--force", help="Fetch and build it anew.")] = False,
    debug: Debug = False,
) -> None:
    """Fetch, verify and build the embedding model, and say where it lies.

    Runs by itself on first need; SEMCACHE_CACHE_DIR names another directory.

    Example: semcache model pull --force
    """
    with one_line_errors(debug):
        from semcache_async.embed import hint, pull_model

        directory = pull_model(force=force)
        size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
        typer.echo(f"The model is ready ({size / 1e6:.0f} MB): {directory}")
        if (faster := hint()) is not None:
            typer.echo(faster)
