"""The flow, with a store in memory and prompts whose distances are plain to see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from semcache_async import CacheConfig, Scope, SemanticCache, Source
from semcache_async.errors import (
    CacheClosedError,
    ConfigError,
    EmbeddingError,
    FlightCancelledError,
    PromptError,
    StoreError,
    StoreUnavailableError,
)
from semcache_async.testing import AngleEmbedder, MemoryStore
from semcache_async.types import Entry, EntryKey, Record
from tests.helpers import GatedLLM, check_sums, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

# One degree is a distance of 0.00015, ten are 0.0152, fifteen 0.034, twenty 0.0603.


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def embedder() -> AngleEmbedder:
    return AngleEmbedder()


@pytest.fixture
async def cache(store: MemoryStore, embedder: AngleEmbedder) -> AsyncIterator[SemanticCache]:
    async with SemanticCache.open(store=store, embedder=embedder) as cache:
        yield cache
        check_sums(cache)


async def echo(prompt: str) -> str:
    return f"answer to {prompt}"


async def never(prompt: str) -> str:
    raise AssertionError(f"the LLM was called for {prompt!r}")


# -- tiers


async def test_generated_then_exact_then_semantic(cache: SemanticCache) -> None:
    made = await cache.get_or_generate("Refund at 10?", echo)
    assert (made.source, made.text, made.distance) == (
        Source.GENERATED,
        "answer to Refund at 10?",
        None,
    )
    exact = await cache.get_or_generate("  Refund at 10? ", never)
    assert (exact.source, exact.text, exact.distance, exact.similarity) == (
        Source.EXACT,
        made.text,
        0.0,
        1.0,
    )
    near = await cache.get_or_generate("money back at 20", never)
    assert (near.source, near.text, near.entry_id) == (Source.SEMANTIC, made.text, made.entry_id)
    assert near.matched_prompt == "Refund at 10?"
    assert near.distance == pytest.approx(0.0152, abs=1e-4)
    assert near.similarity == pytest.approx(1 - 0.0152, abs=1e-4)
    far = await cache.get_or_generate("other at 45", echo)
    assert far.source is Source.GENERATED
    stats = cache.stats()
    assert (stats.requests, stats.exact, stats.semantic, stats.generated) == (4, 1, 1, 2)
    assert stats.llm_calls == 2


async def test_scope_is_a_hard_boundary(cache: SemanticCache) -> None:
    base = {"tenant": "a", "locale": "en", "model": "m", "system_prompt": "s"}
    base["corpus_version"] = "1"
    scope = Scope(**base, temperature=0.2, parameters={"top_p": 1})  # type: ignore[arg-type]
    await cache.store("at 10", "secret", scope=scope)
    others = [
        Scope(**{**base, name: "other"}, temperature=0.2, parameters={"top_p": 1})  # type: ignore[arg-type]
        for name in base
    ]
    others.append(Scope(**base, temperature=0.3, parameters={"top_p": 1}))  # type: ignore[arg-type]
    others.append(Scope(**base, temperature=0.2, parameters={"top_p": True}))  # type: ignore[arg-type]
    others.append(Scope(**base, temperature=0.2))  # type: ignore[arg-type]
    for other in others:
        assert await cache.lookup("at 10", scope=other) is None
        assert await cache.lookup("near at 11", scope=other) is None
    assert await cache.lookup("near at 11", scope=scope) is not None


async def test_attributes_narrow_a_lookup(cache: SemanticCache) -> None:
    await cache.store("at 10", "pro", scope=Scope(attributes={"plan": "pro", "os": "mac"}))
    for attributes, found in [
        ({}, True),
        ({"plan": "pro"}, True),
        ({"os": "mac", "plan": "pro"}, True),
        ({"plan": "free"}, False),
        ({"region": "eu"}, False),
    ]:
        hit = await cache.lookup("near at 11", scope=Scope(attributes=attributes))
        assert (hit is not None) is found, attributes


async def test_each_tier_has_its_own_ttl(embedder: AngleEmbedder) -> None:
    now = 1_000_000.0
    store = MemoryStore(clock=lambda: now)
    config = CacheConfig(exact_ttl_s=100, semantic_ttl_s=200, ttl_jitter=0)
    async with SemanticCache.open(store=store, embedder=embedder, config=config) as cache:
        await cache.store("at 10", "text")
        for now, same, other in [  # noqa: B007 - read by the clock
            (1_000_099.0, Source.EXACT, Source.SEMANTIC),
            (1_000_101.0, None, Source.SEMANTIC),  # the same wording is the exact tier's business
            (1_000_201.0, None, None),
        ]:
            hits = [await cache.lookup("at 10"), await cache.lookup("near at 10")]
            assert [hit and hit.source for hit in hits] == [same, other]


async def test_ttl_jitter_only_shortens(store: MemoryStore, embedder: AngleEmbedder) -> None:
    config = CacheConfig(exact_ttl_s=100, semantic_ttl_s=200, ttl_jitter=0.1)
    ttls: list[tuple[float, float]] = []

    class Watching(MemoryStore):
        async def put(self, records: Sequence[Record]) -> list[str | Exception]:
            ttls.extend((record.exact_ttl_s, record.semantic_ttl_s) for record in records)
            return await super().put(records)

    async with SemanticCache.open(store=Watching(), embedder=embedder, config=config) as cache:
        for angle in range(200):
            await cache.store(f"at {angle}", "text")
        await cache.store("own", "text", ttl_s=50)
    assert all(90 <= exact <= 100 and semantic == 2 * exact for exact, semantic in ttls[:-1])
    assert len({exact for exact, _ in ttls}) > 100
    assert 45 <= ttls[-1][0] == ttls[-1][1] <= 50


async def test_max_distance_may_be_tightened_never_loosened(cache: SemanticCache) -> None:
    await cache.store("at 10", "text")
    assert await cache.lookup("near at 20", max_distance=0.01) is None
    assert await cache.lookup("near at 20", max_distance=0.02) is not None
    assert await cache.lookup("far at 40", max_distance=2.0) is None


async def test_lookup_many_keeps_the_order(cache: SemanticCache, embedder: AngleEmbedder) -> None:
    for angle in (0, 90, 180):
        await cache.store(f"at {angle}", str(angle))
    embedder.calls.clear()
    hits = await cache.lookup_many(["near at 181", "none at 45", "at 0", "near at 91", "at 0"])
    assert [hit and hit.text for hit in hits] == ["180", None, "0", "90", "0"]
    assert len(embedder.calls) == 1
    assert await cache.lookup_many([]) == []


async def test_store_replaces(cache: SemanticCache, store: MemoryStore) -> None:
    first = await cache.store("at 10", "old")
    assert await cache.store(" at 10\n", "new") == first
    hit = await cache.lookup("at 10")
    assert hit is not None
    assert hit.text == "new"
    assert len(store) == 1


# -- invalidation


async def test_invalidate_meets_every_condition(cache: SemanticCache) -> None:
    a, b = Scope(tenant="a"), Scope(tenant="b")
    first = await cache.store("at 0", "1", scope=a, tags=("red", "blue"))
    await cache.store("at 90", "2", scope=a, tags=("green",))
    await cache.store("at 0", "3", scope=b, tags=("red",))
    assert await cache.invalidate(scope=b, entry_ids=[first]) == 0
    assert await cache.invalidate(scope=a, tags=("red", "green"), entry_ids=[first]) == 1
    assert await cache.invalidate(tags=("red", "blue")) == 1
    assert await cache.invalidate(scope=a) == 1
    assert await cache.invalidate(scope=a) == 0


async def test_a_dry_run_tells_what_would_go_and_fences_nothing(cache: SemanticCache) -> None:
    a, b = Scope(tenant="a"), Scope(tenant="b")
    await cache.store("at 0", "1", scope=a, tags=("red",))
    second = await cache.store("at 90", "2", scope=a, tags=("red", "blue"))
    await cache.store("at 0", "3", scope=b, tags=("red",))
    llm = GatedLLM()
    asking = asyncio.create_task(cache.get_or_generate("at 45", llm, scope=a, tags=("red",)))
    await until(lambda: llm.prompts != [])
    found = await cache.would_invalidate(tenant="a", tags=("red",), examples=1)
    assert (found.count, [entry.id for entry in found.examples]) == (2, [second])
    assert found.examples[0].tags == ("red", "blue")
    llm.gate.set()
    assert (await asking).entry_id is not None
    assert await cache.invalidate(tenant="a", tags=("red",)) == 3
    assert (await cache.would_invalidate(tags=("red",))).count == 1
    with pytest.raises(ConfigError, match="Nothing named"):
        await cache.would_invalidate()
    with pytest.raises(ConfigError, match="examples"):
        await cache.would_invalidate(tags=("red",), examples=0)


@pytest.mark.parametrize(("tags", "kept"), [(("red",), False), (("blue",), True)])
async def test_an_answer_invalidated_while_it_is_made_is_delivered_not_stored(
    cache: SemanticCache, store: MemoryStore, tags: tuple[str, ...], kept: bool
) -> None:
    llm = GatedLLM()
    task = asyncio.create_task(cache.get_or_generate("at 0", llm, tags=("red",)))
    await until(lambda: llm.prompts != [])
    await cache.invalidate(tags=tags)
    llm.gate.set()
    assert (await task).text == "answer to at 0"
    assert len(store) == kept
    assert cache.stats().not_stored == (not kept)


# -- single flight


async def test_identical_and_similar_prompts_share_one_call(cache: SemanticCache) -> None:
    llm = GatedLLM()
    prompts = ["at 10", " at 10 ", "near at 12", "near at 20", "at 10"]
    tasks = [asyncio.create_task(cache.get_or_generate(p, llm)) for p in prompts]
    await until(lambda: cache.stats().waiting == 5)
    llm.gate.set()
    answers = await asyncio.gather(*tasks)
    assert len(llm.prompts) == 1
    assert {answer.text for answer in answers} == {f"answer to {llm.prompts[0]}"}
    assert sorted(answer.source for answer in answers) == [Source.GENERATED] + [Source.SHARED] * 4
    stats = check_sums(cache)
    assert (stats.llm_calls, stats.generated, stats.shared) == (1, 1, 4)


async def test_followers_attach_to_leaders_only(cache: SemanticCache) -> None:
    llm = GatedLLM()
    tasks = []
    for angle in (0, 15, 30):  # 0~15 and 15~30 are near, 0~30 is not
        tasks.append(asyncio.create_task(cache.get_or_generate(f"at {angle}", llm)))
        await until(lambda: cache.stats().waiting == len(tasks))
    llm.gate.set()
    answers = await asyncio.gather(*tasks)
    assert llm.prompts == ["at 0", "at 30"]
    assert [answer.text for answer in answers] == [
        "answer to at 0",
        "answer to at 0",
        "answer to at 30",
    ]


async def test_flights_do_not_cross_scopes(cache: SemanticCache) -> None:
    llm = GatedLLM()
    tasks = [
        asyncio.create_task(cache.get_or_generate("at 0", llm, scope=Scope(tenant=tenant)))
        for tenant in "abab"
    ]
    await until(lambda: cache.stats().waiting == 4)
    llm.gate.set()
    await asyncio.gather(*tasks)
    assert len(llm.prompts) == 2


async def test_the_leaders_caller_leaves_and_followers_are_answered(cache: SemanticCache) -> None:
    llm = GatedLLM()
    leader = asyncio.create_task(cache.get_or_generate("at 0", llm))
    await until(lambda: cache.stats().waiting == 1)
    followers = [asyncio.create_task(cache.get_or_generate(f"x at {n}", llm)) for n in range(3)]
    await until(lambda: cache.stats().waiting == 4)
    leader.cancel()
    await asyncio.wait([leader])
    llm.gate.set()
    answers = await asyncio.gather(*followers)
    assert [answer.source for answer in answers] == [Source.SHARED] * 3
    assert llm.prompts == ["at 0"]
    stats = check_sums(cache)
    assert (stats.failed, stats.cancelled, stats.llm_calls) == (1, 1, 1)


@pytest.mark.parametrize("finish", [True, False])
async def test_when_all_callers_leave(embedder: AngleEmbedder, finish: bool) -> None:
    store = MemoryStore()
    config = CacheConfig(finish_abandoned=finish)
    async with SemanticCache.open(store=store, embedder=embedder, config=config) as cache:
        llm = GatedLLM()
        tasks = [asyncio.create_task(cache.get_or_generate("at 0", llm)) for _ in range(3)]
        await until(lambda: cache.stats().waiting == 3 and llm.prompts != [])
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        llm.gate.set()
        await until(lambda: cache.stats().flights == 0)
        assert (len(store), llm.cancelled) == ((1, 0) if finish else (0, 1))
        again = await cache.get_or_generate("at 0", echo)
        assert again.source is (Source.EXACT if finish else Source.GENERATED)


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (RuntimeError("overloaded"), RuntimeError),
        (SystemExit(3), SystemExit),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (asyncio.CancelledError(), FlightCancelledError),
    ],
    ids=["exception", "exit", "interrupt", "cancellation"],
)
async def test_an_error_reaches_every_waiter_and_is_forgotten(
    cache: SemanticCache, error: BaseException, seen: type[BaseException]
) -> None:
    llm = GatedLLM()
    llm.error = error

    async def ask() -> BaseException | None:
        try:
            await cache.get_or_generate("at 0", llm)
        except BaseException as caught:
            return caught
        return None

    tasks = [asyncio.create_task(ask()) for _ in range(3)]
    await until(lambda: cache.stats().waiting == 3)
    llm.gate.set()
    assert [type(caught) for caught in await asyncio.gather(*tasks)] == [seen] * 3
    assert (await cache.get_or_generate("at 0", echo)).source is Source.GENERATED
    stats = check_sums(cache)
    assert (stats.failed, stats.llm_calls, stats.llm_errors) == (3, 2, 1)


async def test_a_hanging_call_ends_at_its_limit_and_a_new_leader_is_elected(
    embedder: AngleEmbedder,
) -> None:
    config = CacheConfig(generate_timeout_s=0.01)
    async with SemanticCache.open(store=MemoryStore(), embedder=embedder, config=config) as cache:
        with pytest.raises(TimeoutError):
            await cache.get_or_generate("at 0", GatedLLM())
        assert (await cache.get_or_generate("at 0", echo)).source is Source.GENERATED


async def test_a_followers_deadline_is_its_own(cache: SemanticCache) -> None:
    llm = GatedLLM()
    patient = asyncio.create_task(cache.get_or_generate("at 0", llm))
    await until(lambda: cache.stats().waiting == 1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await cache.get_or_generate("at 1", llm)
    llm.gate.set()
    assert (await patient).source is Source.GENERATED


class RacingStore(MemoryStore):
    """Holds back the first search's reply until told."""

    def __init__(self) -> None:
        super().__init__()
        self.searched = asyncio.Event()
        self.hold = asyncio.Event()

    async def search(self, queries: Sequence[Any]) -> list[Any]:
        replies = await super().search(queries)
        self.searched.set()
        await self.hold.wait()
        return replies


async def test_a_store_that_lands_between_search_and_boarding_is_seen(
    embedder: AngleEmbedder,
) -> None:
    store = RacingStore()
    async with SemanticCache.open(store=store, embedder=embedder) as cache:
        task = asyncio.create_task(cache.get_or_generate("at 0", never))
        await store.searched.wait()  # it has missed
        await cache.store("near at 1", "landed")
        store.hold.set()
        answer = await task
        assert (answer.source, answer.text) == (Source.SEMANTIC, "landed")


async def test_followers_look_for_themselves_when_their_leader_finds_on_its_second_look(
    embedder: AngleEmbedder,
) -> None:
    store = RacingStore()
    async with SemanticCache.open(store=store, embedder=embedder) as cache:
        llm = GatedLLM(opened=True)
        leader = asyncio.create_task(cache.get_or_generate("at 15", llm))
        await store.searched.wait()
        follower = asyncio.create_task(cache.get_or_generate("at 30", llm))
        await until(lambda: cache.stats().searches == 2)
        await cache.store("at 0", "landed")  # near 15, not near 30
        store.hold.set()
        assert (await leader).text == "landed"
        assert (await follower).text == "answer to at 30"
        assert llm.prompts == ["at 30"]


async def test_the_call_runs_in_the_leaders_context(cache: SemanticCache) -> None:
    import contextvars

    trace = contextvars.ContextVar("trace", default="none")

    async def traced(prompt: str) -> str:
        return trace.get()

    trace.set("mine")
    assert (await cache.get_or_generate("at 0", traced)).text == "mine"


async def test_closing_settles_everybody(embedder: AngleEmbedder) -> None:
    async with SemanticCache.open(store=MemoryStore(), embedder=embedder) as cache:
        llm = GatedLLM()
        tasks = [asyncio.create_task(cache.get_or_generate(f"at {n}", llm)) for n in (0, 1, 90)]
        await until(lambda: cache.stats().waiting == 3 and len(llm.prompts) == 2)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [CacheClosedError] * 3
    assert llm.cancelled == 2
    with pytest.raises(CacheClosedError):
        await cache.get_or_generate("at 0", echo)


# -- failing parts


class BrokenStore(MemoryStore):
    async def fetch(self, keys: Sequence[EntryKey]) -> list[Entry | Exception | None]:
        raise StoreUnavailableError("down")

    async def search(self, queries: Sequence[Any]) -> list[Any]:
        raise StoreUnavailableError("down")

    async def put(self, records: Sequence[Record]) -> list[str | Exception]:
        raise StoreUnavailableError("down")


async def test_a_broken_store_is_a_miss_and_flights_still_protect_the_llm(
    embedder: AngleEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    async with SemanticCache.open(store=BrokenStore(), embedder=embedder) as cache:
        llm = GatedLLM()
        tasks = [asyncio.create_task(cache.get_or_generate(f"x at {n}", llm)) for n in range(5)]
        await until(lambda: cache.stats().waiting == 5)
        llm.gate.set()
        answers = await asyncio.gather(*tasks)
        assert len(llm.prompts) == 1
        assert {answer.entry_id for answer in answers} == {None}
        assert await cache.lookup("at 0") is None
        stats = check_sums(cache)
        assert stats.not_stored_store == stats.not_stored == 1
        assert not stats.store_up
        assert stats.store_errors >= 5
        assert stats.store_skips >= 1
        (said,) = [
            record.getMessage() for record in caplog.records if record.name == "semcache_async"
        ]
        assert "out of reach (down)" in said
        with pytest.raises(StoreError, match="out of reach"):
            await cache.store("at 0", "text")


class MoodyEmbedder(AngleEmbedder):
    """Fails, or lies, as the text says."""

    def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        vectors = super().embed(texts)
        for text, row in zip(texts, vectors, strict=True):
            if "raise" in text:
                raise ValueError("poison")
            if "crash" in text:
                raise OSError("no model")
            if "nan" in text:
                row[:] = np.nan
            if "zero" in text:
                row[:] = 0
        return vectors


@pytest.mark.parametrize("kind", ["raise", "nan", "zero"])
async def test_a_bad_text_fails_alone(kind: str) -> None:
    async with SemanticCache.open(store=MemoryStore(), embedder=MoodyEmbedder()) as cache:
        prompts = [f"{kind} at {n}" if n == 7 else f"fine at {n * 10}" for n in range(32)]
        answers = await asyncio.gather(*[cache.get_or_generate(p, echo) for p in prompts])
        assert [a.text for a in answers if a.source is Source.GENERATED and kind in a.text] == [
            f"answer to {kind} at 7"
        ]
        assert cache.stats().embed_errors == 1
        again = await cache.lookup(prompts[7])
        assert again is not None
        assert again.source is Source.EXACT
        with pytest.raises(EmbeddingError):
            await cache.store(f"{kind} anew", "text")


async def test_a_failing_embedder_leaves_the_exact_tier() -> None:
    async with SemanticCache.open(store=MemoryStore(), embedder=MoodyEmbedder()) as cache:
        answers = [await cache.get_or_generate("crash", echo) for _ in range(2)]
        assert [answer.source for answer in answers] == [Source.GENERATED, Source.EXACT]


@pytest.mark.parametrize(
    ("config", "given", "until", "warnings"),
    [
        (CacheConfig(), 0.02, 0.02, 1),
        (CacheConfig(max_distance=0.12), 0.12, 0.12, 0),
        (CacheConfig(max_distance=0.02), 0.02, 0.02, 0),
        (CacheConfig(target_precision=0.9), 0.3, 0.02, 0),
    ],
)
async def test_a_model_of_which_nothing_was_measured_starts_strictly(
    config: CacheConfig,
    given: float,
    until: float,
    warnings: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And says so once, with what to do; unless a distance is given, or found by evidence."""
    embedder = AngleEmbedder()
    embedder.max_distance = None
    monkeypatch.setattr("semcache_async.flow.models._said", set())
    for _ in range(2):
        store = MemoryStore()
        async with SemanticCache.open(store=store, embedder=embedder, config=config) as cache:
            assert cache.config.max_distance == given
            await cache.store("stored at 0", "stored")
            near, far = (
                f"asked at {np.degrees(np.arccos(1 - distance)):.6f}"
                for distance in (until - 0.001, until + 0.001)
            )
            assert await cache.lookup(near) is not None
            assert await cache.lookup(far) is None
    said = [record.message for record in caplog.records if "semcache calibrate" in record.message]
    assert len(said) == warnings


async def test_a_decorated_function_of_a_prompt(cache: SemanticCache) -> None:
    llm = GatedLLM(opened=True)

    @cache.cached(scope=Scope(tenant="acme"), tags=("faq",))
    async def answered(prompt: str) -> str:
        """Says it."""
        return await llm(prompt)

    @cache.cached(scope=Scope(tenant="acme"))
    async def streamed(prompt: str) -> AsyncIterator[str]:
        for word in (await llm(prompt)).split():
            yield word

    assert answered.__doc__ == "Says it."
    first = await answered("refund at 15")
    assert await asyncio.gather(*(answered(f"money back at {n}") for n in (16, 17))) == [first] * 2
    assert [piece async for piece in streamed("refund at 15")] == [first]
    assert [piece async for piece in streamed("parcel at 90")] == [
        "answer",
        "to",
        "parcel",
        "at",
        "90",
    ]
    assert llm.prompts == ["refund at 15", "parcel at 90"]
    assert await cache.invalidate(tags=("faq",)) == 1
    await answered("refund at 15")
    assert llm.prompts[2:] == ["refund at 15"]


async def test_a_function_that_takes_more_than_a_prompt_is_not_decorated(
    cache: SemanticCache,
) -> None:
    async def with_more(prompt: str, language: str = "en") -> str:
        return prompt + language

    decorate = cache.cached()
    with pytest.raises(ConfigError, match=r"nothing else; put what else .* into the scope"):
        decorate(with_more)
    with pytest.raises(ConfigError, match="must be an async function"):
        decorate(lambda prompt: "text")


class Wrong:
    fingerprint = "wrong"

    def __init__(self, dim: int, result: object) -> None:
        self.dim = dim
        self._result = result

    def embed(self, texts: Sequence[str], /) -> Any:
        return self._result


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (np.ones((1, 5), np.float32), r"shape \(1, 5\) for 1 texts; it must be \(1, 4\)"),
        (np.full((1, 4), np.nan, np.float32), "finite and of unit length"),
        (np.ones((1, 4), np.float32), "length 2"),
        (np.zeros((0, 4), np.float32), r"shape \(0, 4\)"),
        ("text", "vector"),
    ],
)
async def test_an_embedder_at_odds_with_itself_is_found_at_the_start(
    result: object, says: str
) -> None:
    with pytest.raises(EmbeddingError, match=says):
        async with SemanticCache.open(store=MemoryStore(), embedder=Wrong(4, result)):
            pass


async def test_an_embedder_may_be_a_coroutine() -> None:
    class Remote(AngleEmbedder):
        async def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:  # type: ignore[override]
            await asyncio.sleep(0)
            return super().embed(texts)

    async with SemanticCache.open(store=MemoryStore(), embedder=Remote()) as cache:
        await cache.store("at 0", "text")
        assert await cache.lookup("near at 1") is not None


async def test_a_slow_embedder_is_a_miss_at_the_budget() -> None:
    class Stuck(AngleEmbedder):
        async def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:  # type: ignore[override]
            if "anybody" not in texts[0]:
                await asyncio.Event().wait()
            return super().embed(texts)

    config = CacheConfig(lookup_budget_s=0.01)
    async with SemanticCache.open(store=MemoryStore(), embedder=Stuck(), config=config) as cache:
        assert (await cache.get_or_generate("at 0", echo)).source is Source.GENERATED
        assert cache.stats().lookup_timeouts >= 1
        assert (await cache.get_or_generate("at 0", never)).source is Source.EXACT


# -- bad input


@pytest.mark.parametrize("prompt", ["", "  \n", "a\0b", "a\ud800", None, 7])
async def test_bad_prompts_cost_nobody_anything(cache: SemanticCache, prompt: Any) -> None:
    good = asyncio.create_task(cache.get_or_generate("at 0", echo))
    for call in (
        cache.get_or_generate(prompt, never),
        cache.lookup(prompt),
        cache.lookup_many(["fine", prompt]),
        cache.store(prompt, "text"),
        cache.store("fine", prompt),
    ):
        with pytest.raises(PromptError):
            await call
    assert (await good).source is Source.GENERATED
    assert cache.stats().requests == 1


async def test_a_huge_prompt_bypasses(cache: SemanticCache, store: MemoryStore) -> None:
    prompt = "word " * 200_000
    answers = [await cache.get_or_generate(prompt, echo) for _ in range(2)]
    assert [answer.source for answer in answers] == [Source.BYPASSED] * 2
    assert await cache.lookup(prompt) is None
    with pytest.raises(PromptError, match="max_prompt_bytes"):
        await cache.store(prompt, "text")
    assert len(store) == 0


@pytest.mark.parametrize("text", ["", " ", "\ud800", "x" * 2_000_000])
async def test_answers_that_cannot_be_kept_are_delivered(cache: SemanticCache, text: str) -> None:
    async def generate(prompt: str) -> str:
        return text

    for _ in range(2):
        answer = await cache.get_or_generate("at 0", generate)
        assert (answer.source, answer.entry_id) == (Source.GENERATED, None)
        assert answer.text == text
    assert cache.stats().not_stored == 2


async def test_generate_must_return_text(cache: SemanticCache) -> None:
    async def generate(prompt: str) -> Any:
        return {"text": prompt}

    with pytest.raises(TypeError, match="generate returned dict"):
        await cache.get_or_generate("at 0", generate)


async def test_generate_must_be_async(cache: SemanticCache) -> None:
    def generate(prompt: str) -> Any:
        return prompt

    with pytest.raises(TypeError, match="no async function: it returned str"):
        await cache.get_or_generate("at 0", generate)


@pytest.mark.parametrize(
    "arguments",
    [
        {"ttl_s": 0},
        {"ttl_s": -1},
        {"ttl_s": float("nan")},
        {"ttl_s": 1e12},
        {"ttl_s": "60"},
        {"tags": "red"},
        {"scope": "acme"},
        {"max_distance": -0.1},
        {"max_distance": 2.1},
        {"max_distance": float("nan")},
    ],
)
async def test_bad_arguments(cache: SemanticCache, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        await cache.get_or_generate("at 0", never, **arguments)


async def test_nothing_named_to_invalidate(cache: SemanticCache) -> None:
    with pytest.raises(ConfigError, match="Nothing named"):
        await cache.invalidate()
    with pytest.raises(ConfigError, match="wrap the one id"):
        await cache.invalidate(entry_ids="abc")


async def test_a_url_and_a_store_are_one_too_many(store: MemoryStore) -> None:
    with pytest.raises(ConfigError):
        async with SemanticCache.open("redis://localhost", store=store):
            pass
