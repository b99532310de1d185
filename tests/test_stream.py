"""Streaming: live to every caller of a flight, from the start for late ones, kept when whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from semcache_async import CacheConfig, Scope, SemanticCache, Source
from semcache_async.testing import AngleEmbedder, MemoryStore
from semcache_async.types import Produced
from tests.helpers import GatedLLM, check_sums, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]


@pytest.fixture
async def cache() -> AsyncIterator[SemanticCache]:
    async with SemanticCache.open(embedder=AngleEmbedder(), store=MemoryStore()) as cache:
        yield cache


class GatedStream:
    """A streaming LLM that gives each piece when it is told to."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[str | BaseException | None] = asyncio.Queue()
        self.calls = 0
        self.closed = 0

    def say(self, *pieces: str | BaseException | None) -> None:
        for piece in pieces:
            self.pieces.put_nowait(piece)

    async def __call__(self, _prompt: str) -> AsyncIterator[str]:
        self.calls += 1
        try:
            while (piece := await self.pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            self.closed += 1


class Reader:
    """A task that reads a stream."""

    def __init__(self, stream: AsyncIterator[str]) -> None:
        self.read: list[str] = []
        self.task = asyncio.create_task(self._run(stream))

    async def _run(self, stream: AsyncIterator[str]) -> None:
        async for piece in stream:
            self.read.append(piece)


async def test_a_miss_is_live_and_a_hit_is_whole(cache: SemanticCache) -> None:
    llm = GatedStream()
    reader = Reader(cache.stream("refund at 10", llm))
    llm.say("Within ")
    await until(lambda: reader.read == ["Within "])
    llm.say("14 days.", None)
    await reader.task
    assert reader.read == ["Within ", "14 days."]
    await until(lambda: cache.stats().flights == 0)
    for prompt in ("refund at 10", "money back at 11"):
        again = Reader(cache.stream(prompt, llm))
        await again.task
        assert again.read == ["Within 14 days."]
    stats = check_sums(cache)
    assert (llm.calls, llm.closed) == (1, 1)
    assert (stats.generated, stats.exact, stats.semantic) == (1, 1, 1)


async def test_followers_read_live_and_late_ones_from_the_start(cache: SemanticCache) -> None:
    llm = GatedStream()
    readers = [Reader(cache.stream("refund at 10", llm)), Reader(cache.stream("refund at 11", llm))]
    llm.say("a", "b")
    await until(lambda: all(reader.read == ["a", "b"] for reader in readers))
    late = Reader(cache.stream("refund at 10", llm))
    await until(lambda: late.read == ["a", "b"])
    llm.say("c", None)
    for reader in (*readers, late):
        await reader.task
        assert reader.read == ["a", "b", "c"]
    await until(lambda: cache.stats().flights == 0)
    stats = check_sums(cache)
    assert (stats.generated, stats.shared, llm.calls) == (1, 2, 1)


async def test_readers_end_before_the_answer_is_stored(cache: SemanticCache) -> None:
    gate = asyncio.Event()
    store = cache._tiers._store
    put = store.put

    async def slow(records: Any) -> Any:
        await gate.wait()
        return await put(records)

    store.put = slow  # type: ignore[method-assign]
    llm = GatedStream()
    llm.say("whole", None)
    reader = Reader(cache.stream("refund at 10", llm))
    await reader.task
    assert cache.stats().flights == 1
    late = Reader(cache.stream("refund at 10", llm))
    await late.task
    assert (late.read, llm.calls) == (["whole"], 1)
    gate.set()
    await until(lambda: cache.stats().flights == 0)
    check_sums(cache)


@pytest.mark.parametrize("before", [0, 2])
async def test_an_error_reaches_every_reader_after_what_came_before_it(
    cache: SemanticCache, before: int
) -> None:
    llm = GatedStream()
    readers = [Reader(cache.stream("refund at 10", llm)) for _ in range(3)]
    llm.say(*["x"] * before, RuntimeError("cut"))
    for reader in readers:
        with pytest.raises(RuntimeError, match="cut"):
            await reader.task
        assert reader.read == ["x"] * before
    await until(lambda: cache.stats().flights == 0)
    assert check_sums(cache).failed == 3
    assert await cache.lookup("refund at 10") is None


@pytest.mark.parametrize("finish", [True, False])
async def test_readers_who_leave_harm_nobody(finish: bool) -> None:
    config = CacheConfig(finish_abandoned=finish)
    async with SemanticCache.open(
        embedder=AngleEmbedder(), store=MemoryStore(), config=config
    ) as cache:
        llm = GatedStream()
        leader = Reader(cache.stream("refund at 10", llm))
        llm.say("a")
        await until(lambda: leader.read == ["a"])
        follower = Reader(cache.stream("refund at 10", llm))
        await until(lambda: follower.read == ["a"])
        leader.task.cancel()
        llm.say("b")
        await until(lambda: follower.read == ["a", "b"])
        follower.task.cancel()
        await asyncio.gather(leader.task, follower.task, return_exceptions=True)
        llm.say("c", None)
        await until(lambda: cache.stats().flights == 0)
        found = await cache.lookup("refund at 10")
        assert (found.text if found else None) == ("abc" if finish else None)
        stats = check_sums(cache)
        assert (stats.failed, stats.cancelled, llm.closed) == (2, 2, 1)


async def test_leaving_a_stream_early_gives_the_seat_up(cache: SemanticCache) -> None:
    llm = GatedStream()
    llm.say("a")
    async with aclosing(cache.stream("refund at 10", llm)) as stream:
        async for piece in stream:
            assert piece == "a"
            break
    assert cache.stats().waiting == 0
    llm.say(None)
    await until(lambda: cache.stats().flights == 0)
    assert check_sums(cache).cancelled == 1


async def test_callers_of_both_kinds_share_a_flight(cache: SemanticCache) -> None:
    gated = GatedLLM()
    whole = asyncio.create_task(cache.get_or_generate("refund at 10", gated))
    await until(lambda: gated.prompts != [])
    reader = Reader(cache.stream("refund at 11", GatedStream()))
    await until(lambda: cache.stats().waiting == 2)
    gated.gate.set()
    await reader.task
    assert reader.read == [(await whole).text]
    streamed = GatedStream()
    second = Reader(cache.stream("refund at 50", streamed))
    await until(lambda: streamed.calls == 1)
    asked = asyncio.create_task(cache.get_or_generate("refund at 50", gated))
    streamed.say("x", "y", None)
    answer = await asked
    await second.task
    assert (answer.text, answer.source) == ("xy", Source.SHARED)
    check_sums(cache)


async def test_pieces_must_be_text(cache: SemanticCache) -> None:
    llm: Any = GatedStream()
    llm.say(7)
    with pytest.raises(TypeError, match="must give str"):
        async for _ in cache.stream("refund at 10", llm):
            pass
    assert llm.closed == 1


# -- reply


def made(text: str, *chunks: object, keep: bool = True) -> Any:
    """A ``Produce`` that counts its calls."""

    async def produce(prompt: str, emit: Callable[[Any], None]) -> Produced:
        produce.calls += 1  # type: ignore[attr-defined]
        for chunk in chunks:
            emit(chunk)
        return Produced(text, keep)

    produce.calls = 0  # type: ignore[attr-defined]
    return produce


async def test_the_source_is_known_on_entry(cache: SemanticCache) -> None:
    async with cache.reply("refund at 10", made("whole", 1, 2)) as reply:
        assert (reply.source, reply.hit) == (Source.GENERATED, None)
        assert [chunk async for chunk in reply] == [1, 2]
        answer = await reply.answer()
        assert (answer.text, answer.source) == ("whole", Source.GENERATED)
        assert answer.entry_id is not None
    async with cache.reply("refund at 11", made("")) as reply:
        assert reply.source is Source.SEMANTIC
        assert reply.hit is not None
        assert [chunk async for chunk in reply] == []
        assert await reply.answer() is reply.hit
    check_sums(cache)


async def test_what_is_not_to_be_kept_is_delivered_to_all(cache: SemanticCache) -> None:
    produce = made("cut off", 1, keep=False)
    async with cache.reply("refund at 10", produce) as reply:
        assert (await reply.answer()).entry_id is None
    assert await cache.lookup("refund at 10") is None
    assert check_sums(cache).not_stored == 1


async def test_without_reading_the_answer_is_replaced(cache: SemanticCache) -> None:
    await cache.store("refund at 10", "old")
    async with cache.reply("refund at 10", made("new"), read=False) as reply:
        assert reply.source is Source.GENERATED
        await reply.answer()
    found = await cache.lookup("refund at 10")
    assert found is not None
    assert found.text == "new"
    check_sums(cache)


async def test_without_writing_a_hit_is_served_and_a_miss_is_private(cache: SemanticCache) -> None:
    await cache.store("refund at 10", "kept")
    async with cache.reply("refund at 10", made("new"), write=False) as reply:
        assert reply.source is Source.EXACT
    gate = asyncio.Event()

    async def slow(_prompt: str, _emit: Callable[[Any], None]) -> Produced:
        await gate.wait()
        return Produced("private")

    async def private() -> str:
        async with cache.reply("refund at 50", slow, write=False) as reply:
            return (await reply.answer()).text

    first = asyncio.create_task(private())
    await until(lambda: cache.stats().flights == 1)
    async with cache.reply("refund at 50", made("public")) as reply:
        assert (reply.source, (await reply.answer()).text) == (Source.GENERATED, "public")
    gate.set()
    assert await first == "private"
    found = await cache.lookup("refund at 50")
    assert found is not None
    assert found.text == "public"
    check_sums(cache)


async def test_bypassing_touches_no_tier_and_ends_with_its_caller(cache: SemanticCache) -> None:
    await cache.store("refund at 10", "kept")
    async with cache.reply("refund at 10", made("new"), read=False, write=False) as reply:
        assert reply.source is Source.BYPASSED
        assert (await reply.answer()).text == "new"
    gated = GatedStream()

    async def forever(prompt: str, emit: Callable[[Any], None]) -> Produced:
        async with aclosing(gated(prompt)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                emit(piece)
        return Produced("")

    gated.say("a")
    async with cache.reply("refund at 10", forever, read=False, write=False) as reply:
        async for chunk in reply:
            assert chunk == "a"
            break
    await until(lambda: cache.stats().flights == 0)
    assert gated.closed == 1
    found = await cache.lookup("refund at 10")
    assert found is not None
    assert found.text == "kept"
    assert check_sums(cache).bypassed == 2


async def test_an_entry_that_is_too_old_is_a_miss() -> None:
    now = [1_000.0]
    store = MemoryStore(clock=lambda: now[0])
    async with SemanticCache.open(embedder=AngleEmbedder(), store=store) as cache:
        await cache.store("refund at 10", "ancient")
        now[0] += 61.0
        produce = made("fresh")
        for prompt in ("refund at 10", "refund at 11"):
            async with cache.reply(prompt, produce, max_age_s=60.0, write=False) as reply:
                assert reply.source is Source.GENERATED
        assert produce.calls == 2
        assert await cache.lookup("refund at 10") is not None


async def test_a_leaders_second_look_settles_everybody(cache: SemanticCache) -> None:
    """The leader finds an answer that landed meanwhile; its follower looks for itself."""
    tiers = cache._tiers
    find = tiers.find
    gate = asyncio.Event()
    looks = 0

    async def gated(request: Any) -> Any:
        nonlocal looks
        looks += 1
        if looks == 3:  # two callers' first looks, then the leader's second one
            await gate.wait()
        return await find(request)

    tiers.find = gated  # type: ignore[method-assign, assignment]
    produce = made("called")

    async def ask(prompt: str) -> tuple[Source, str]:
        async with cache.reply(prompt, produce) as reply:
            return reply.source, (await reply.answer()).text

    leader = asyncio.create_task(ask("refund at 20"))
    follower = asyncio.create_task(ask("refund at 40"))
    await until(lambda: looks == 3 and cache.stats().waiting == 2)
    await cache.store("refund at 0", "elsewhere")
    gate.set()
    assert await leader == (Source.SEMANTIC, "elsewhere")
    assert await follower == (Source.GENERATED, "called")
    check_sums(cache)


async def test_looking_without_asking(cache: SemanticCache) -> None:
    scope = Scope(tenant="a")
    await cache.store("refund at 10", "ten", scope=scope, tags=["t"])
    await cache.store("refund at 90", "ninety", scope=scope)
    near = await cache.nearest("refund at 20", scope=scope, limit=5)
    assert [neighbour.entry.text for neighbour in near] == ["ten", "ninety"]
    assert await cache.lookup_exact("refund at 20", scope=scope) is None
    found = await cache.lookup_exact("refund at 10", scope=scope)
    assert found is not None
    assert (found.text, found.source) == ("ten", Source.EXACT)
    assert [entry.text for entry in await cache.browse()] == ["ninety", "ten"]
    assert [entry.text for entry in await cache.browse(tags=["t"])] == ["ten"]
    await cache.check()
