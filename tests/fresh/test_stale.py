"""Past their time: answers that are served at once and made anew once, and errors kept a moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from semcache_async import CacheConfig, Scope, SemanticCache, Source, TTLRule
from semcache_async.errors import ConfigError
from semcache_async.request.ttl import lifetimes
from semcache_async.testing import AngleEmbedder, MemoryStore
from semcache_async.types import Answer
from tests.helpers import GatedLLM, check_sums, until
from tests.store.helpers import open_store

pytestmark = pytest.mark.anyio
SCOPE = Scope(tenant="a")
STALE: dict[str, Any] = {
    "exact_ttl_s": 100.0,
    "semantic_ttl_s": 100.0,
    "ttl_jitter": 0.0,
    "stale_ttl_s": 50.0,
    "store_timeout_s": 30.0,
}


class Clock:
    """How far ahead of the true time the stores' clocks are."""

    def __init__(self) -> None:
        self.passed = 0.0

    def __call__(self) -> float:
        return self.passed


class Numbered(GatedLLM):
    """Says which call it was."""

    async def __call__(self, prompt: str) -> str:
        await super().__call__(prompt)
        return f"answer {len(self.prompts)}"


@asynccontextmanager
async def caches(
    url: str, name: str, clock: Clock, count: int = 1, **options: Any
) -> AsyncIterator[list[SemanticCache]]:
    """Caches that share nothing but their Redis, as processes would."""
    config = CacheConfig(name=name, **{**STALE, **options})
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(count):
            store = await stack.enter_async_context(open_store(url, name, ahead=clock))
            opening = SemanticCache.open(store=store, config=config, embedder=AngleEmbedder())
            opened.append(await stack.enter_async_context(opening))
        yield opened


async def landed(cache: SemanticCache) -> None:
    await until(lambda: not (len(cache._answering) or cache._answering._renewing))


async def test_stale_is_served_at_once_and_made_anew(redis_url: str, name: str) -> None:
    clock, llm = Clock(), Numbered(opened=True)
    async with caches(redis_url, name, clock) as (cache,):

        async def ask(prompt: str) -> Answer:
            return await cache.get_or_generate(prompt, llm, scope=SCOPE, tags=("t",))

        first = await ask("at 0")
        clock.passed = 99.0
        assert not (await ask("at 0")).stale
        assert len(llm.prompts) == 1
        clock.passed = 120.0
        llm.gate.clear()
        stale = await ask("at 0")
        assert (stale.text, stale.source, stale.stale) == ("answer 1", Source.EXACT, True)
        assert stale.age_s > 100.0
        assert abs(stale.last_validated - first.last_validated) < 10.0
        await until(lambda: len(llm.prompts) == 2)
        assert (await ask("at 0")).text == "answer 1", "nobody waits"
        llm.gate.set()
        await landed(cache)
        fresh = await ask("at 0")
        assert (fresh.text, fresh.stale) == ("answer 2", False)
        assert fresh.age_s < 100.0
        assert fresh.last_validated > stale.last_validated + 100.0
        assert await cache.invalidate(tags=("t",)) == 1
        stats = check_sums(cache)
        assert (stats.exact, stats.generated, stats.llm_calls) == (4, 1, 2)
        assert (stats.stale, stats.renewed) == (2, 1)


async def test_past_its_end_it_is_a_miss(redis_url: str, name: str) -> None:
    clock, llm = Clock(), Numbered(opened=True)
    async with caches(redis_url, name, clock) as (cache,):
        await cache.get_or_generate("at 0", llm, scope=SCOPE)
        clock.passed = 151.0
        for prompt in ("at 0", "at 1"):
            assert await cache.lookup(prompt, scope=SCOPE) is None
        assert (await cache.get_or_generate("at 1", llm, scope=SCOPE)).source is Source.GENERATED


async def test_by_meaning_it_is_what_a_miss_would_have_done(redis_url: str, name: str) -> None:
    clock, llm = Clock(), Numbered(opened=True)
    async with caches(redis_url, name, clock) as (cache,):
        await cache.get_or_generate("at 0", llm, scope=SCOPE, tags=("price",))
        clock.passed = 120.0
        stale = await cache.get_or_generate("at 2", llm, scope=SCOPE)
        assert (stale.source, stale.stale) == (Source.SEMANTIC, True)
        await landed(cache)
        assert llm.prompts == ["at 0", "at 2"]
        fresh = await cache.get_or_generate("at 1", llm, scope=SCOPE)
        assert (fresh.text, fresh.stale) == ("answer 2", False), "a fresh one goes before a stale"
        assert await cache.invalidate(tags=("price",)) == 2, "what the old one hung on, it does too"


async def test_a_thousand_at_the_moment_it_ends(redis_url: str, name: str) -> None:
    clock, llm = Clock(), Numbered(opened=True)
    async with caches(redis_url, name, clock, 2) as both:
        await both[0].get_or_generate("at 0", llm, scope=SCOPE)
        clock.passed = 100.5
        llm.gate.clear()
        asked = [both[n % 2].get_or_generate(f"at {n % 3}", llm, scope=SCOPE) for n in range(1_000)]
        answers = await asyncio.gather(*asked)
        assert {answer.text for answer in answers} == {"answer 1"}, "nobody waits for the LLM"
        assert all(answer.stale for answer in answers)
        await until(lambda: len(llm.prompts) == 2)
        llm.gate.set()
        for cache in both:
            await landed(cache)
        assert len(llm.prompts) == 2, "one call, over both"
        for cache in both:
            assert not (await cache.get_or_generate("at 0", llm, scope=SCOPE)).stale
            check_sums(cache)
        assert len(llm.prompts) == 2


async def test_who_finds_nothing_else_waits_for_it(redis_url: str, name: str) -> None:
    clock, llm = Clock(), Numbered(opened=True)
    async with caches(redis_url, name, clock) as (cache,):
        await cache.get_or_generate("at 0", llm, scope=SCOPE)
        clock.passed = 140.0
        llm.gate.clear()
        await cache.get_or_generate("at 0", llm, scope=SCOPE)
        await until(lambda: len(llm.prompts) == 2)
        clock.passed = 160.0
        missed = asyncio.create_task(cache.get_or_generate("at 0", llm, scope=SCOPE))
        await until(lambda: cache.stats().waiting == 1)
        left = asyncio.create_task(cache.get_or_generate("at 1", llm, scope=SCOPE))
        await until(lambda: cache.stats().waiting == 2)
        left.cancel()
        llm.gate.set()
        answer = await missed
        assert (answer.text, answer.source) == ("answer 2", Source.SHARED)
        assert len(llm.prompts) == 2


async def test_a_renewal_that_fails_leaves_the_old_one_and_rests(redis_url: str, name: str) -> None:
    clock, llm = Clock(), Numbered(opened=True)
    async with caches(redis_url, name, clock) as (cache,):
        await cache.get_or_generate("at 0", llm, scope=SCOPE)
        clock.passed = 110.0
        llm.error = RuntimeError("no")
        for _ in range(3):
            answer = await cache.get_or_generate("at 0", llm, scope=SCOPE)
            assert (answer.text, answer.stale) == ("answer 1", True)
            await landed(cache)
        assert len(llm.prompts) == 2
        stats = check_sums(cache)
        assert (stats.exact, stats.failed, stats.llm_errors) == (3, 0, 1)


async def test_an_invalidation_holds_for_renewals(redis_url: str, name: str) -> None:
    clock, llm = Clock(), Numbered(opened=True)
    async with caches(redis_url, name, clock) as (cache,):
        await cache.get_or_generate("at 0", llm, scope=SCOPE, tags=("t",))
        clock.passed = 110.0
        llm.gate.clear()
        await cache.get_or_generate("at 0", llm, scope=SCOPE)
        await until(lambda: len(llm.prompts) == 2)
        assert await cache.invalidate(tags=("t",)) == 1
        llm.gate.set()
        await landed(cache)
        assert await cache.lookup("at 0", scope=SCOPE) is None
        assert cache.stats().not_stored_invalidated == 1


async def test_streams_are_made_anew_too(redis_url: str, name: str) -> None:
    clock = Clock()
    streamed = 0

    async def stream(prompt: str) -> AsyncIterator[str]:
        nonlocal streamed
        streamed += 1
        yield "answer "
        yield str(streamed)

    async with caches(redis_url, name, clock, local_answers=10) as (cache,):

        async def ask() -> str:
            return "".join([piece async for piece in cache.stream("at 0", stream, scope=SCOPE)])

        for _ in range(3):
            assert await ask() == "answer 1"
            await landed(cache)
        clock.passed = 120.0
        assert await ask() == "answer 1"
        await landed(cache)
        assert await ask() == "answer 2"
        assert streamed == 2


async def test_early_refresh_draws_the_likelier_the_nearer_the_end(
    redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, llm = Clock(), Numbered()
    options: dict[str, Any] = {"stale_ttl_s": 0.0, "early_refresh": 1.0}
    lot = 0.5
    monkeypatch.setattr("semcache_async.request.ageing.random.random", lambda: lot)
    async with caches(redis_url, name, clock, **options) as (cache,):
        asked = asyncio.create_task(cache.get_or_generate("at 0", llm, scope=SCOPE))
        await until(lambda: len(llm.prompts) == 1)
        clock.passed = 20.0  # what making it takes
        llm.gate.set()
        await asked

        async def renewed_at(passed: float, drawn: float) -> bool:
            nonlocal lot
            clock.passed, lot = passed, drawn
            before = len(llm.prompts)
            assert not (await cache.get_or_generate("at 0", llm, scope=SCOPE)).stale
            await landed(cache)
            return len(llm.prompts) > before

        # it ends at 120; -20 s * ln(1 - lot): 13.9 s ahead for .5, 59.9 s for .95
        assert not await renewed_at(59.0, 0.95)
        assert not await renewed_at(105.0, 0.5)
        assert await renewed_at(107.0, 0.5)
        assert not await renewed_at(107.0, 0.5), "it is a new one"


# -- times to live


def test_rules() -> None:
    config = CacheConfig(
        exact_ttl_s=3_600.0,
        semantic_ttl_s=14_400.0,
        stale_ttl_s=60.0,
        ttl_jitter=0.0,
        max_ttl_s=90_000.0,
        ttl_rules=(
            TTLRule(tags=("price:*",), ttl_s=900.0, stale_ttl_s=0.0),
            TTLRule(words=("opening hours", "営業時間"), ttl_s=600.0),
            TTLRule(tags=("policy",), models=("gpt-*",), ttl_s=86_400.0),
            TTLRule(namespaces=("archive",), ttl_s=1_000_000.0),
        ),
    )

    def lives(
        prompt: str = "q", *tags: str, ttl_s: float | None = None, **scope: str
    ) -> tuple[float, ...]:
        return tuple(lifetimes(config, prompt, Scope(**scope), tags, ttl_s))  # type: ignore[arg-type]

    assert lives() == (3_660.0, 14_460.0, 60.0)
    assert lives(ttl_s=100.0) == (160.0, 160.0, 60.0)
    assert lives("q", "price:1") == (900.0, 900.0, 0.0)
    assert lives("q", "price:1", ttl_s=10_000.0) == (900.0, 900.0, 0.0), "a caller may ask for less"
    assert lives("q", "price:1", ttl_s=10.0) == (10.0, 10.0, 0.0)
    assert lives("q", "prices") == lives()
    assert lives("What are your OPENING, hours?", "price:1") == (600.0, 600.0, 0.0)
    assert lives("What is reopening hours late?") == lives()
    assert lives("週末の営業時間") == (660.0, 660.0, 60.0)
    assert lives("q", "policy") == lives()
    assert lives("q", "policy", model="gpt-x") == (86_460.0, 86_460.0, 60.0)
    assert lives(namespace="archive") == (90_000.0, 90_000.0, 60.0), "the cap is for all"
    assert lives(ttl_s=1e6) == (90_000.0, 90_000.0, 60.0)


@pytest.mark.parametrize(
    "options",
    [
        {"ttl_rules": (TTLRule(ttl_s=1.0),)},
        {"ttl_rules": (TTLRule(tags="price", ttl_s=1.0),)},  # type: ignore[arg-type]
        {"ttl_rules": (TTLRule(tags=("a",), ttl_s=0.0),)},
        {"ttl_rules": (TTLRule(tags=("a",), ttl_s=1.0, stale_ttl_s=-1.0),)},
        {"ttl_rules": ({"ttl_s": 1.0},)},
        {"ttl_rules": TTLRule(tags=("a",), ttl_s=1.0)},
        {"stale_ttl_s": -1.0},
        {"early_refresh": float("nan")},
        {"error_ttl_s": 61.0},
        {"max_ttl_s": 0.0},
        {"sliding_ttl": True},
        {"version_lease_s": 0.0},
    ],
)
def test_nonsense(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        CacheConfig(**options)


# -- errors


async def test_an_error_is_given_again_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    config = CacheConfig(error_ttl_s=5.0)
    opening = SemanticCache.open(store=MemoryStore(), config=config, embedder=AngleEmbedder())
    async with opening as cache:
        monkeypatch.setattr(cache._answering._failures, "_clock", lambda: now)
        llm = Numbered(opened=True)
        llm.error = RuntimeError("no")

        async def fails(prompt: str, **more: Any) -> None:
            with pytest.raises(RuntimeError, match="no"):
                await cache.get_or_generate(prompt, llm, **more)

        for _ in range(3):
            await fails("at 0")
        assert len(llm.prompts) == 1
        await fails("at 0", scope=SCOPE)
        await fails("at 1")
        assert len(llm.prompts) == 3
        now = 5.0
        llm.error = None
        assert (await cache.get_or_generate("at 0", llm)).source is Source.GENERATED
        stats = check_sums(cache)
        assert (stats.failed, stats.llm_errors, stats.spared_errors) == (5, 3, 2)


async def test_by_default_errors_are_not_kept() -> None:
    async with SemanticCache.open(store=MemoryStore(), embedder=AngleEmbedder()) as cache:
        llm = Numbered(opened=True)
        llm.error = RuntimeError("no")
        for _ in range(2):
            with pytest.raises(RuntimeError):
                await cache.get_or_generate("at 0", llm)
        assert len(llm.prompts) == 2


# -- what hits and verdicts do to times


@pytest.mark.parametrize("local_answers", [0, 10])
async def test_a_hit_begins_the_time_anew_up_to_the_cap(
    redis_url: str, name: str, local_answers: int
) -> None:
    clock, llm = Clock(), Numbered(opened=True)
    options: dict[str, Any] = {"stale_ttl_s": 0.0, "sliding_ttl": True, "max_ttl_s": 250.0}
    options |= {"semantic_ttl_s": 50.0, "local_answers": local_answers}
    async with caches(redis_url, name, clock, **options) as (cache,):
        await cache.get_or_generate("at 0", llm, scope=SCOPE)
        tiers = cache._tiers
        for passed, prompt in (
            *((2.0, "at 0"), (45.0, "at 2"), (90.0, "at 2"), (135.0, "at 2"), (180.0, "at 0")),
            *((200.0, "at 2"), (249.0, "at 0")),
        ):
            clock.passed = passed
            found = await cache.lookup(prompt, scope=SCOPE)
            assert found is not None, f"it ended before {passed}"
            await until(lambda: not tiers.ageing.sliding)
        clock.passed = 251.0
        assert await cache.lookup("at 0", scope=SCOPE) is None
        assert await cache.lookup("at 2", scope=SCOPE) is None


async def test_without_hits_it_ends(redis_url: str, name: str) -> None:
    clock, llm = Clock(), Numbered(opened=True)
    options: dict[str, Any] = {"stale_ttl_s": 0.0, "sliding_ttl": True, "max_ttl_s": 250.0}
    async with caches(redis_url, name, clock, **options) as (cache,):
        await cache.get_or_generate("at 0", llm, scope=SCOPE, ttl_s=30.0)
        clock.passed = 31.0
        assert await cache.lookup("at 0", scope=SCOPE) is None, "its own time is what slides"


async def test_sliding_brings_nothing_back(redis_url: str, name: str) -> None:
    clock, llm = Clock(), Numbered(opened=True)
    options: dict[str, Any] = {"stale_ttl_s": 0.0, "sliding_ttl": True, "max_ttl_s": 250.0}
    async with caches(redis_url, name, clock, **options) as (cache,):
        await cache.get_or_generate("at 0", llm, scope=SCOPE, tags=("t",))
        clock.passed = 50.0
        assert await cache.lookup("at 0", scope=SCOPE) is not None
        assert await cache.invalidate(tags=("t",)) == 1
        await until(lambda: not cache._tiers.ageing.sliding)
        assert await cache.lookup("at 0", scope=SCOPE) is None


async def test_a_right_verdict_says_when(redis_url: str, name: str) -> None:
    clock, llm = Clock(), Numbered(opened=True)
    async with caches(redis_url, name, clock) as (cache,):
        first = await cache.get_or_generate("at 0", llm, scope=SCOPE)
        assert first.entry_id is not None
        for passed, prompt in ((40.0, "at 0"), (60.0, "at 2")):
            clock.passed = passed
            assert await cache.feedback(prompt, first.entry_id, right=True)
            found = await cache.lookup("at 0", scope=SCOPE)
            assert found is not None
            assert passed - 1 < found.last_validated - first.last_validated < passed + 10
            assert found.age_s > passed - 1, "it is as old as it was"
        clock.passed = 101.0
        stale = await cache.lookup("at 0", scope=SCOPE)
        assert stale is not None
        assert stale.stale, "a verdict moves no time to live"
