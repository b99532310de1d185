"""The ``semcache doctor`` command."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from semcache_async.cli.serve import CONFIG, DEBUG, with_flags
from semcache_async.errors import ConfigError
from semcache_async.serve.options import flag_of, variable_of
from semcache_async.serve.settings import OPTIONS, Settings, read_settings, strange_variables
from semcache_async.shell import one_line_errors, run

if TYPE_CHECKING:
    from semcache_async.cli.setup.finding import Finding

__all__ = ["doctor"]

_COLOURS = {"ok": "green", "poor": "yellow", "bad": "red"}


def _doctor(
    *, config: Path | None, as_json: bool, debug: bool, **flags: str | float | Path | bool | None
) -> None:
    """Look at all that the service needs, and say what to do about what is wrong.

    Give it the options that [bold]serve[/bold] gets. It works where things are broken, changes
    nothing in Redis and fetches nothing. The exit code is 1 where something is in the way of
    serving.

    Examples:

      semcache doctor --config semcache.toml

      semcache doctor --redis-url redis://localhost:6379/0 --simulate-llm --json
    """
    with one_line_errors(debug):
        found: list[Finding] = []

        def tell(finding: Finding) -> None:
            found.append(finding)
            if not as_json:
                _show(finding)

        run(lambda: _examine(flags, config, tell))
        wrong = sum(finding.state == "bad" for finding in found)
        if as_json:
            import msgspec

            told = {"ok": not wrong, "checks": found}
            typer.echo(json.dumps(msgspec.to_builtins(told)))  # a path may be no text
        elif wrong:
            typer.echo(f"In the way of serving: {wrong}.")
        else:
            typer.echo("Nothing is in the way of serving.")
        if wrong:
            raise typer.Exit(1)


def _show(finding: Finding) -> None:
    typer.secho(f"{finding.state:<6}", fg=_COLOURS[finding.state], nl=False)
    end = "" if finding.said.endswith(("?", ".")) else "."
    typer.echo(f"{finding.check:<12}{finding.said}{end}")
    advice = ". ".join(filter(None, (finding.todo, finding.page and f"See: {finding.page}")))
    if advice:
        typer.echo(f"{'':<18}{advice}")


async def _examine(
    flags: dict[str, Any], file: Path | None, tell: Callable[[Finding], None]
) -> None:
    async for finding in _findings(flags, file):
        tell(finding)


async def _findings(flags: dict[str, Any], file: Path | None) -> AsyncIterator[Finding]:
    from semcache_async.cli.setup.finding import RUNNING, bad, poor
    from semcache_async.cli.setup.here import (
        look_at_models,
        look_at_port,
        look_at_upstreams,
        look_here,
    )
    from semcache_async.cli.setup.redis import look_at_redis

    settings, finding = _read(flags, file)
    yield finding
    for line in strange_variables(named=settings.upstream_keys):
        yield poor("variables", line.rstrip("."), "Unset it, or mend its name", RUNNING)
    for check, looked in (
        ("here", look_here(settings)),
        ("port", look_at_port(settings)),
        ("upstream", look_at_upstreams(settings)),
        ("redis", look_at_redis(settings.redis_url, settings.cache)),
        ("model", look_at_models(settings)),
    ):
        try:
            async for finding in looked:
                yield finding
        except Exception as error:  # what nobody thought of hides nothing else
            said = f"It could not be looked at: {type(error).__name__}, {error}"
            yield bad(check, said, "Please report it, with what --debug shows of semcache serve")


def _read(flags: dict[str, Any], file: Path | None) -> tuple[Settings, Finding]:
    """The service's settings, or where they mean nothing, what can be looked at all the same."""
    from semcache_async.cli.setup.finding import fine, troubled

    try:
        settings = read_settings(flags, file=file)
    except ConfigError as error:
        return _left(flags, file), troubled("options", error)
    told = [f"the file {file}"] if file is not None else []
    told += [variable_of(name) for name in OPTIONS if os.environ.get(variable_of(name))]
    told += [flag_of(name) for name, value in flags.items() if value is not None]
    return settings, fine("options", f"from {', '.join(told) or 'nothing: all are defaults'}")


def _left(flags: dict[str, Any], file: Path | None) -> Settings:
    """The file where it can be read, and of flags and variables each that can."""
    variables = {variable_of(name): name for name in OPTIONS}
    env = {name: text for name, text in os.environ.items() if name not in variables}
    given = {name: os.environ.get(variable) or None for variable, name in variables.items()}
    given |= {name: value for name, value in flags.items() if value is not None}
    settings, told = Settings(), dict[str, Any]()
    try:
        settings = read_settings({}, env=env, file=file, asks_llm=False)
    except ConfigError:
        file = None
    for name, value in given.items():
        try:
            settings = read_settings({**told, name: value}, env=env, file=file, asks_llm=False)
        except ConfigError:
            continue
        told[name] = value
    return settings


doctor = with_flags(
    _doctor,
    "doctor",
    {
        "config": CONFIG,
        "as_json": (bool, typer.Option(False, "--json", help="One JSON object on stdout.")),
        "debug": DEBUG,
    },
)
