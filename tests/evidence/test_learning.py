"""What a cache learns from its own traffic, in memory and in a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

import pytest

from semcache_async import (
    Answer,
    CacheClosedError,
    CacheConfig,
    Case,
    ConfigError,
    Scope,
    SemanticCache,
    Source,
)
from semcache_async.bounds.choice import Outcome
from semcache_async.request.answering import whole
from semcache_async.testing import MemoryStore
from tests.evidence.clusters import Clusters, intent_of, judge
from tests.helpers import until

pytestmark = pytest.mark.anyio

Open = Callable[..., Any]
LEARNING = {"target_precision": 0.95, "judge_rate": None}


async def generate(prompt: str) -> str:
    return f"about {intent_of(prompt)}"


async def in_own_words(prompt: str) -> str:
    """No two answers are the same."""
    return f"about {intent_of(prompt)}, namely {prompt}"


async def settled(cache: SemanticCache) -> None:
    await until(lambda: cache.stats().judging == 0)


async def ask(cache: SemanticCache, prompt: str, llm: Any = generate, **options: Any) -> Answer:
    answer = await cache.get_or_generate(prompt, llm, **options)
    await settled(cache)
    return answer


@pytest.fixture(params=["memory", "redis"])
def opened(request: pytest.FixtureRequest) -> Open:
    """Opens a cache of clusters; of those with one ``name``, all see the same store."""
    stores: dict[str, MemoryStore] = {}
    redis_url = request.getfixturevalue("redis_url") if request.param == "redis" else None

    @asynccontextmanager
    async def opening(
        spread: float = 0.1, name: str = "", judged: Any = judge, **options: Any
    ) -> AsyncIterator[SemanticCache]:
        config = CacheConfig(name=f"evidence-{name or uuid4().hex}", **options)
        where: Any = {"redis_url": redis_url}
        if redis_url is None:
            where = {"store": stores.setdefault(config.name, MemoryStore())}
        embedder = Clusters(spread)
        async with SemanticCache.open(
            config=config, embedder=embedder, judge=judged, **where
        ) as cache:
            yield cache

    return opening


async def test_a_safe_scope_reaches_farther(opened: Open) -> None:
    async with opened(**LEARNING) as cache:
        for n in range(150):
            await ask(cache, f"{n % 70}:{n}")
        found = await cache.reach()
        assert found.origin == "learned"
        assert 0.1 < found.max_distance <= 0.3
        assert "at least .9" in found.explain()
        assert (await ask(cache, "3:new")).source is Source.SEMANTIC
        assert [scope for scope, _ in cache.reaches()] == [Scope()]


async def test_what_bypasses_is_of_no_scope_that_learns(opened: Open) -> None:
    async def generate(_prompt: str) -> str:
        return "a"

    async with opened(**LEARNING) as cache:
        for reads, writes, learning in ((False, False, 0), (False, True, 1)):
            async with cache.reply("1:a", whole(generate), read=reads, write=writes) as reply:
                await reply.answer()
            await until(lambda: cache.stats().judging == 0)
            assert len(cache.reaches()) == cache.stats().scopes == learning


async def test_where_hits_would_be_wrong_nothing_is_served(opened: Open) -> None:
    async with opened(spread=0.03, **LEARNING) as cache:
        for n in range(60):
            await ask(cache, f"{n}~{n // 6}:x{n}")
        found = await cache.reach()
        assert found.max_distance is None
        assert found.explain().startswith("nothing by meaning")
        answer = await ask(cache, "new~1:x")
        assert answer.source is Source.GENERATED
        assert cache.stats().judged_wrong


async def test_lookups_alone_bring_evidence(opened: Open) -> None:
    async with opened(spread=0.1, max_distance=0.2, verified=0.9, judge_rate=None) as cache:
        await cache.store("1:a", "about 1")
        assert await cache.lookup("1:b") is None
        await settled(cache)
        found = await cache.lookup("1:b")
        assert found is not None
        assert found.source is Source.SEMANTIC
        assert await cache.lookup("1:c") is None


async def test_an_entry_is_verified_by_its_own_verdicts(opened: Open) -> None:
    async with opened(spread=0.1, verified=0.6, judge_rate=None) as cache:
        await cache.store("1:a", "about 1")
        near = (await cache.nearest("1:b"))[0]
        assert near.refused_by == "unverified"
        for n in range(60):
            await cache.lookup(f"1:{n}")
            await settled(cache)
        hits = [await cache.lookup(f"1:new {n}") for n in range(40)]
        assert any(hits)


async def test_feedback_holds_at_once_and_for_every_process(opened: Open) -> None:
    name = uuid4().hex
    options = {"spread": 0.1, "name": name, "judged": None, "max_distance": 0.3}
    async with opened(**options) as one, opened(**options) as other:
        answer = await ask(one, "1:a")
        assert answer.entry_id is not None
        hit = await one.lookup("1:b")
        assert hit is not None
        assert hit.entry_id == answer.entry_id
        assert await one.feedback("1:b", answer.entry_id, right=False)
        assert await one.lookup("1:b") is None
        if other.redis_url is not None:
            assert await other.lookup("1:b") is None
            near = (await other.nearest("1:b"))[0]
            assert near.refused_by == "verdict"
        assert await one.feedback("1:b", answer.entry_id, right=True)
        assert (await one.lookup("1:b")) is not None
        stats = one.stats()
        assert (stats.feedback_right, stats.feedback_wrong) == (1, 1)


async def test_feedback_on_the_entrys_own_wording_deletes_it(opened: Open) -> None:
    async with opened(judged=None) as cache:
        answer = await ask(cache, "1:a")
        await cache.lookup("1:a")
        assert answer.entry_id is not None
        if cache.redis_url is None:
            await cache.lookup("1:b")
        assert await cache.feedback("1:a", answer.entry_id, right=True)
        assert await cache.lookup("1:a") is not None
        assert await cache.feedback("1:a", answer.entry_id, right=False)
        assert await cache.lookup("1:a") is None
        if cache.redis_url is not None:
            assert not await cache.feedback("1:a", answer.entry_id, right=False)
        assert not await cache.feedback("1:a", "0" * 32, right=False)


async def test_the_share_of_wrong_hits_is_measured(opened: Open) -> None:
    async with opened(spread=0.03, audit_share=1.0, judge_rate=None) as cache:
        for n in range(8):
            await ask(cache, f"{n}:a")
        for n in range(8):
            await ask(cache, f"{n if n < 6 else f'other~{n}'}:b")
        stats = cache.stats()
        assert (stats.audited, stats.audited_wrong) == (8, 2)
        share, low, high = stats.wrong_hits or (0.0, 0.0, 0.0)
        assert 0.0 < low < share == 0.25 < high < 1.0


async def test_a_promise_is_held_against_what_was_served(opened: Open) -> None:
    promised = {"target_precision": 0.9, "audit_share": 1.0, "judge_rate": None}
    options = {"spread": 0.01, "name": uuid4().hex, **promised}
    async with opened(**options) as cache, opened(**options) as other:
        for n in range(4):
            await ask(cache, f"{n}:a")
            await ask(cache, f"{n}:b")
        assert (await cache.reach()).audited == (4.0, 0.0)
        await asyncio.gather(*(cache.lookup(f"other~{n}:c") for n in range(4)))
        await settled(cache)
        found = await cache.reach()
        assert (found.audited.right, found.outcome) == (4.0, Outcome.BROKEN)
        assert cache.stats().audited_wrong == found.audited.wrong > 1.0
        stats = cache.stats()
        assert (stats.scopes, stats.scopes_broken, stats.scopes_proven) == (1, 1, 0)
        assert other.stats().scopes == 0
        if cache.redis_url is not None:
            assert (await other.reach()).audited == found.audited
            assert other.stats().scopes_broken == 1


async def test_shadow_mode_serves_nothing_and_measures(opened: Open) -> None:
    async with opened(spread=0.03, shadow=True, judge_rate=None) as cache:
        answers = [await ask(cache, prompt) for prompt in ("1:a", "1:b", "1:b", "other~1:c")]
        assert {answer.source for answer in answers} == {Source.GENERATED}
        held = [answer.shadow and answer.shadow.prompt for answer in answers]
        assert held[:3] == [None, "1:a", "1:b"]
        stats = cache.stats()
        assert (stats.llm_calls, stats.generated) == (4, 4)
        assert (stats.shadow_exact, stats.shadow_semantic) == (1, 2)
        assert (stats.audited, stats.audited_wrong) == (2, 1)
        assert await cache.lookup("1:a") is None


async def test_shadow_mode_shares_no_flights(opened: Open) -> None:
    async with opened(spread=0.03, shadow=True) as cache:
        answers = await asyncio.gather(*(cache.get_or_generate("1:a", generate) for _ in range(5)))
        assert {answer.source for answer in answers} == {Source.GENERATED}
        assert cache.stats().llm_calls == 5


async def test_without_a_judge_answers_are_compared(opened: Open) -> None:
    async with opened(judged=None, **LEARNING) as cache:
        for n in range(150):
            await ask(cache, f"{n % 70}:{n}")
        assert (await cache.reach()).origin == "learned"
        calls = cache.stats().llm_calls
        await ask(cache, "3:new")
        assert cache.stats().llm_calls > calls  # soon after a distance grew, hits are compared


async def test_evidence_survives_a_restart_and_is_shared(opened: Open) -> None:
    name = uuid4().hex
    async with opened(name=name, **LEARNING) as cache:
        if cache.redis_url is None:
            pytest.skip("a store in memory keeps no evidence")
        for n in range(150):
            await ask(cache, f"{n % 70}:{n}")
        found = await cache.reach()
        async with opened(name=name, **LEARNING) as other:
            assert (await other.reach()).max_distance == found.max_distance
    async with opened(name=name, **LEARNING) as again:
        assert (await again.reach()).max_distance == found.max_distance
        assert (await ask(again, "3:new")).source is Source.SEMANTIC


async def test_one_tenant_moves_nobody_else(opened: Open) -> None:
    flood, honest = Scope(tenant="flood"), Scope(tenant="honest")
    async with opened(**LEARNING) as cache:
        await ask(cache, "1:a", scope=honest)
        before = await cache.reach(scope=honest)
        for n in range(200):
            await ask(cache, f"{n % 70}:{n}", scope=flood)
        assert (await cache.reach(scope=flood)).origin == "learned"
        assert await cache.reach(scope=honest) == before


async def test_like_scopes_of_a_tenant_help_a_new_one(opened: Open) -> None:
    async with opened(**LEARNING) as cache:
        for n in range(200):
            await ask(cache, f"{n % 70}:{n}", scope=Scope(tenant="a", model="old"))
        new = await cache.reach(scope=Scope(tenant="a", model="new"))
        assert new.origin == "pooled"
        assert "estimate" in new.explain()


@pytest.mark.parametrize("score", [7.0, float("nan"), None])
async def test_a_judge_at_fault_never_makes_a_hit(opened: Open, score: Any) -> None:
    async def odd(_case: Case) -> Any:
        if score is None:
            raise RuntimeError("down")
        return score

    async with opened(spread=0.2, judged=odd, **LEARNING) as cache:
        for n in range(30):
            answer = await ask(cache, f"{n % 5}:{n}", in_own_words)
            assert answer.source is Source.GENERATED
        stats = cache.stats()
        assert stats.judge_errors > 0
        assert stats.judged == 0


async def test_a_judge_that_hangs_holds_up_nobody(opened: Open) -> None:
    hanging = asyncio.Event()

    async def hangs(_case: Case) -> float:
        await hanging.wait()
        return 1.0

    async with opened(spread=0.2, judged=hangs, **LEARNING) as cache:
        for n in range(500):
            await cache.get_or_generate(f"{n % 5}:{n}", in_own_words)
        stats = cache.stats()
        assert stats.requests == 500
        assert stats.judging < 300
        assert stats.judge_skips > 200


async def test_the_judge_has_a_budget(opened: Open) -> None:
    calls = 0

    async def counting(case: Case) -> float:
        nonlocal calls
        calls += 1
        return await judge(case)

    async with opened(judged=counting, target_precision=0.95, judge_rate=0.1) as cache:
        for n in range(100):
            await ask(cache, f"{n % 5}:{n}", in_own_words)
        assert calls == 6
        assert cache.stats().judge_skips > 50


async def test_streams_and_failures_bring_no_evidence_of_half_answers(opened: Open) -> None:
    async def breaks(prompt: str) -> AsyncIterator[str]:
        yield "half "
        raise RuntimeError("upstream")

    async with opened(**LEARNING) as cache:
        await ask(cache, "1:a")
        with pytest.raises(RuntimeError):
            [piece async for piece in cache.stream("1:b", breaks)]
        await settled(cache)
        assert cache.stats().judged == 0


async def test_a_static_cache_without_a_judge_learns_nothing(opened: Open) -> None:
    async with opened(judged=None) as cache:
        for n in range(10):
            await ask(cache, f"1:{n}")
        stats = cache.stats()
        assert (stats.judged, stats.judge_skips, stats.audited) == (0, 0, 0)
        assert await cache.reach() is None


async def test_options_that_make_no_sense() -> None:
    for options in (
        {"target_precision": 0.5},
        {"target_precision": 1.0},
        {"target_precision": 0.9, "verified": 0.9},
        {"verified": float("nan")},
        {"review_distance": 0.4},
        {"audit_share": 1.5},
        {"judge_rate": 0.0},
        {"shadow": 1},
    ):
        with pytest.raises(ConfigError):
            CacheConfig(**options)
    assert CacheConfig().max_distance == 0.12
    assert CacheConfig(target_precision=0.9).max_distance == 0.3
    assert CacheConfig(target_precision=0.9, max_distance=0.1).max_distance == 0.1


async def test_an_audit_runs_in_its_callers_context(opened: Open) -> None:
    whose: ContextVar[str] = ContextVar("whose", default="nobody")
    seen: list[tuple[str, str]] = []

    async def told(prompt: str) -> str:
        seen.append((whose.get(), prompt))
        return await in_own_words(prompt)

    async def as_caller(cache: SemanticCache, name: str) -> None:
        whose.set(name)
        for letter in "ab":
            await cache.get_or_generate(f"{name}:{letter}", told, scope=Scope(tenant=name))

    options = {"target_precision": 0.9, "judge_rate": None, "audit_share": 1.0}
    async with opened(spread=0.02, judged=None, **options) as cache:
        await asyncio.gather(*(as_caller(cache, name) for name in ("one", "two", "three")))
        await settled(cache)
    assert len(seen) == 6
    assert all(intent_of(prompt) == name for name, prompt in seen)


async def test_verified_decides_once_a_request(opened: Open) -> None:
    async with opened(spread=0.1, verified=0.55, judged=never_tells) as cache:
        entry_id = await cache.store("1:a", "about 1")
        await cache.lookup("1:b")  # without Redis an entry has to be seen before it is judged
        await settled(cache)
        for n in range(12):
            await cache.feedback(f"1:told {n}", entry_id, right=n % 4 != 0)
        for n in range(30):
            found = [await cache.lookup(f"1:new {n}") for _ in range(4)]
            assert len({one is None for one in found}) == 1


async def never_tells(_case: Case) -> None:
    return None


async def test_no_judge_overrules_people(opened: Open) -> None:
    async def yes(_case: Case) -> float:
        return 1.0

    options = {"max_distance": 0.3, "judge_rate": None, "audit_share": 1.0}
    async with opened(spread=0.1, judged=yes, **options) as cache:
        entry_id = (await ask(cache, "1:a", in_own_words)).entry_id
        assert entry_id is not None
        assert (await ask(cache, "1:b", in_own_words)).source is Source.SEMANTIC
        assert await cache.feedback("1:b", entry_id, right=False)
        for _ in range(3):
            await cache.lookup("1:b")
            await settled(cache)
        near = await cache.nearest("1:b", limit=100)
        assert {one.refused_by for one in near if one.entry.id == entry_id} == {"verdict"}


async def test_a_verdict_said_again_is_no_further_sample(opened: Open) -> None:
    async with opened(judged=None, **LEARNING) as cache:
        entry_id = (await ask(cache, "1:a")).entry_id
        await ask(cache, "1:b")
        assert entry_id is not None
        for _ in range(60):
            assert await cache.feedback("1:c", entry_id, right=True)
        found = await cache.reach()
        assert found.origin == "default"


async def test_what_is_no_scope_is_said_and_harms_nobody(opened: Open) -> None:
    async with opened(**LEARNING) as cache:
        for nonsense in ("tenant", None, 7):
            with pytest.raises(ConfigError):
                await cache.reach(nonsense)
            with pytest.raises(ConfigError):
                cache.serves_up_to(nonsense)
        entry_id = (await ask(cache, "1:a")).entry_id
        await ask(cache, "1:b")
        assert await cache.feedback("1:b", entry_id, right=True)


async def test_after_closing_nothing_is_asked(opened: Open) -> None:
    async with opened(**LEARNING) as cache:
        await ask(cache, "1:a")
    with pytest.raises(CacheClosedError):
        await cache.reach()
    with pytest.raises(CacheClosedError):
        await cache.feedback("1:a", "0" * 32, right=True)
    cache.serves_up_to()
    assert cache.stats().judging == 0


async def test_a_judge_that_cancels_itself_stops_nobody(opened: Open) -> None:
    async def cancels(_case: Case) -> float:
        raise asyncio.CancelledError

    async with opened(spread=0.2, judged=cancels, **LEARNING) as cache:
        for n in range(12):
            await ask(cache, f"{n % 2}:{n}", in_own_words)
        stats = cache.stats()
        assert stats.judge_errors > 5
        assert stats.judged == 0
