"""What one tenant may use: never at the cost of an answer, and never at another tenant's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from semcache_async import CacheConfig, SemanticCache
from semcache_async.errors import (
    ConfigError,
    OverloadedError,
    QuotaError,
    StoreError,
    StoreUnavailableError,
)
from semcache_async.flow.quotas import Quotas, TokenBucket
from semcache_async.testing import AngleEmbedder, MemoryStore
from semcache_async.types import Case, Entry, EntryKey, Record, Scope, Source
from tests.helpers import GatedLLM, check_sums, until
from tests.store.helpers import open_store, record

pytestmark = pytest.mark.anyio

A, B = Scope(tenant="a"), Scope(tenant="b")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Counted:
    """Counts a tenant's entries, and how often it was asked."""

    def __init__(self, entries: int = 0) -> None:
        self.entries = entries
        self.asked = 0

    async def __call__(self, _tenant: str) -> int:
        self.asked += 1
        return self.entries


class Gated(Counted):
    """Counts once its gate is open."""

    def __init__(self, entries: int) -> None:
        super().__init__(entries)
        self.gate = asyncio.Event()

    async def __call__(self, tenant: str) -> int:
        counted = await super().__call__(tenant)
        await self.gate.wait()
        return counted


def quotas(clock: Clock, **options: Any) -> Quotas:
    return Quotas(CacheConfig(**options), clock)


async def may_write(one: Quotas, tenant: str, count: Counted) -> bool:
    try:
        await one.write(tenant, count)
    except QuotaError:
        return False
    return True


async def answered(prompt: str) -> str:
    return f"answer to {prompt}"


# -- the counts


async def test_writes_by_the_second() -> None:
    clock = Clock()
    one, count = quotas(clock, tenant_writes=2.0), Counted()
    assert [await may_write(one, "a", count) for _ in range(4)] == [True, True, False, False]
    assert await may_write(one, "b", count)
    clock.now += 0.5
    assert [await may_write(one, "a", count) for _ in range(2)] == [True, False]
    clock.now += 100.0
    assert [await may_write(one, "a", count) for _ in range(3)] == [True, True, False]
    assert count.asked == 0


async def test_less_than_one_a_second() -> None:
    clock = Clock()
    one, count = quotas(clock, tenant_writes=0.1), Counted()
    assert [await may_write(one, "a", count) for _ in range(2)] == [True, False]
    clock.now += 10.0
    assert await may_write(one, "a", count)


async def test_entries_are_counted_now_and_then_and_in_between() -> None:
    clock = Clock()
    one, count = quotas(clock, tenant_entries=3), Counted(1)
    assert [await may_write(one, "a", count) for _ in range(4)] == [True, True, False, False]
    assert count.asked == 1
    clock.now += 5.0
    assert await may_write(one, "a", count)
    assert count.asked == 2
    assert await may_write(one, "b", Counted(0))


async def test_many_at_once_count_once_and_together() -> None:
    one, count = quotas(Clock(), tenant_entries=3), Gated(1)
    writes = [asyncio.create_task(may_write(one, "a", count)) for _ in range(50)]
    await until(lambda: count.asked > 0)
    writes[0].cancel()
    count.gate.set()
    done = await asyncio.gather(*writes, return_exceptions=True)
    assert done.count(True) == 2
    assert count.asked == 1


async def test_a_count_that_fails_is_made_again() -> None:
    one, count = quotas(Clock(), tenant_entries=3), Counted(1)

    async def failing(_tenant: str) -> int:
        raise StoreError("odd")

    for _ in range(2):
        with pytest.raises(StoreError, match="odd"):
            await one.write("a", failing)
    assert await may_write(one, "a", count)


def test_flights_are_given_back_whatever_happens() -> None:
    one = quotas(Clock(), tenant_flights=1)
    with (
        one.flight("a"),
        one.flight("b"),
        pytest.raises(OverloadedError, match="tenant_flights"),
        one.flight("a"),
    ):
        pass
    with pytest.raises(ValueError, match="odd"), one.flight("a"):
        raise ValueError("odd")
    with one.flight("a"):
        pass


def test_without_quotas_nothing_is_counted() -> None:
    one = quotas(Clock())
    for _ in range(1_000):
        with one.flight("a"), one.flight("a"):
            assert one.verdict("a")


def test_a_bucket_of_so_many_seconds() -> None:
    clock = Clock()
    bucket = TokenBucket(5.0, clock, burst_s=1.0)
    assert [bucket.take() for _ in range(6)] == [True] * 5 + [False]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *((name, value) for name in ("tenant_entries", "tenant_flights") for value in (0, 1.5)),
        *((name, value) for name in ("tenant_writes", "tenant_verdicts") for value in (0, "x")),
        ("tenant_entries", True),
    ],
)
def test_what_is_no_quota(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=option):
        CacheConfig(**{option: value})


# -- in a cache


async def test_over_the_quota_answers_are_delivered_and_not_stored() -> None:
    config = CacheConfig(tenant_entries=2)
    store = MemoryStore()
    async with SemanticCache.open(config=config, embedder=AngleEmbedder(), store=store) as cache:
        for degrees in (0, 90, 180):
            answer = await cache.get_or_generate(f"q at {degrees}", answered, scope=A)
            assert answer.text == f"answer to q at {degrees}"
            assert (answer.entry_id is None) is (degrees == 180)
        other = await cache.get_or_generate("q at 180", answered, scope=B)
        assert other.entry_id is not None
        hit = await cache.get_or_generate("q at 0", answered, scope=A)
        assert hit.source is Source.EXACT
        with pytest.raises(QuotaError, match="tenant_entries"):
            await cache.store("q at 270", "answer", scope=A)
        stats = check_sums(cache)
        assert (stats.not_stored_quota, stats.not_stored, stats.store_errors) == (1, 1, 0)


async def test_flights_over_the_quota_are_turned_away(no_leftovers: None) -> None:
    config = CacheConfig(tenant_flights=1)
    store, llm = MemoryStore(), GatedLLM()
    async with SemanticCache.open(config=config, embedder=AngleEmbedder(), store=store) as cache:
        first = asyncio.create_task(cache.get_or_generate("q at 0", llm, scope=A))
        await until(lambda: len(llm.prompts) == 1)
        with pytest.raises(OverloadedError, match="tenant_flights"):
            await cache.get_or_generate("q at 90", llm, scope=A)
        same = asyncio.create_task(cache.get_or_generate("q at 0", llm, scope=A))
        other = asyncio.create_task(cache.get_or_generate("q at 90", llm, scope=B))
        await until(lambda: len(llm.prompts) == 2)
        llm.gate.set()
        answers = await asyncio.gather(first, same, other)
        assert [one.source for one in answers] == [
            *(Source.GENERATED, Source.SHARED, Source.GENERATED)
        ]
        assert (await cache.get_or_generate("q at 90", llm, scope=A)).source is Source.GENERATED
        assert check_sums(cache).shed == 1


async def test_verdicts_over_the_quota_are_not_asked_for() -> None:
    asked: list[Case] = []

    async def judge(case: Case) -> float:
        asked.append(case)
        return 1.0

    config = CacheConfig(tenant_verdicts=0.02, target_precision=0.9)
    store = MemoryStore()
    async with SemanticCache.open(
        config=config, embedder=AngleEmbedder(), store=store, judge=judge
    ) as cache:
        for scope in (A, B):
            for degrees in (0, 35, 70, 105):
                await cache.get_or_generate(f"q at {degrees}", answered, scope=scope)
        await until(lambda: cache.stats().judging == 0)
        assert [case.scope.tenant for case in asked] == ["a", "b"]
        assert cache.stats().judge_skips == 4


async def test_redis_counts_a_tenant(redis_url: str, name: str) -> None:
    async with open_store(redis_url, name) as store:
        records = [record(store, f"q{n}", n, A) for n in range(3)]
        await store.put([*records, record(store, "q", None, Scope(tenant="a", model="m"))])
        await store.put([record(store, "q", 0, B)])
        assert (await store.count("a"), await store.count("b"), await store.count("c")) == (4, 1, 0)
    config = CacheConfig(name=name, tenant_entries=1)
    async with SemanticCache.open(redis_url, config=config, embedder=AngleEmbedder()) as cache:
        await cache.store("q at 0", "answer", scope=A)
        with pytest.raises(QuotaError):
            await cache.store("q at 90", "answer", scope=A)


async def test_a_store_that_cannot_count() -> None:
    class Plain:
        connections = 0
        now = fetch = search = put = remove = None

    with pytest.raises(ConfigError, match="count"):
        async with SemanticCache.open(
            config=CacheConfig(tenant_entries=1),
            embedder=AngleEmbedder(),
            store=Plain(),  # type: ignore[arg-type]
        ):
            pass


async def test_a_count_that_fails_stores_nothing() -> None:
    class Uncountable(MemoryStore):
        async def count(self, tenant: str) -> int:
            raise StoreError("no")

    config, store = CacheConfig(tenant_entries=5), Uncountable()
    async with SemanticCache.open(config=config, embedder=AngleEmbedder(), store=store) as cache:
        answer = await cache.get_or_generate("q at 0", answered)
        assert (answer.text, answer.entry_id) == ("answer to q at 0", None)
        assert cache.stats().not_stored_store == 1


async def test_what_was_removed_makes_room_at_once() -> None:
    config, store = CacheConfig(tenant_entries=1), MemoryStore()
    async with SemanticCache.open(config=config, embedder=AngleEmbedder(), store=store) as cache:
        await cache.store("at 10", "text", scope=A)
        with pytest.raises(QuotaError):
            await cache.store("at 50", "text", scope=A)
        assert await cache.invalidate(scope=A) == 1
        await cache.store("at 50", "text", scope=A)


async def test_a_store_out_of_reach_is_not_asked_for_its_count() -> None:
    class Gone(MemoryStore):
        counted = 0

        async def put(self, records: Sequence[Record]) -> list[str | Exception]:
            raise StoreUnavailableError("gone")

        async def fetch(self, keys: Sequence[EntryKey]) -> list[Entry | Exception | None]:
            raise StoreUnavailableError("gone")

        async def count(self, tenant: str) -> int:
            self.counted += 1
            return await super().count(tenant)

    config, store = CacheConfig(tenant_entries=2), Gone()
    async with SemanticCache.open(config=config, embedder=AngleEmbedder(), store=store) as cache:
        for n in range(3):
            await cache.get_or_generate(f"at {n}0", answered, scope=A)
        assert store.counted == 0
        assert cache.stats().not_stored_store == 3
        with pytest.raises(StoreUnavailableError):
            await cache.store("at 10", "text", scope=A)
        assert store.counted == 0
