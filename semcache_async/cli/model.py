"""The ``semcache model`` commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcache_async.cli.flags import Debug
from semcache_async.shell import one_line_errors

__all__ = ["list_models", "pull"]


def pull(
    name: Annotated[
        str | None,
        typer.Argument(
            help="OWNER/NAME on the Hugging Face hub, or one of `semcache model list`; @REVISION "
            "behind it asks for a branch, tag or commit. Without one: the default model.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Fetch the newest and build it anew.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Fetch, verify and build an embedding model, and say where it lies.

    Runs by itself on first need; SEMCACHE_CACHE_DIR names another directory. Only descriptions,
    tokenizers, safetensors and ONNX files are fetched, and no code of a model is run.

    Example: semcache model pull BAAI/bge-small-en-v1.5
    """
    with one_line_errors(debug):
        from semcache_async.embed import hint, pull_model

        directory = pull_model(name, force=force)
        typer.echo(f"The model is ready ({_megabytes(directory):.0f} MB): {directory}")
        if (faster := hint()) is not None:
            typer.echo(faster)


def list_models(debug: Debug = False) -> None:
    """What is recommended, and what lies on this machine.

    Any other sentence-transformers model of the Hugging Face hub can be named too.

    Example: semcache model list
    """
    with one_line_errors(debug):
        from rich.console import Console
        from rich.table import Table

        from semcache_async.embed.models.catalog import CATALOG
        from semcache_async.embed.models.installed import kept_models, origin

        table = Table("model", "MB", "licence", "languages", "for", "max_distance")
        for model in CATALOG:
            measured = "not measured" if model.max_distance is None else f"{model.max_distance:g}"
            table.add_row(
                *(model.repository, str(model.megabytes), model.licence, model.languages),
                *(model.purpose, measured),
            )
        console = Console()
        console.print(table)
        kept = Table("on this machine", "from", "MB")
        for directory in kept_models():
            kept.add_row(*origin(directory), f"{_megabytes(directory):.0f}")
        console.print(kept)


def _megabytes(directory: Path) -> float:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) / 1e6
