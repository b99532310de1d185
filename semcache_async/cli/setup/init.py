"""The ``semcache init`` command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from semcache_async.cli.flags import Debug
from semcache_async.shell import one_line_errors

__all__ = ["init"]


def init(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("semcache.toml"),
    redis_url: Annotated[
        str | None,
        typer.Option(show_default="an embedded Redis", help="Where the answers are kept."),
    ] = None,
    upstream_url: Annotated[
        str | None,
        typer.Option(
            show_default="a simulated LLM",
            help="Base URL of an OpenAI-compatible service, such as https://api.openai.com/v1.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    debug: Debug = False,
) -> None:
    """Write a file with every option of the service in it, and say what to do next.

    Only who made it may read it: a Redis URL may hold a password.

    Examples:

      semcache init

      semcache init --redis-url redis://localhost:6379/0 --upstream-url https://api.openai.com/v1
    """
    with one_line_errors(debug):
        from semcache_async.cli.setup.template import template

        given = {"redis_url": redis_url, "upstream_url": upstream_url}
        told = {name: value for name, value in given.items() if value is not None}
        _check(told)
        _write(file, template(told if upstream_url else {**told, "simulate_llm": True}), force)
        named = shlex.quote(str(file))
        key = "SEMCACHE_UPSTREAM_KEY=... " if upstream_url else ""
        typer.echo(f"{file} is written. Next:")
        typer.echo(f"  semcache doctor --config {named}")
        typer.echo(f"  {key}semcache serve --config {named}")


def _check(told: Mapping[str, str]) -> None:
    from semcache_async.serve.settings import Settings
    from semcache_async.store.wire.address import check_database, read_url

    url = Settings(**told).redis_url  # type: ignore[arg-type]
    if url is not None and not url.startswith("embedded:"):
        read_url(url)
        check_database(url)


def _write(path: Path, text: str, force: bool) -> None:
    from semcache_async.errors import ConfigError
    from semcache_async.tune.toml import write_whole

    try:
        if force:
            write_whole(path, text, mode=0o600)
            return
        path.touch(mode=0o600, exist_ok=False)
        try:
            path.write_text(text, encoding="utf-8")
        except BaseException:
            path.unlink()
            raise
    except FileExistsError:
        raise ConfigError(f"{path} is there already; --force overwrites it.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from error
    except UnicodeError as error:
        raise ConfigError("A URL is no text in UTF-8; percent-encode what is not.") from error
