"""What takes leases of time, in virtual time: two caches on one store, as two processes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, NamedTuple

from semcache_async import CacheConfig, SemanticCache
from semcache_async.testing.sharing import SharingMemoryStore
from tests.helpers import check_sums
from tests.load.helpers import in_virtual_time
from tests.sharing.world import InLoopEmbedder

LEASE_S = 6.0
SETTLED_S = 0.1
"""Longer than anything takes that takes no lease."""


class Pair(NamedTuple):
    one: SemanticCache
    other: SemanticCache


@asynccontextmanager
async def pair(store: SharingMemoryStore) -> AsyncIterator[Pair]:
    config = CacheConfig(max_distance=0.004, guards=(), lease_s=LEASE_S)
    async with (
        SemanticCache.open(store=store, embedder=InLoopEmbedder(), config=config) as one,
        SemanticCache.open(store=store, embedder=InLoopEmbedder(), config=config) as other,
    ):
        yield Pair(one, other)
        await asyncio.sleep(SETTLED_S)
        check_sums(one)
        check_sums(other)


def virtually(work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @wraps(work)
    def test() -> None:
        in_virtual_time(lambda _loop: work())

    return test


@virtually
async def test_who_leaves_and_comes_back_is_written_to() -> None:
    class Slow(SharingMemoryStore):
        async def write(self, letters: Any) -> Any:
            await asyncio.sleep(0.05)
            return await super().write(letters)

    gate, read_by = asyncio.Event(), Counter[str]()

    async def pieces(_prompt: str) -> AsyncIterator[str]:
        yield "one "
        await gate.wait()

    async def read(cache: SemanticCache, prompt: str) -> None:
        async for _ in cache.stream(prompt, pieces):
            read_by[prompt] += 1

    async with pair(Slow()) as (one, other):
        leading = [asyncio.create_task(read(one, prompt)) for prompt in ("q at 0", "z at 90")]
        await asyncio.sleep(SETTLED_S)
        assert read_by.total() == 2
        first = asyncio.create_task(read(other, "z at 90"))  # whose letter is under way meanwhile
        await asyncio.sleep(0.01)
        leaving = asyncio.create_task(read(other, "q at 0"))
        await asyncio.sleep(0.01)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        back = asyncio.create_task(read(other, "q at 0"))
        await asyncio.sleep(1.0)  # before it would look after its leader
        assert read_by["q at 0"] == 2
        gate.set()
        await asyncio.gather(*leading, first, back)


class Told:
    """A stream of two pieces, and who reads it."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.calls: list[str] = []
        self.read_by: list[list[str]] = [[], []]

    async def pieces(self, prompt: str) -> AsyncIterator[str]:
        self.calls.append(prompt)
        yield "one "
        await self.gate.wait()
        yield "two"

    async def read(self, cache: SemanticCache, number: int) -> None:
        async for piece in cache.stream("q at 0", self.pieces, tags=("t",)):
            self.read_by[number].append(piece)

    async def begin(self, both: Pair) -> list[asyncio.Task[None]]:
        """One leads, and the other follows."""
        reading = []
        for number, cache in enumerate(both):
            reading.append(asyncio.create_task(self.read(cache, number)))
            await asyncio.sleep(SETTLED_S)
            assert self.read_by[number] == ["one "]
        return reading


@virtually
async def test_what_was_invalidated_in_mid_stream_is_delivered() -> None:
    told = Told()
    async with pair(SharingMemoryStore(lease_s=LEASE_S)) as both:
        reading = await told.begin(both)
        await both.one.invalidate(tags=("t",))
        await asyncio.sleep(4 * LEASE_S)
        told.gate.set()
        await asyncio.gather(*reading)
        assert told.read_by == [["one ", "two"]] * 2
        assert told.calls == ["q at 0"]
        assert both.other.stats().takeovers == 0
        one = both.one.stats()
        assert one.not_stored_overtaken + one.not_stored_invalidated == 1


@virtually
async def test_a_stream_outlives_the_claim_that_the_store_forgot() -> None:
    told, store = Told(), SharingMemoryStore(lease_s=LEASE_S)
    async with pair(store) as both:
        reading = await told.begin(both)
        store._claims.clear()
        await asyncio.sleep(4 * LEASE_S)
        told.gate.set()
        await asyncio.gather(*reading)
        assert told.read_by == [["one ", "two"]] * 2
        assert both.one.stats().llm_calls + both.other.stats().llm_calls == 1
