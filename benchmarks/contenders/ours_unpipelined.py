"""Ours with one command to a round trip, as many under way as there are callers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

from benchmarks.contenders import Contender, Setup, ours

ENVIRONMENT = ours.ENVIRONMENT
PACKAGES = ours.PACKAGES

_CONNECTIONS = 100
"""As many as the config allows, so that commands hardly ever share one."""


@asynccontextmanager
async def open_contender(setup: Setup) -> AsyncIterator[Contender]:
    from semcache_async.flow.batcher import MicroBatcher
    from semcache_async.request import tiers

    class OneByOne(MicroBatcher[Any, Any]):
        def __init__(
            self, run: Callable[[list[Any]], Awaitable[Sequence[Any]]], **options: Any
        ) -> None:
            super().__init__(run, **{**options, "budget": 1, "concurrency": 10_000})

    with mock.patch.object(tiers, "MicroBatcher", OneByOne):
        async with ours.open_ours(setup, connections=_CONNECTIONS) as opened:
            opened.about += f", no pipelines, {_CONNECTIONS} connections"
            yield opened
