"""Flags that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Debug", "MaxDistance", "RedisUrl"]

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
