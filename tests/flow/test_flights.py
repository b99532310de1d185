"""Single flight: what followers bring along, what they get, and calls within calls."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from semcache_async import CacheConfig, Scope, SemanticCache, Source
from semcache_async.errors import ReentrancyError
from semcache_async.testing import AngleEmbedder, MemoryStore
from semcache_async.types import Produced
from tests.helpers import GatedLLM, check_sums, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def cache(store: MemoryStore) -> AsyncIterator[SemanticCache]:
    async with SemanticCache.open(store=store, embedder=AngleEmbedder()) as cache:
        yield cache
        check_sums(cache)


async def fleet(cache: SemanticCache, asks: list[Any]) -> list[asyncio.Task[Any]]:
    """A task for each coroutine, each in its seat before the next one asks."""
    tasks: list[asyncio.Task[Any]] = []
    for ask in asks:
        tasks.append(asyncio.create_task(ask))
        await until(lambda: cache.stats().waiting == len(tasks))
    return tasks


async def test_the_entry_carries_the_tags_of_all_who_shared_it(cache: SemanticCache) -> None:
    llm = GatedLLM()
    asks = [
        cache.get_or_generate("q at 10", llm, tags=("leader",)),
        cache.get_or_generate("q at 10", llm, tags=("same",)),
        cache.get_or_generate("q reworded at 11", llm, tags=("near", "leader")),
    ]
    tasks = await fleet(cache, asks)
    llm.gate.set()
    await asyncio.gather(*tasks)
    (entry,) = await cache.browse()
    assert entry.tags == ("leader", "same", "near")
    assert await cache.invalidate(tags=("near",)) == 1


async def test_tags_that_come_while_the_answer_is_stored_are_kept_too() -> None:
    class Slow(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.puts = asyncio.Event(), 0

        async def put(self, records: Any) -> Any:
            self.puts += 1
            await self.gate.wait()
            return await super().put(records)

    store = Slow()
    async with SemanticCache.open(store=store, embedder=AngleEmbedder()) as cache:
        llm = GatedLLM(opened=True)
        leader = asyncio.create_task(cache.get_or_generate("q at 10", llm, tags=("a",)))
        await until(lambda: store.puts == 1)
        follower = asyncio.create_task(cache.get_or_generate("q at 10", llm, tags=("b",)))
        await until(lambda: cache.stats().waiting == 2)
        store.gate.set()
        answers = await asyncio.gather(leader, follower)
        assert [answer.source for answer in answers] == [Source.GENERATED, Source.SHARED]
        (entry,) = await cache.browse()
        assert entry.tags == ("a", "b")
        assert store.puts == 2


class APIError(Exception):
    """As SDKs make them: with a constructor of its own kind and state beside ``args``."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


async def test_every_caller_has_an_error_of_its_own(cache: SemanticCache) -> None:
    llm = GatedLLM()
    llm.error = APIError("overloaded", status=529)
    llm.error.__cause__ = cause = ValueError("why")
    tasks = await fleet(cache, [cache.get_or_generate("q at 10", llm) for _ in range(3)])
    llm.gate.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert len({id(error) for error in errors}) == 3
    for error in errors:
        assert isinstance(error, APIError)
        assert (str(error), error.status, error.__cause__) == ("overloaded", 529, cause)
    errors[0].add_note("caller 0")
    assert not hasattr(errors[1], "__notes__")


async def test_callers_who_refresh_at_once_share_one_call(cache: SemanticCache) -> None:
    await cache.store("q at 10", "old")
    gate, calls = asyncio.Event(), 0

    async def produce(_prompt: str, _emit: Callable[[Any], None]) -> Produced:
        nonlocal calls
        calls += 1
        await gate.wait()
        return Produced("new")

    async def refresh() -> str:
        async with cache.reply("q at 10", produce, read=False) as reply:
            return (await reply.answer()).text

    tasks = await fleet(cache, [refresh() for _ in range(8)])
    reader = await cache.get_or_generate("q at 10", GatedLLM())
    assert reader.text == "old"  # who takes a stored answer does not wait for them
    gate.set()
    assert set(await asyncio.gather(*tasks)) == {"new"}
    assert calls == 1
    assert (await cache.get_or_generate("q at 10", GatedLLM())).text == "new"


async def test_an_llm_call_that_asks_for_its_own_answer_is_told(cache: SemanticCache) -> None:
    async def ask_again(prompt: str) -> str:
        return (await cache.get_or_generate("q at 10", ask_again)).text

    followers = [cache.get_or_generate("q at 10", ask_again) for _ in range(3)]
    errors = await asyncio.gather(*followers, return_exceptions=True)
    assert {type(error) for error in errors} == {ReentrancyError}
    assert cache.stats().flights == 0


async def test_an_llm_call_that_asks_in_other_words_makes_a_call_of_its_own(
    cache: SemanticCache,
) -> None:
    async def rewrite(prompt: str) -> str:
        inner = await cache.get_or_generate("q reworded at 11", GatedLLM(opened=True))
        return f"by way of: {inner.text}"

    answer = await cache.get_or_generate("q at 10", rewrite)
    assert answer.text == "by way of: answer to q reworded at 11"


async def test_a_circle_over_two_flights_is_seen(cache: SemanticCache) -> None:
    reached = asyncio.Event()

    async def first(_prompt: str) -> str:
        return (await cache.get_or_generate("b at 90", second)).text

    async def second(_prompt: str) -> str:
        reached.set()
        return (await cache.get_or_generate("a at 10", first)).text

    with pytest.raises(ReentrancyError):
        await cache.get_or_generate("a at 10", first)
    assert reached.is_set()
    assert cache.stats().flights == 0


async def test_calls_within_calls_without_end_are_stopped(cache: SemanticCache) -> None:
    depth = 0

    async def deeper(_prompt: str) -> str:
        nonlocal depth
        depth += 1
        scope = Scope(tenant=str(depth))
        return (await cache.get_or_generate("q at 10", deeper, scope=scope)).text

    with pytest.raises(ReentrancyError, match="come to an end"):
        await cache.get_or_generate("q at 10", deeper)
    assert depth == 16


async def test_work_that_outlives_its_flight_may_ask_for_its_answer(cache: SemanticCache) -> None:
    landed = asyncio.Event()
    later: list[asyncio.Task[Any]] = []

    async def generate(_prompt: str) -> str:
        async def afterwards() -> str:
            await landed.wait()
            return (await cache.get_or_generate("q at 10", GatedLLM())).text

        later.append(asyncio.create_task(afterwards()))
        return "text"

    await cache.get_or_generate("q at 10", generate)
    landed.set()
    assert await later[0] == "text"


@pytest.mark.parametrize("finish", [True, False])
async def test_what_came_to_its_end_is_stored_whoever_leaves(finish: bool) -> None:
    class Slow(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.reached = asyncio.Event(), asyncio.Event()

        async def put(self, records: Any) -> Any:
            self.reached.set()
            await self.gate.wait()
            return await super().put(records)

    store = Slow()
    config = CacheConfig(finish_abandoned=finish)
    async with SemanticCache.open(store=store, embedder=AngleEmbedder(), config=config) as cache:
        caller = asyncio.create_task(cache.get_or_generate("q at 10", GatedLLM(opened=True)))
        await store.reached.wait()
        caller.cancel()
        await asyncio.wait([caller])
        store.gate.set()
        await until(lambda: cache.stats().flights == 0)
        assert len(store) == 1
        assert cache.stats().not_stored == 0


async def test_an_interruption_that_nobody_waits_for_is_reported(store: MemoryStore) -> None:
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: reported.append(told))
    async with SemanticCache.open(store=store, embedder=AngleEmbedder()) as cache:
        llm = GatedLLM()
        llm.error = KeyboardInterrupt()
        caller = asyncio.create_task(cache.get_or_generate("q at 10", llm))
        await until(lambda: llm.prompts != [])
        caller.cancel()
        await asyncio.wait([caller])
        llm.gate.set()
        await until(lambda: cache.stats().flights == 0)
    asyncio.get_running_loop().set_exception_handler(None)
    assert [type(told["exception"]) for told in reported] == [KeyboardInterrupt]


async def test_nobody_boards_a_flight_that_was_invalidated(cache: SemanticCache) -> None:
    old, new = GatedLLM(), GatedLLM(opened=True)
    early = asyncio.create_task(cache.get_or_generate("q at 10", old, tags=("t",)))
    await until(lambda: old.prompts != [])
    await cache.invalidate(tags=("t",))
    late = await cache.get_or_generate("q at 10", new, tags=("t",))
    assert late.source is Source.GENERATED
    old.gate.set()
    await early
    assert cache.stats().not_stored_invalidated == 1
    hit = await cache.lookup("q at 10")
    assert hit is not None
    assert hit.entry_id == late.entry_id


async def test_readers_who_left_leave_nothing(cache: SemanticCache) -> None:
    llm = GatedLLM()

    async def pieces(prompt: str) -> AsyncIterator[str]:
        yield await llm(prompt)

    async def read() -> None:
        async for _ in cache.stream("q at 10", pieces):
            pass

    def futures() -> int:
        gc.collect()
        return sum(isinstance(one, asyncio.Future) for one in gc.get_objects())

    staying = asyncio.create_task(read())
    await until(lambda: len(llm.prompts) == 1)
    before = futures()
    for _ in range(100):
        leaving = asyncio.create_task(read())
        await until(lambda: cache.stats().waiting == 2)
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
    assert futures() < before + 10
    llm.gate.set()
    await staying
