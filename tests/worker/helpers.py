"""A purger that notes what it is told, and a consumer that runs while a test looks on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from typing import Any

import redis.asyncio

from semcache_async.store.wire import redis_pipelines
from semcache_async.worker.consumer import Consumer
from semcache_async.worker.events import Purger
from semcache_async.worker.rules import Rules
from semcache_async.worker.stream import EventStream

__all__ = ["GROUP", "Recorder", "consuming", "done", "settled"]

GROUP = "g"


class Recorder:
    """Notes each purge, after having failed with each of ``errors`` that there is one of. Where
    ``refuses`` a tag, its purge fails whenever it is asked for."""

    def __init__(self, *errors: Exception) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.errors: Iterator[Exception] = iter(errors)
        self.refused: dict[str, Exception] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = 0

    async def invalidate(
        self,
        *,
        tenant: str | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
    ) -> int:
        await self._try([*tags, *entry_ids])
        self.calls.append((tenant, tuple(tags), tuple(entry_ids)))
        return 1

    async def bump_version(self, namespace: str) -> int:
        await self._try([namespace])
        self.calls.append(("bump", namespace))
        return len(self.calls)

    async def _try(self, names: list[str]) -> None:
        self.asked += 1
        await self.gate.wait()
        for error in self.errors:
            raise error
        for name in names:
            if name in self.refused:
                raise self.refused[name]

    @property
    def tags(self) -> list[str]:
        """All that were purged, in order."""
        return [tag for call in self.calls if call[0] != "bump" for tag in call[1]]


@asynccontextmanager
async def consuming(
    url: str,
    stream: str,
    purger: Purger,
    *,
    rules: Rules | None = None,
    consumer: str = "c",
    claim_after_s: float = 60.0,
    delete: bool = False,
) -> AsyncIterator[Consumer]:
    """A consumer at work; it is told to stop at the end, and ends in order."""
    async with redis_pipelines(url, connections=2, timeout_s=10.0) as pipelines:
        one = Consumer(
            EventStream(
                pipelines,
                stream,
                GROUP,
                consumer,
                claim_after_s=claim_after_s,
                delete=delete,
                block_s=0.01,
            ),
            purger,
            rules,
        )
        stop = asyncio.Event()
        running = asyncio.create_task(one.run(stop))
        try:
            yield one
        finally:
            stop.set()
            await running


async def settled(client: redis.asyncio.Redis, stream: str, group: str = GROUP) -> None:
    """Wait until all that is in the stream has been acknowledged."""
    while not await done(client, stream, group):  # noqa: ASYNC110 - Redis is asked
        await asyncio.sleep(0.005)


async def done(client: redis.asyncio.Redis, stream: str, group: str = GROUP) -> bool:
    """Has it?"""
    groups = await client.xinfo_groups(stream) if await client.exists(stream) else []
    return [(one["pending"], one["lag"]) for one in groups if one["name"] == group.encode()] == [
        (0, 0)
    ]
