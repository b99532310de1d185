"""Versions, renewals and remembered errors where two things happen at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis.asyncio

from semcache_async import CacheConfig, Produced, Source, TTLRule
from semcache_async.errors import CacheClosedError, ConfigError, StoreError
from semcache_async.store.keys import KeySpace
from semcache_async.types import Entry, Scope
from tests.fresh.test_stale import SCOPE, Clock, Numbered, caches, landed
from tests.fresh.test_versions import PRODUCTS, Slow, versions_of
from tests.helpers import check_sums, until
from tests.store.servers import until_equal

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> Clock:
    return Clock()


def deafen(*deaf: Any) -> None:
    """Let caches hear nothing of new versions."""
    for cache in deaf:
        cache._tiers._versions._tasks[1].cancel()


# -- versions


async def test_nobody_boards_what_was_begun_before_its_scope_was_invalidated(
    redis_url: str, name: str, clock: Clock
) -> None:
    llm = Numbered()
    async with caches(redis_url, name, clock, share_flights=False) as (cache,):
        one = asyncio.create_task(cache.get_or_generate("at 0", llm, scope=PRODUCTS))
        await until(lambda: len(llm.prompts) == 1)
        await cache.invalidate(scope=PRODUCTS)
        two = asyncio.create_task(cache.get_or_generate("at 0", llm, scope=PRODUCTS))
        await until(lambda: cache.stats().waiting == 2)
        llm.gate.set()
        assert (await two).text != (await one).text


async def test_neither_a_late_reading_nor_a_report_undoes_a_bump() -> None:
    now, store = 100.0, Slow(gated=True)
    reports: list[Callable[[], None]] = []

    async def watch(changed: Callable[[], None]) -> None:
        reports.append(changed)
        await asyncio.Event().wait()

    store.watch_versions = watch  # type: ignore[method-assign]
    async with versions_of(store, lambda: now) as versions:
        reading = asyncio.create_task(versions.pin(PRODUCTS))
        await until(lambda: len(store.readings) == 1 and bool(reports))
        now = 100.1
        assert await versions.bump("products") == 2
        reports[0]()
        store.readings[0].set()
        await reading
        store.gated = False
        assert (await versions.pin(PRODUCTS)).epoch == 2


async def test_the_lease_of_an_own_bump_is_counted_from_its_sending() -> None:
    now, store, gate = 100.0, Slow(), asyncio.Event()

    async def bump(namespace: str) -> int:
        store.epoch += 1
        epoch = store.epoch
        await gate.wait()
        return epoch

    store.bump = bump  # type: ignore[method-assign]
    async with versions_of(store, lambda: now) as versions:
        bumping = asyncio.create_task(versions.bump("products"))
        await until(lambda: store.epoch == 2)
        store.epoch = 3  # by another process
        now = 110.0
        gate.set()
        assert await bumping == 2
        assert (await versions.pin(PRODUCTS)).epoch == 3


async def test_own_bumps_may_end_in_any_order() -> None:
    now, store = 100.0, Slow()
    gates = {2: asyncio.Event(), 3: asyncio.Event()}

    async def bump(namespace: str) -> int:
        store.epoch += 1
        epoch = store.epoch
        await gates[epoch].wait()
        return epoch

    store.bump = bump  # type: ignore[method-assign]
    async with versions_of(store, lambda: now) as versions:
        bumps = [asyncio.create_task(versions.bump("products")) for _ in range(2)]
        await until(lambda: store.epoch == 3)
        gates[3].set()
        await bumps[1]
        gates[2].set()
        await bumps[0]
        assert (await versions.pin(PRODUCTS)).epoch == 3


async def test_who_stores_or_invalidates_goes_by_the_version_of_now(
    redis_url: str, name: str, clock: Clock
) -> None:
    """Within the lease, too: what is stored after a bump is found, and what is to go is gone."""
    async with caches(redis_url, name, clock, 2, version_lease_s=60.0) as (one, two):
        await one.store("at 0", "old", scope=PRODUCTS)
        deafen(one)
        await two.bump_version("products")
        await one.store("at 0", "new", scope=PRODUCTS)
        found = await two.lookup("at 0", scope=PRODUCTS)
        assert found is not None
        assert found.text == "new"
        await two.bump_version("products")
        await two.store("at 0", "newer", scope=PRODUCTS)
        assert (await one.would_invalidate(scope=PRODUCTS)).count == 1
        assert await one.invalidate(scope=PRODUCTS) == 1
        assert (one.stats().invalidated, two.stats().bumped, one.stats().bumped) == (1, 2, 0)
        assert await two.lookup("at 0", scope=PRODUCTS) is None


async def test_flights_of_a_version_that_nobody_knows_stay_within_their_process(
    redis_url: str, name: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = Numbered()
    async with caches(redis_url, name, clock, 2) as both:

        async def versions(_namespaces: object) -> Any:
            raise StoreError("no")

        for cache in both:
            monkeypatch.setattr(cache._tiers._versions._store, "versions", versions)
        asked = [
            asyncio.create_task(cache.get_or_generate("at 0", llm, scope=PRODUCTS))
            for cache in both
        ]
        await until(lambda: len(llm.prompts) == 2)
        llm.gate.set()
        answers = await asyncio.gather(*asked)
        assert {answer.source for answer in answers} == {Source.GENERATED}


async def test_a_bump_that_the_store_has_lost_is_made_again(
    redis_url: str, name: str, clock: Clock
) -> None:
    """As where a replica is promoted that had not heard of it."""
    async with caches(redis_url, name, clock, 2, version_lease_s=0.05) as (one, two):
        await one.store("at 0", "old", scope=PRODUCTS)
        key = KeySpace(name, "", "").version("products")
        async with redis.asyncio.from_url(redis_url) as client:
            before = await client.zscore(key, "at") or 0.0
            after = await one.bump_version("products")
            assert before < after
            await client.zadd(key, {"at": before})
            await until_equal(lambda: _is_over(client, key, after), True)
        for cache in (one, two):
            assert await cache.lookup("at 0", scope=PRODUCTS) is None


async def _is_over(client: redis.asyncio.Redis, key: str, version: int) -> bool:
    return (await client.zscore(key, "at") or 0.0) > version


async def test_a_closed_cache_reads_no_versions(
    redis_url: str, name: str, clock: Clock, no_leftovers: None
) -> None:
    async with caches(redis_url, name, clock) as (cache,):
        pass
    with pytest.raises(CacheClosedError):
        await cache.lookup("at 0", scope=PRODUCTS)


# -- renewals


async def test_the_wording_that_is_stale_gets_what_another_was_renewed_to(
    redis_url: str, name: str, clock: Clock
) -> None:
    llm = Numbered(opened=True)
    async with caches(redis_url, name, clock) as (cache,):
        await cache.get_or_generate("at 0", llm, scope=SCOPE)
        clock.passed = 120.0
        await cache.get_or_generate("at 2", llm, scope=SCOPE)
        await landed(cache)
        assert (await cache.get_or_generate("at 0", llm, scope=SCOPE)).stale
        await landed(cache)
        fresh = await cache.get_or_generate("at 0", llm, scope=SCOPE)
        assert (fresh.text, fresh.stale) == ("answer 2", False)
        assert not cache._answering._renewing
        assert len(llm.prompts) == 2
        check_sums(cache)


async def test_a_renewal_that_brings_nothing_to_keep_rests_too(
    redis_url: str, name: str, clock: Clock
) -> None:
    calls = 0

    async def produce(prompt: str, _emit: object) -> Produced:
        nonlocal calls
        calls += 1
        return Produced(f"answer {calls}", keep=calls == 1)

    async with caches(redis_url, name, clock) as (cache,):

        async def ask() -> str:
            async with cache.reply("at 0", produce, emits=str, scope=SCOPE) as reply:
                return (await reply.answer()).text

        await ask()
        clock.passed = 120.0
        for _ in range(3):
            assert await ask() == "answer 1"
            await landed(cache)
        assert calls == 2


@pytest.mark.parametrize("error", [RuntimeError("no"), asyncio.CancelledError()])
async def test_what_could_not_be_renewed_rests_whatever_it_is_asked_by(
    redis_url: str, name: str, clock: Clock, error: BaseException
) -> None:
    llm = Numbered(opened=True)
    async with caches(redis_url, name, clock) as (cache,):
        await cache.get_or_generate("at 0", llm, scope=SCOPE)
        clock.passed = 120.0
        llm.error = error
        for n in range(4):
            assert (await cache.get_or_generate(f"at {n}", llm, scope=SCOPE)).stale
            await landed(cache)
        assert len(llm.prompts) == 2


async def test_a_renewal_within_an_llm_call_needs_a_turn_of_its_own(
    redis_url: str, name: str, clock: Clock
) -> None:
    llm = Numbered(opened=True)
    async with caches(redis_url, name, clock, max_llm_calls=1) as (cache,):
        await cache.get_or_generate("at 0", llm, scope=SCOPE)
        clock.passed = 120.0

        async def outer(prompt: str) -> str:
            inner = await cache.get_or_generate("at 0", llm, scope=SCOPE)
            await until(lambda: not cache._answering._renewing)
            return inner.text

        answer = await cache.get_or_generate("at 90", outer, scope=SCOPE)
        assert (answer.text, len(llm.prompts)) == ("answer 1", 1)
        assert (await cache.get_or_generate("at 0", llm, scope=SCOPE)).stale
        await landed(cache)
        assert len(llm.prompts) == 2


async def test_renewals_leave_half_of_the_turns_to_callers(
    redis_url: str, name: str, clock: Clock
) -> None:
    llm, prompts = Numbered(opened=True), [f"at {n}" for n in range(0, 180, 30)]
    async with caches(redis_url, name, clock, max_llm_calls=4) as (cache,):
        for prompt in prompts:
            await cache.get_or_generate(prompt, llm, scope=SCOPE)
        clock.passed, llm.prompts = 120.0, []
        llm.gate.clear()
        for prompt in prompts:
            assert (await cache.get_or_generate(prompt, llm, scope=SCOPE)).stale
        await until(lambda: len(cache._answering) == len(cache._answering._renewing) == 2)
        assert cache.stats().llm_waiting == 0
        asked = asyncio.create_task(cache.get_or_generate("at 200", llm, scope=SCOPE))
        await until(lambda: "at 200" in llm.prompts)
        assert len(llm.prompts) == 3
        llm.gate.set()
        await asked
        await landed(cache)
        check_sums(cache)


async def test_evidence_learns_nothing_from_what_is_stale(
    redis_url: str, name: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It differs from a fresh answer because the world has changed."""
    llm, judged = Numbered(opened=True), []
    options: dict[str, Any] = {"audit_share": 1.0, "target_precision": 0.9}
    async with caches(redis_url, name, clock, **options) as (cache,):
        monkeypatch.setattr(cache._learner, "_put", lambda *case: judged.append(case))
        await cache.get_or_generate("at 0", llm, scope=SCOPE)
        await cache.get_or_generate("at 1", llm, scope=SCOPE)
        await cache.get_or_generate("at 50", llm, scope=SCOPE)
        fresh, judged[:] = len(judged), []
        assert fresh, "of what is fresh it does"
        clock.passed = 120.0
        for prompt in ("at 1", "at 30"):
            await cache.get_or_generate(prompt, llm, scope=SCOPE)
            await landed(cache)
        assert not judged


async def test_closing_ends_renewals(
    redis_url: str, name: str, clock: Clock, no_leftovers: None
) -> None:
    llm, prompts = Numbered(opened=True), [f"at {n}" for n in range(0, 300, 30)]
    async with caches(redis_url, name, clock) as (cache,):
        for prompt in prompts:
            await cache.get_or_generate(prompt, llm, scope=SCOPE)
        clock.passed = 120.0
        llm.gate.clear()
        for prompt in prompts:
            await cache.get_or_generate(prompt, llm, scope=SCOPE)


async def test_a_right_verdict_goes_before_a_pointer(
    redis_url: str, name: str, clock: Clock
) -> None:
    llm = Numbered(opened=True)
    async with caches(redis_url, name, clock) as (cache,):
        await cache.get_or_generate("at 0", llm, scope=SCOPE)
        await cache.get_or_generate("at 2", llm, scope=SCOPE)
        right = await cache.store("at 2.5", "right", scope=SCOPE)
        assert await cache.feedback("at 2", right, right=True)
        found = await cache.lookup("at 2", scope=SCOPE)
        assert found is not None
        assert found.text == "right"


async def test_every_way_to_look_says_what_is_stale(
    redis_url: str, name: str, clock: Clock
) -> None:
    llm = Numbered(opened=True)
    async with caches(redis_url, name, clock) as (cache,):
        await cache.get_or_generate("at 0", llm, scope=SCOPE)
        for passed, stale in ((90.0, False), (110.0, True)):
            clock.passed = passed
            looked = [
                await cache.lookup("at 0", scope=SCOPE),
                await cache.lookup("at 1", scope=SCOPE),
                await cache.lookup_exact("at 0", scope=SCOPE),
                *await cache.lookup_many(["at 0"], scope=SCOPE),
            ]
            assert [one.stale for one in looked if one is not None] == [stale] * 4
        assert cache.stats().stale == 4


@pytest.mark.parametrize(("for_s", "text"), [(60.0, "answer 1"), (0.0, "nearer")])
async def test_what_has_come_nearer_is_found_a_while_later(
    redis_url: str,
    name: str,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    for_s: float,
    text: str,
) -> None:
    monkeypatch.setattr("semcache_async.request.tiers._POINTED_S", for_s)
    llm = Numbered(opened=True)
    async with caches(redis_url, name, clock) as (cache,):
        await cache.get_or_generate("at 0", llm, scope=SCOPE)
        await cache.get_or_generate("at 2", llm, scope=SCOPE)
        await cache.store("at 2.5", "nearer", scope=SCOPE)
        found = await cache.lookup("at 2", scope=SCOPE)
        assert found is not None
        assert found.text == text


# -- times


def test_one_tier_slides_though_the_other_is_at_its_cap() -> None:
    entry = Entry("i", "p", "t", 0.0, 100.0, semantic_until=1_001.0, slid_at=1.0)
    slid = entry.slid(50.0, 1_000.0)
    assert slid is not None
    assert (slid.exact_until, slid.semantic_until) == (149.0, 1_001.0)
    assert slid.slid(1_100.0, 1_000.0) is not None
    over = Entry("i", "p", "t", 0.0, 1_001.0, semantic_until=1_001.0, slid_at=1.0)
    assert over.slid(500.0, 1_000.0) is None


@pytest.mark.parametrize(
    "options",
    [
        {"stale_ttl_s": 40.0},
        {"ttl_rules": (TTLRule(tags=("t",), ttl_s=1.0, stale_ttl_s=50.0),)},
    ],
)
def test_nothing_is_stale_from_the_start(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="stale"):
        CacheConfig(max_ttl_s=40.0, **options)


# -- errors


class OddError(Exception):
    """Cannot be copied."""

    def __init__(self, *, word: str) -> None:
        super().__init__(word)

    def __new__(cls, *args: object, word: str) -> OddError:
        return super().__new__(cls)


@pytest.mark.parametrize("error", [ValueError("no"), OddError(word="no")])
async def test_a_remembered_error_does_not_grow(
    redis_url: str, name: str, clock: Clock, error: Exception
) -> None:
    llm = Numbered(opened=True)
    llm.error = error
    async with caches(redis_url, name, clock, error_ttl_s=30.0) as (cache,):
        frames = []
        for _ in range(6):
            with pytest.raises(type(error)) as raised:
                await cache.get_or_generate("at 0", llm, scope=SCOPE)
            frames.append(len(raised.traceback))
        assert frames[1] == frames[-1]
        stats = check_sums(cache)
        assert (stats.failed, stats.spared_errors, stats.llm_calls) == (6, 5, 1)


def test_a_version_is_a_namespaces() -> None:
    with pytest.raises(ConfigError, match="namespace"):
        Scope(tenant="a", epoch=5)
