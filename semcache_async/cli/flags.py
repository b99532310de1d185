"""Flags that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    *("CacheUrl", "Config", "Debug", "EmbeddingModel", "MaxDistance", "Model", "Name"),
    *("RedisUrl", "attributes_of"),
]

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
MaxDistance = Annotated[
    float | None,
    typer.Option(
        "--max-distance",
        min=0.0,
        max=2.0,
        envvar="SEMCACHE_MAX_DISTANCE",
        show_default="0.12",
        help="Largest cosine distance at which another prompt's answer is served.",
    ),
]
_MODEL_HELP = "What embeds: a model's name on the hub, or a directory."
Model = Annotated[
    str | None,
    typer.Option(
        "--model", envvar="SEMCACHE_MODEL", show_default="the default model", help=_MODEL_HELP
    ),
]
EmbeddingModel = Annotated[
    str | None,
    typer.Option(
        "--embedding-model",
        envvar="SEMCACHE_MODEL",
        show_default="the default model",
        help=_MODEL_HELP,
    ),
]
"""Where --model is the LLM of a scope."""
RedisUrl = Annotated[
    str | None,
    typer.Option(
        "--redis-url",
        envvar="SEMCACHE_REDIS_URL",
        show_default="an embedded Redis",
        help="Redis URL (redis://, rediss://, unix://, redis+sentinel://, redis+cluster://), or "
        "embedded:DIRECTORY.",
    ),
]
CacheUrl = Annotated[
    str,
    typer.Option(
        "--redis-url",
        envvar="SEMCACHE_REDIS_URL",
        show_default=False,
        help="Where the cache is: redis://, rediss://, unix://, redis+sentinel://, "
        "redis+cluster://, or embedded:DIRECTORY.",
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        envvar="SEMCACHE_NAME",
        show_default="the file's, or semcache",
        help="Prefix of the cache's keys (--redis-url).",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="SEMCACHE_CONFIG",
        show_default="none",
        help="The service's TOML file (--redis-url): what is kept is found by its options alone.",
    ),
]


def attributes_of(pairs: list[str]) -> dict[str, str] | None:
    """What ``KEY=VALUE`` pairs say; None where there are none."""
    if strange := [pair for pair in pairs if "=" not in pair]:
        raise typer.BadParameter(f"--attribute takes KEY=VALUE, not {strange[0]!r}")
    return dict(pair.split("=", 1) for pair in pairs) or None
