"""More than can be answered: told so, counted so, and nobody else the worse for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest

from semcache_async import CacheConfig, OverloadedError, SemanticCache, Source
from semcache_async.flow.batcher import MicroBatcher
from semcache_async.flow.vectors import open_vectors
from semcache_async.testing import AngleEmbedder, MemoryStore
from tests.helpers import GatedLLM, check_sums, until

pytestmark = pytest.mark.anyio


def opened(embedder: AngleEmbedder | None = None, **options: Any) -> Any:
    config = CacheConfig(**options)
    return SemanticCache.open(
        config=config, embedder=embedder or AngleEmbedder(), store=MemoryStore()
    )


async def test_llm_calls_beyond_the_limit_wait_and_then_are_turned_away() -> None:
    llm = GatedLLM()
    async with opened(max_llm_calls=2, llm_wait_s=0.05) as cache:
        asked = [
            asyncio.create_task(cache.get_or_generate(f"q at {n * 40}", llm)) for n in range(4)
        ]
        await until(lambda: len(llm.prompts) == 2)
        same = asyncio.create_task(cache.get_or_generate("q at 80", llm))
        for one in (*asked[2:], same):
            with pytest.raises(OverloadedError):
                await one
        assert len(llm.prompts) == 2
        await cache.store("known at 300", "stored")
        hit = await cache.get_or_generate("known at 300", llm)  # a hit needs no turn
        assert hit.source is Source.EXACT
        llm.gate.set()
        await asyncio.gather(*asked[:2])
        answer = await cache.get_or_generate("q at 80", llm)
        assert answer.source is Source.GENERATED
        stats = check_sums(cache)
        assert (stats.shed, stats.failed, stats.llm_calls) == (3, 0, 3)


async def test_a_call_within_a_call_needs_no_turn_of_its_own() -> None:
    async def inner(_prompt: str) -> str:
        return "inner"

    async with opened(max_llm_calls=1, llm_wait_s=30.0) as cache:

        async def outer(_prompt: str) -> str:
            answer: str = (await cache.get_or_generate("inner at 90", inner)).text
            return f"outer of {answer}"

        answer = await cache.get_or_generate("outer at 0", outer)
        assert answer.text == "outer of inner"
        assert check_sums(cache).llm_calls == 2


async def test_streams_and_replies_are_turned_away_alike() -> None:
    llm = GatedLLM()

    async def stream(prompt: str) -> Any:
        yield await llm(prompt)

    async with opened(max_llm_calls=1, llm_wait_s=0.01) as cache:
        first = asyncio.create_task(cache.get_or_generate("q at 0", llm))
        await until(lambda: len(llm.prompts) == 1)
        with pytest.raises(OverloadedError):
            [piece async for piece in cache.stream("q at 90", stream)]
        llm.gate.set()
        await first
        assert [piece async for piece in cache.stream("q at 90", stream)]
        await until(lambda: cache.stats().flights == 0)
        assert check_sums(cache).shed == 1


def slow(batcher: MicroBatcher[Any, Any]) -> float:
    """Half a minute for each text that is queued."""
    return 31.0 * batcher.queued


async def test_where_the_embedder_cannot_keep_up_requests_do_not_become_llm_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MicroBatcher, "backlog_s", property(slow))
    embedder = AngleEmbedder()
    llm = GatedLLM(opened=True)
    async with opened(embedder, lookup_budget_s=30.0) as cache:
        await cache.store("known at 0", "stored")
        embedder.hold()
        packs = cache.stats().embed_batches
        waiting = [asyncio.create_task(cache.lookup("q at 1"))]
        await until(lambda: cache.stats().embed_batches > packs)
        waiting.append(asyncio.create_task(cache.lookup("q at 2")))
        await until(lambda: cache.stats().queued == 1)
        with pytest.raises(OverloadedError, match="wait for the embedder"):
            await cache.get_or_generate("new at 200", llm)
        assert await cache.lookup("new at 200") is None
        assert (await cache.get_or_generate("known at 0", llm)).source is Source.EXACT
        assert not llm.prompts
        embedder.release()
        await asyncio.gather(*waiting)
        assert check_sums(cache).shed == 1


Run: TypeAlias = Callable[[list[int]], Awaitable[list[int]]]


def gated() -> tuple[list[asyncio.Future[None]], Run]:
    """What a batcher runs, and a gate for each batch under way."""
    gates: list[asyncio.Future[None]] = []

    async def run(keys: list[int]) -> list[int]:
        gates.append(asyncio.get_running_loop().create_future())
        await gates[-1]
        return keys

    return gates, run


async def test_a_batchers_pace_is_that_of_several_full_batches() -> None:
    gates, run = gated()
    now = 0.0
    batcher: MicroBatcher[int, int] = MicroBatcher(run, budget=2, clock=lambda: now)
    waiting = [batcher.submit(n) for n in range(12)]
    assert batcher.backlog_s == 0.0
    for seconds in (5.0, 4.0, 60.0, 2.0):  # one batch is slow, or the loop stood still
        assert batcher.backlog_s == 0.0
        await until(lambda: len(gates) == 1)
        now += seconds
        gates.pop().set_result(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    # two texts in four seconds, as a rule; two are under way, and two are queued
    assert batcher.backlog_s == pytest.approx(2 * 2.0 * 4 / 3)
    for _ in range(2):
        await until(lambda: len(gates) == 1)
        gates.pop().set_result(None)
    await asyncio.gather(*waiting)
    await batcher.aclose()


async def test_a_bulk_waits_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MicroBatcher, "backlog_s", property(slow))
    async with open_vectors(AngleEmbedder(), remembered=0, wait_s=0.0) as vectors:
        found = await asyncio.gather(*(vectors.vector(f"q at {n}", bulk=True) for n in range(80)))
        assert all(one is not None for one in found)


async def test_time_without_work_is_nobodys_pace() -> None:
    gates, run = gated()
    now = 0.0
    batcher: MicroBatcher[int, int] = MicroBatcher(run, budget=1, clock=lambda: now)
    first, second = batcher.submit(1), batcher.submit(2)
    await until(lambda: len(gates) == 1)
    second.cancel()  # while queued: when the first lands, nobody waits for it
    gates.pop().set_result(None)
    await first
    await until(lambda: batcher.under_way == 0)
    now += 3_600.0
    waiting = [batcher.submit(n) for n in (3, 4, 5)]
    await until(lambda: len(gates) == 1)
    now += 0.5
    gates.pop().set_result(None)
    await until(lambda: len(gates) == 1)
    assert batcher.backlog_s <= 1.0
    for _ in range(2):
        await until(lambda: len(gates) == 1)
        gates.pop().set_result(None)
    await asyncio.gather(*waiting)
    await batcher.aclose()


async def test_callers_who_left_before_their_turn_are_not_paid_for() -> None:
    llm = GatedLLM()
    async with opened(max_llm_calls=1, llm_wait_s=30.0) as cache:
        first = asyncio.create_task(cache.get_or_generate("q at 0", llm))
        await until(lambda: len(llm.prompts) == 1)
        left = [asyncio.create_task(cache.get_or_generate(f"q at {n}", llm)) for n in (90, 180)]
        await until(lambda: cache.stats().llm_waiting == 2)
        for one in left:
            one.cancel()
        await until(lambda: cache.stats().flights == 1)
        llm.gate.set()
        await first
        assert check_sums(cache).llm_calls == 1
