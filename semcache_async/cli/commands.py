"""All commands, put together."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from semcache_async.cli.admin import feedback, invalidate, stats
from semcache_async.cli.ask import ask
from semcache_async.cli.demo import demo
from semcache_async.cli.export import export_answers
from semcache_async.cli.fill import import_answers
from semcache_async.cli.migrate import migrate
from semcache_async.cli.model import list_models, pull
from semcache_async.cli.serve import serve
from semcache_async.cli.setup.docs import docs
from semcache_async.cli.setup.doctor import doctor
from semcache_async.cli.setup.init import init
from semcache_async.cli.simulate import simulate_llm
from semcache_async.cli.worker import worker
from semcache_async.load.command import load
from semcache_async.tune.command import calibrate

__all__ = ["app", "main"]

app = typer.Typer(
    name="semcache",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
model_app = typer.Typer(no_args_is_help=True, help="Embedding models, by name.")
app.add_typer(model_app, name="model")


def _add(to: typer.Typer, command: Callable[..., object], name: str | None = None) -> None:
    """With its docstring as help, whose lines end where the terminal's do."""
    parts = (inspect.getdoc(command) or "").split("\n\n")
    flowing = [part if part[:1] == " " else " ".join(part.split()) for part in parts]
    to.command(name, help="\n\n".join(flowing))(command)


for _command in (
    *(demo, init, doctor, docs, ask, serve, worker, stats, invalidate, feedback, migrate),
    *(load, calibrate, simulate_llm),
):
    _add(app, _command)
_add(app, import_answers, "import")
_add(app, export_answers, "export")
_add(model_app, pull)
_add(model_app, list_models, "list")


def main() -> None:
    """The console script."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


def _show_version(wanted: bool) -> None:
    if wanted:
        from semcache_async import __version__

        typer.echo(f"semcache {__version__}")
        raise typer.Exit


@app.callback()
def _semcache(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """An asyncio semantic cache for LLM answers.

    Start with [bold]semcache demo[/bold]. Every option is in [bold]semcache COMMAND --help[/bold],
    the documentation in [bold]semcache docs[/bold].
    """
