"""Two caches on one store, which take each other for other processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest

from semcache_async import Answer, CacheConfig, SemanticCache, Source
from semcache_async.errors import OverloadedError, StoreError, StoreUnavailableError
from semcache_async.serve.errors import UpstreamAnswered
from semcache_async.sharing.letters import WINDOW
from semcache_async.testing import AngleEmbedder
from semcache_async.testing.sharing import SharingMemoryStore
from semcache_async.types import Letter, Produced
from tests.helpers import GatedLLM, check_sums, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

CONFIG = CacheConfig(max_distance=0.004, guards=())
"""5 degrees are near, 10 are not."""


class Pair(NamedTuple):
    store: SharingMemoryStore
    one: SemanticCache
    other: SemanticCache

    async def claimed(self, count: int = 1) -> None:
        """So many claims stand, and nobody asks any longer."""
        await until(lambda: len(self.store.claims) == count)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(self.store.claims) == count


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    store, embedder = SharingMemoryStore(), AngleEmbedder()
    async with (
        SemanticCache.open(store=store, embedder=embedder, config=CONFIG) as one,
        SemanticCache.open(store=store, embedder=embedder, config=CONFIG) as other,
    ):
        yield Pair(store, one, other)
        check_sums(one)
        check_sums(other)


def ask(cache: SemanticCache, prompt: str, llm: Any, **options: Any) -> asyncio.Task[Answer]:
    return asyncio.create_task(cache.get_or_generate(prompt, llm, **options))


async def following(cache: SemanticCache, count: int = 1) -> None:
    """So many callers of a cache wait, and the leader knows of it."""
    await until(lambda: cache.stats().waiting >= count)
    for _ in range(100):
        await asyncio.sleep(0)


async def test_a_follower_is_told_what_it_follows(pair: Pair) -> None:
    llm = GatedLLM()
    led = ask(pair.one, "q at 0", llm)
    await pair.claimed()
    near = ask(pair.other, "r at 3", llm)
    same = ask(pair.other, "q at 0", llm)
    await following(pair.other, 2)
    llm.gate.set()
    first, second, third = await asyncio.gather(led, near, same)
    assert llm.prompts == ["q at 0"]
    assert first.source is Source.GENERATED
    assert {second.source, third.source} == {Source.SHARED}
    assert (second.text, second.matched_prompt) == ("answer to q at 0", "q at 0")
    assert second.distance == pytest.approx(0.00137, abs=1e-4)
    assert third.distance == pytest.approx(0.0, abs=1e-6)
    assert second.entry_id == first.entry_id
    assert pair.other.stats().followed == 1
    assert pair.other.stats().llm_calls == 0


@pytest.mark.parametrize("early", [True, False])
async def test_nobody_follows_farther_than_they_ask(pair: Pair, early: bool) -> None:
    llm = GatedLLM()
    asked: list[asyncio.Task[Any]] = [ask(pair.one, "q at 0", llm)]
    await pair.claimed()
    asked.append(ask(pair.other, "r at 3", llm))
    if not early:
        await following(pair.other)
    asked += [ask(pair.other, "r at 3", llm, max_distance=far) for far in (0.0, 0.0, 0.001, 0.002)]
    asked.append(asyncio.create_task(streamed(pair.other, "r at 3", llm, max_distance=0.0)))
    await until(lambda: len(llm.prompts) == 2)
    await following(pair.other, 5)
    llm.gate.set()
    _, near, *exact, wide, piece = await asyncio.gather(*asked)
    assert {answer.text for answer in exact} == {"answer to r at 3"}
    assert piece == "answer to r at 3"
    for answer in (near, wide):
        assert (answer.text, answer.matched_prompt) == ("answer to q at 0", "q at 0")
        assert answer.distance == pytest.approx(0.00137, abs=1e-4)
    assert llm.prompts == ["q at 0", "r at 3"]


async def streamed(cache: SemanticCache, prompt: str, llm: GatedLLM, **options: Any) -> Any:
    async def pieces(asked: str) -> AsyncIterator[str]:
        yield await llm(asked)

    return "".join([piece async for piece in cache.stream(prompt, pieces, **options)])


async def test_near_a_follower_is_not_near_its_leader(pair: Pair) -> None:
    llm = GatedLLM()
    asked = [ask(pair.one, "a at 0", llm)]
    await pair.claimed()
    asked.append(ask(pair.other, "b at 5", llm))
    await following(pair.other)
    asked.append(ask(pair.other, "c at 10", llm))
    await until(lambda: len(llm.prompts) == 2)
    asked.append(ask(pair.one, "d at 10", llm))
    await following(pair.one, 2)
    llm.gate.set()
    texts = [answer.text for answer in await asyncio.gather(*asked)]
    assert texts == ["answer to a at 0"] * 2 + ["answer to c at 10"] * 2
    assert llm.prompts == ["a at 0", "c at 10"]


async def test_a_late_one_reads_from_the_start(pair: Pair) -> None:
    gates = [asyncio.Event() for _ in range(3)]

    async def pieces(_prompt: str) -> AsyncIterator[str]:
        for number, gate in enumerate(gates):
            yield f"{number} "
            await gate.wait()

    read_by: list[list[str]] = [[], [], []]

    async def read(cache: SemanticCache, number: int) -> None:
        async for piece in cache.stream("q at 0", pieces):
            read_by[number].append(piece)

    reading = [asyncio.create_task(read(pair.one, 0))]
    await until(lambda: read_by[0] == ["0 "])
    gates[0].set()
    await until(lambda: len(read_by[0]) == 2)
    reading += [asyncio.create_task(read(pair.other, number)) for number in (1, 2)]
    await until(lambda: read_by[1:] == [["0 ", "1 "]] * 2)
    gates[1].set()
    await until(lambda: read_by == [["0 ", "1 ", "2 "]] * 3)
    gates[2].set()
    await asyncio.gather(*reading)


class Word(str):
    """As frameworks derive them."""

    __slots__ = ()


@pytest.mark.parametrize(
    "pieces",
    [(Word("one "), Word("two")), ("half a \ud83d", "\ude00 smile"), ("", "\0", "\ufeffé")],
    ids=["derived", "surrogates", "odd"],
)
async def test_pieces_arrive_as_they_were_sent(pair: Pair, pieces: tuple[str, ...]) -> None:
    gate, calls = asyncio.Event(), []

    async def generate(prompt: str) -> AsyncIterator[str]:
        calls.append(prompt)
        yield pieces[0]
        await gate.wait()
        for piece in pieces[1:]:
            yield piece

    read_by: list[list[str]] = [[], []]

    async def read(cache: SemanticCache, number: int) -> None:
        async for piece in cache.stream("q at 0", generate):
            read_by[number].append(piece)

    reading = [asyncio.create_task(read(pair.one, 0))]
    await pair.claimed()
    reading.append(asyncio.create_task(read(pair.other, 1)))
    await until(lambda: len(read_by[1]) == 1)
    gate.set()
    await asyncio.gather(*reading)
    assert read_by == [list(pieces)] * 2
    assert calls == ["q at 0"]
    assert type(read_by[1][0]) is str


async def test_who_emits_something_else_calls_for_itself(pair: Pair) -> None:
    gate, calls = asyncio.Event(), []

    def produce(chunk: Any) -> Any:
        async def call(prompt: str, emit: Callable[[Any], None]) -> Produced:
            calls.append(chunk)
            emit(chunk)
            await gate.wait()
            return Produced("text")

        return call

    async def read(cache: SemanticCache, chunk: Any, emits: type) -> Any:
        async with cache.reply("q at 0", produce(chunk), emits=emits) as reply:
            return [chunk async for chunk in reply], (await reply.answer()).text

    strange = object()
    reading = [asyncio.create_task(read(pair.one, strange, object))]
    await pair.claimed()
    reading.append(asyncio.create_task(read(pair.other, b"bytes", bytes)))
    await until(lambda: len(calls) == 2)
    reading.append(asyncio.create_task(read(pair.one, strange, object)))
    gate.set()
    assert await asyncio.gather(*reading) == [
        ([strange], "text"),
        ([b"bytes"], "text"),
        ([strange], "text"),
    ]


class OddError(Exception):
    """Its constructor is its own affair."""

    def __init__(self, part: object, *, status_code: int) -> None:
        super().__init__(f"odd {part}")
        self.part = part
        self.status_code = status_code


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no", "good"),
        OddError("thing", status_code=418),
        UpstreamAnswered(503, b"{}", "Try again.", {"Retry-After": "1"}),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_the_call_raises_reaches_every_process(pair: Pair, error: Exception) -> None:
    llm = GatedLLM()
    llm.error = error
    asked = [ask(pair.one, "q at 0", llm)]
    await pair.claimed()
    asked += [ask(pair.other, "r at 3", llm), ask(pair.other, "q at 0", llm)]
    await following(pair.other, 2)
    llm.gate.set()
    for raised in await asyncio.gather(*asked, return_exceptions=True):
        assert type(raised) is type(error)
        assert (str(raised), vars(raised)) == (str(error), vars(error))
    assert len(llm.prompts) == 1
    llm.error = None
    assert (await pair.other.get_or_generate("q at 0", llm)).source is Source.GENERATED


async def test_what_concerns_the_leader_alone_is_taken_over(pair: Pair) -> None:
    full, llm = GatedLLM(), GatedLLM(opened=True)
    full.error = OverloadedError("no room here")
    led = ask(pair.one, "q at 0", full)
    await pair.claimed()
    followed = ask(pair.other, "q at 0", llm)
    await following(pair.other)
    full.gate.set()
    with pytest.raises(OverloadedError):
        await led
    assert (await followed).source is Source.GENERATED


async def test_a_cache_that_closes_hands_over(pair: Pair) -> None:
    mine, theirs = GatedLLM(), GatedLLM(opened=True)
    async with SemanticCache.open(
        store=pair.store, embedder=AngleEmbedder(), config=CONFIG
    ) as leader:
        led = ask(leader, "q at 0", mine)
        await pair.claimed()
        followed = [ask(pair.one, "r at 3", theirs), ask(pair.other, "q at 0", theirs)]
        await following(pair.one)
        await following(pair.other)
    assert "closed" in str((await asyncio.gather(led, return_exceptions=True))[0])
    assert {answer.text for answer in await asyncio.gather(*followed)} <= {
        "answer to r at 3",
        "answer to q at 0",
    }
    assert len(theirs.prompts) == 1


async def test_the_leader_s_caller_leaves_and_the_follower_is_served(pair: Pair) -> None:
    llm = GatedLLM()
    led = ask(pair.one, "q at 0", llm)
    await pair.claimed()
    followed = ask(pair.other, "q at 0", llm)
    await following(pair.other)
    led.cancel()
    await asyncio.gather(led, return_exceptions=True)
    llm.gate.set()
    assert (await followed).text == "answer to q at 0"
    assert (len(llm.prompts), llm.cancelled) == (1, 0)


async def test_the_last_one_who_leaves_ends_the_call() -> None:
    store, llm = SharingMemoryStore(), GatedLLM()
    config = CacheConfig(max_distance=0.004, guards=(), finish_abandoned=False)
    async with (
        SemanticCache.open(store=store, embedder=AngleEmbedder(), config=config) as one,
        SemanticCache.open(store=store, embedder=AngleEmbedder(), config=config) as other,
    ):
        led = ask(one, "q at 0", llm)
        await until(lambda: len(llm.prompts) == 1)
        followed = ask(other, "q at 0", llm)
        await following(one, 2)
        led.cancel()
        await asyncio.gather(led, return_exceptions=True)
        assert llm.cancelled == 0
        followed.cancel()
        await until(lambda: llm.cancelled == 1)
        await asyncio.gather(followed, return_exceptions=True)
        await until(lambda: not store.claims)


async def test_the_entry_carries_the_tags_of_all_processes(pair: Pair) -> None:
    llm = GatedLLM()
    led = ask(pair.one, "q at 0", llm, tags=("one",))
    await pair.claimed()
    followed = ask(pair.other, "q at 0", llm, tags=("other",))
    await following(pair.one, 2)
    llm.gate.set()
    await asyncio.gather(led, followed)
    (entry,) = await pair.one.browse()
    assert entry.tags == ("one", "other")


async def test_nobody_boards_what_an_invalidation_concerns(pair: Pair) -> None:
    old, new = GatedLLM(), GatedLLM(opened=True)
    asked = [ask(pair.one, "q at 0", old, tags=("t",))]
    await pair.claimed()
    asked.append(ask(pair.other, "q at 0", old))
    await following(pair.one, 2)
    await pair.other.invalidate(tags=("t",))
    for _ in range(50):
        await asyncio.sleep(0)
    for cache in (pair.one, pair.other):
        fresh = await cache.get_or_generate("q at 0", new)
        assert fresh.source is not Source.SHARED
    assert len(new.prompts) == 1
    old.gate.set()
    assert {answer.text for answer in await asyncio.gather(*asked)} == {"answer to q at 0"}
    assert pair.one.stats().not_stored_overtaken + pair.one.stats().not_stored_invalidated == 1


async def test_a_call_within_a_call_never_waits_for_another_process(pair: Pair) -> None:
    inner = GatedLLM(opened=True)

    async def generate(prompt: str) -> str:
        found = await pair.other.get_or_generate(prompt, inner)
        return f"{found.text}, through the other"

    answer = await asyncio.wait_for(pair.one.get_or_generate("q at 0", generate), 10.0)
    assert answer.text == "answer to q at 0, through the other"


async def test_calls_that_ask_for_each_other(pair: Pair) -> None:
    both, plain = asyncio.Barrier(2), GatedLLM(opened=True)

    def through(cache: SemanticCache, prompt: str) -> Callable[[str], Any]:
        async def generate(asked: str) -> str:
            await both.wait()
            return f"{asked} by {(await cache.get_or_generate(prompt, plain)).text}"

        return generate

    answers = await asyncio.wait_for(
        asyncio.gather(
            pair.one.get_or_generate("a at 0", through(pair.one, "b at 90")),
            pair.other.get_or_generate("b at 90", through(pair.other, "a at 0")),
        ),
        10.0,
    )
    assert all("answer to" in answer.text for answer in answers)  # at the end of the circle


async def test_a_store_that_refuses_claims_is_not_asked_for_each_miss() -> None:
    class Refusing(SharingMemoryStore):
        asked = 0

        async def claim(self, claims: Any) -> Any:
            self.asked += 1
            raise StoreError("EXECABORT, a test said.")

    llm, store = GatedLLM(opened=True), Refusing()
    async with SemanticCache.open(store=store, embedder=AngleEmbedder(), config=CONFIG) as cache:
        for n in range(20):
            await cache.get_or_generate(f"q at {n * 11}", llm)
        stats = cache.stats()
        assert (store.asked, stats.unclaimed, stats.llm_calls) == (3, 20, 20)
        assert stats.store_up


@pytest.mark.parametrize("shares", [True, False])
async def test_without_a_store_that_says_each_process_calls(shares: bool) -> None:
    class Failing(SharingMemoryStore):
        async def claim(self, claims: Any) -> Any:
            raise StoreUnavailableError("A test said so.")

    llm = GatedLLM()
    store = Failing() if shares else SharingMemoryStore()
    config = CacheConfig(max_distance=0.004, guards=(), share_flights=shares)
    async with (
        SemanticCache.open(store=store, embedder=AngleEmbedder(), config=config) as one,
        SemanticCache.open(store=store, embedder=AngleEmbedder(), config=config) as other,
    ):
        asked = [ask(cache, "q at 0", llm) for cache in (one, one, other, other)]
        await until(lambda: len(llm.prompts) == 2)
        llm.gate.set()
        await asyncio.gather(*asked)
        assert one.stats().unclaimed == other.stats().unclaimed == int(shares)


async def test_a_follower_that_stands_still_bounds_what_lies_for_it() -> None:
    class Still(SharingMemoryStore):
        """Its letters to one inbox are not delivered until the gate opens."""

        def __init__(self) -> None:
            super().__init__()
            self.gate, self.still = asyncio.Event(), ""

        async def hear(self, inbox: str, heard: Callable[[Letter | None], None]) -> None:
            self._inboxes.setdefault(inbox, asyncio.Queue())
            heard(None)
            while True:
                letter = await self._inboxes[inbox].get()
                if inbox == self.still:
                    await self.gate.wait()
                heard(letter)

    piece, count = "x" * 65_536, 200
    joined = asyncio.Event()

    async def pieces(_prompt: str) -> AsyncIterator[str]:
        for _ in range(count):
            yield piece
            await joined.wait()
            await asyncio.sleep(0)

    async def read(cache: SemanticCache) -> str:
        return "".join([piece async for piece in cache.stream("q at 0", pieces)])

    store = Still()
    async with (
        SemanticCache.open(store=store, embedder=AngleEmbedder(), config=CONFIG) as one,
        SemanticCache.open(store=store, embedder=AngleEmbedder(), config=CONFIG) as other,
    ):
        led = asyncio.create_task(read(one))
        await until(lambda: len(store.claims) == 1)
        store.still = other._answering._sharing._post.inbox  # type: ignore[union-attr]
        followed = asyncio.create_task(read(other))
        await until(lambda: one.stats().waiting == 2)
        joined.set()
        assert await led == piece * count
        assert store._inboxes[store.still].qsize() <= WINDOW
        store.gate.set()
        assert await followed == piece * count
        assert one.stats().llm_calls + other.stats().llm_calls == 1
