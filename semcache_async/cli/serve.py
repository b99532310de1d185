"""The ``semcache serve`` command: a flag for each row of ``serve.settings.OPTIONS``."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from semcache_async.serve.options import Row, flag_of
from semcache_async.serve.settings import OPTIONS, read_settings, strange_variables
from semcache_async.shell import one_line_errors, run

__all__ = ["CONFIG", "DEBUG", "serve", "with_flags"]

_log = logging.getLogger("semcache_async")


def _serve(
    *, config: Path | None, hash_key: bool, debug: bool, **flags: str | float | Path | bool | None
) -> None:
    """Serve the cache over HTTP: point an OpenAI, Anthropic or LangCache client at it.

    It speaks OpenAI's chats, responses, completions and embeddings and Anthropic's messages (/v1),
    LangCache's REST (/v1/caches) and plain JSON (/semantic-cache/answer); a live page is at /,
    metrics are at /metrics. SIGTERM or Ctrl-C lets requests under way finish; a second one ends at
    once.

    Every option is also an environment variable: --max-distance is SEMCACHE_MAX_DISTANCE. Options
    come before variables, and those before the file.

    Examples:

      semcache serve --simulate-llm

      OPENAI_API_KEY=... semcache serve --upstream-url https://api.openai.com/v1

      semcache serve --config semcache.toml --workers 4 --redis-url redis://localhost:6379/0
    """
    with one_line_errors(debug):
        if hash_key:
            _show_entry()
            return
        settings = read_settings(flags, file=config)
        from semcache_async.serve.process.logs import log_to_stderr

        log_to_stderr()
        for line in strange_variables(named=settings.upstream_keys):
            _log.warning(line)
        from semcache_async.serve.process.supervisor import serve

        run(lambda: serve(settings))


def _show_entry() -> None:
    from semcache_async.serve.keys import hash_key, new_key

    key = "" if sys.stdin.isatty() else sys.stdin.readline().strip()
    if not key:
        key = new_key()
        typer.secho(f"The new key, shown this once: {key}", fg="green", err=True)
    typer.echo(f'[[keys]]\nhash = "{hash_key(key)}"\ntenant = "name it"\nadmin = false')


_HASH_KEY = (
    bool,
    typer.Option(
        False,
        "--hash-key",
        help="Make an entry for the keys file, from a key on standard input or a new one, and "
        "exit.",
        rich_help_panel="Who may ask",
    ),
)
CONFIG = (
    Path | None,
    typer.Option(
        None,
        "--config",
        envvar="SEMCACHE_CONFIG",
        show_default="none",
        help="TOML file with any of these options and more; the cache's go under \\[cache].",
    ),
)
DEBUG = (bool, typer.Option(False, "--debug", help="Show the traceback of an error."))
"""What is no option of the service itself."""

_KINDS: dict[Any, type] = {
    **{kind: kind for kind in (bool, int, float)},
    **{kind | None: kind for kind in (float, Path)},
}


def _flag(row: Row) -> tuple[Any, Any]:
    """A flag that is None where it is not given, whatever its kind: what is not given overrules
    nothing."""
    assert row.option is not None
    kind = _KINDS.get(row.kind, str)
    flag = flag_of(row.name)
    shown = row.option.shown or (("off", "on")[row.default] if kind is bool else f"{row.default}")
    made = typer.Option(
        None,
        f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
        min=row.option.low,
        max=row.option.high,
        show_default=False if row.default is None and row.option.shown is None else shown,
        help=row.option.help.replace("[", "\\["),
        rich_help_panel=row.option.group or None,
    )
    return kind | None, made


def with_flags(
    command: Callable[..., None], name: str, others: Mapping[str, tuple[Any, Any]]
) -> Callable[..., None]:
    """``command`` with a flag for each option of the service, and ``others``."""
    flags = {name: _flag(row) for name, row in OPTIONS.items() if row.option is not None}
    flags = {**flags, **others}
    by_name = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature(
        [
            inspect.Parameter(name, by_name, default=made, annotation=kind)
            for name, (kind, made) in flags.items()
        ]
    )
    told: Any = command
    told.__signature__ = signature
    told.__annotations__ = {name: kind for name, (kind, _) in flags.items()}
    told.__name__ = name
    return command


serve = with_flags(_serve, "serve", {"hash_key": _HASH_KEY, "config": CONFIG, "debug": DEBUG})
