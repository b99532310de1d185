"""No answer that began to be made before its invalidation is ever kept, whatever comes between."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis.asyncio

from semcache_async.config import CacheConfig
from semcache_async.errors import StaleWriteError
from semcache_async.store.clock import ServerClock
from semcache_async.store.opening import redis_store
from semcache_async.store.redis_store import RedisStore
from semcache_async.types import EntryKey, Scope
from tests.store.helpers import SCOPE, Relay, found, open_store, record, relay, text_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]


class Pair(NamedTuple):
    """Two processes' stores on one Redis; ``slow`` speaks through ``between``."""

    slow: RedisStore
    other: RedisStore
    between: Relay


@pytest.fixture
async def pair(redis_url: str, name: str, tmp_path: Path) -> AsyncIterator[Pair]:
    async with (
        relay(redis_url, tmp_path) as (between, url),
        open_store(url, name, connections=2) as slow,
        open_store(redis_url, name) as other,
    ):
        yield Pair(slow, other, between)


ATTRIBUTED = Scope(tenant="a", attributes={"plan": "pro"})


@pytest.mark.parametrize(
    "conditions",
    [
        {"tags": ["price"]},
        {"scope": SCOPE},
        {"scope": ATTRIBUTED},
        {"tenant": "a"},
        {"scope": SCOPE, "tags": ["other", "price"]},
        {"tenant": "a", "tags": ["price"]},
        {"tenant": "a", "scope": SCOPE, "tags": ["price"]},
        {"entry_ids": "its own"},
        {"entry_ids": "its own", "tags": ["price"]},
    ],
    ids=str,
)
async def test_a_flight_of_another_process(pair: Pair, conditions: dict[str, Any]) -> None:
    slow, other, _ = pair
    flight = record(slow, "q", 0, ATTRIBUTED, tags=("price", "more"))
    if "entry_ids" in conditions:
        before = record(other, "q", 0, ATTRIBUTED, tags=("price",))
        conditions = {**conditions, "entry_ids": await other.put([before])}
    await other.remove(**conditions)
    innocent = record(slow, "r", 1, Scope(tenant="b"), tags=("else",))
    stale, fine = await slow.put([flight, innocent])
    assert isinstance(stale, StaleWriteError)
    assert isinstance(fine, str)
    assert await text_of(slow, "q", ATTRIBUTED) is None
    (kept,) = await slow.put([record(slow, "q", 0, ATTRIBUTED, tags=("price",))])
    assert isinstance(kept, str)


@pytest.mark.parametrize(
    "conditions",
    [
        {"tags": ["else"]},
        {"scope": Scope(tenant="a", locale="de")},
        {"tenant": "b"},
        {"scope": SCOPE, "tags": ["else"]},
        {"tenant": "a", "tags": ["else"]},
        {"tenant": "b", "tags": ["price"]},
        {"tenant": "b", "scope": SCOPE},
        {"entry_ids": ["0" * 32]},
        {"entry_ids": ["no id"]},
        {},
    ],
    ids=str,
)
async def test_what_does_not_concern_it(pair: Pair, conditions: dict[str, Any]) -> None:
    flight = record(pair.slow, "q", 0, tags=("price",))
    assert await pair.other.remove(**conditions) == 0
    (kept,) = await pair.slow.put([flight])
    assert isinstance(kept, str)


async def test_the_invalidation_comes_between_reading_and_writing(pair: Pair) -> None:
    """WATCH aborts the transaction; the second reading sees the fence."""
    flight = record(pair.slow, "q", 0, tags=("price",))
    innocent = record(pair.slow, "r", 90)
    pair.between.hold(b"EXEC")
    putting = asyncio.create_task(pair.slow.put([flight, innocent]))
    await pair.between.held.wait()
    assert await pair.other.remove(tags=["price"]) == 0
    pair.between.release()
    stale, kept = await putting
    assert isinstance(stale, StaleWriteError)
    assert isinstance(kept, str)
    assert await found(pair.other, 0) == ["r"]


async def test_fences_that_keep_moving_do_not_stop_what_is_newer(
    pair: Pair, redis_url: str, name: str
) -> None:
    """Aborted together, then each by itself; an old invalidation that arrives late refuses none."""
    records = [record(pair.slow, f"q {n}", n, tags=("price",)) for n in range(3)]
    async with open_store(redis_url, name, ahead=lambda: -1_000.0) as behind:
        pair.between.hold(b"EXEC")
        putting = asyncio.create_task(pair.slow.put(records))
        for _ in range(5):
            await pair.between.held.wait()
            await behind.remove(tags=["price"])
            pair.between.release()
            pair.between.hold(b"EXEC")
        await pair.between.held.wait()
        pair.between.release()
        assert all(isinstance(outcome, str) for outcome in await putting)
        assert await found(pair.other, 0) == ["q 0", "q 1", "q 2"]


async def test_a_write_of_unknown_outcome_lands_after_the_invalidation(pair: Pair) -> None:
    pair.between.hold(b"EXEC")
    putting = asyncio.create_task(pair.slow.put([record(pair.slow, "q", 0, tags=("price",))]))
    await pair.between.held.wait()
    putting.cancel()  # as a time limit does
    await asyncio.wait([putting])
    await pair.other.remove(tags=["price"])
    pair.between.release()
    await pair.between.delivered.wait()
    assert await found(pair.other, 0) == []
    assert await text_of(pair.other, "q") is None


async def test_a_write_that_ran_though_nobody_learnt_it_is_deleted(pair: Pair) -> None:
    pair.between.hold(b"EXEC")
    putting = asyncio.create_task(pair.slow.put([record(pair.slow, "q", 0, tags=("price",))]))
    await pair.between.held.wait()
    putting.cancel()
    await asyncio.wait([putting])
    pair.between.release()
    await pair.between.delivered.wait()
    assert await text_of(pair.other, "q") is not None
    assert await pair.other.remove(tags=["price"]) == 1


async def test_a_refresh_that_began_before_does_not_bring_it_back(pair: Pair) -> None:
    await pair.other.put([record(pair.other, "q", 0, tags=("price",))])
    refresh = record(pair.slow, "q", 0, tags=("price",), text="STALE")
    assert await pair.other.remove(tags=["price"]) == 1
    new = record(pair.other, "q", 0, tags=("price",), text="NEW")
    await pair.other.put([new])
    (outcome,) = await pair.slow.put([refresh])
    assert isinstance(outcome, StaleWriteError)
    assert await text_of(pair.slow, "q") == "NEW"


async def test_fences_hold_under_every_index(redis_url: str, name: str) -> None:
    async with (
        open_store(redis_url, name) as one,
        open_store(redis_url, name, vector_dtype="float16") as two,
    ):
        flight = record(two, "q", 0)
        await one.remove(tenant="a")
        (outcome,) = await two.put([flight])
        assert isinstance(outcome, StaleWriteError)


async def test_a_fence_is_never_lowered(pair: Pair, redis_url: str, name: str) -> None:
    """An invalidation by a process that was told an earlier time changes nothing."""
    async with open_store(redis_url, name, ahead=lambda: -1_000.0) as behind:
        flight = record(pair.slow, "q", 0)
        await pair.other.remove(tenant="a")
        await behind.remove(tenant="a")
        (outcome,) = await pair.slow.put([flight])
        assert isinstance(outcome, StaleWriteError)


async def test_fences_are_mortal_and_say_nothing(pair: Pair, redis_url: str, name: str) -> None:
    client = redis.asyncio.Redis.from_url(redis_url)
    began = await redis_time(client)
    await pair.other.remove(scope=Scope(tenant="TENANT"), tags=["TAG"])
    await pair.other.remove(tenant="TENANT")
    await pair.other.remove(tags=["TAG"], tenant="TENANT")
    await pair.other.remove(entry_ids=["a" * 32])
    keys = [key async for key in client.scan_iter(f"{name}:*")]
    assert len([key for key in keys if b":fence:log:" not in key]) == 4
    assert len(keys) > 4
    for key in keys:
        assert b":fence:" in key
        assert b"TENANT" not in key
        assert b"TAG" not in key
        assert await client.pexpiretime(key) >= int(began * 1_000) + 3_600_000
    await client.aclose()


async def test_what_began_before_anybody_remembers_is_stale(pair: Pair) -> None:
    old = record(pair.slow, "q", 0, started_at=pair.slow.now() - 3_700)
    (outcome,) = await pair.slow.put([old])
    assert isinstance(outcome, StaleWriteError)


async def test_a_moment_after_an_invalidation_answers_are_kept(pair: Pair) -> None:
    for _ in range(50):
        await pair.other.remove(tenant="a")
        (outcome,) = await pair.other.put([record(pair.other, "q", 0)])
        assert isinstance(outcome, str)


async def test_random_interleavings(redis_url: str, name: str) -> None:
    """Three stores; whatever the order, no answer outlives an invalidation that came after its
    beginning, and none is refused that began after the last one."""
    rng = random.Random(3)
    async with (
        open_store(redis_url, name) as one,
        open_store(redis_url, name) as two,
        open_store(redis_url, name, ahead=lambda: 0.0) as three,
    ):
        for run in range(200):
            await _interleave(run, rng, (one, two, three))


TAGS = ("red", "green", "blue")


async def _interleave(run: int, rng: random.Random, stores: tuple[RedisStore, ...]) -> None:
    events = itertools.count()
    began: dict[str, tuple[int, tuple[str, ...]]] = {}
    removals: list[tuple[int, dict[str, Any]]] = []

    async def pause() -> None:
        for _ in range(rng.randint(0, 12)):
            await asyncio.sleep(0)

    async def fly(n: int) -> None:
        store, tags = rng.choice(stores), tuple(rng.sample(TAGS, 2))
        scope = Scope(tenant=f"{run}{rng.choice('ab')}")
        await pause()
        began[str(n)] = (next(events), tags)
        flight = record(store, "q", n, scope, tags=tags, text=str(n))
        await pause()
        await store.put([flight])

    async def purge() -> None:
        store, tenant, tag = rng.choice(stores), f"{run}{rng.choice('ab')}", rng.choice(TAGS)
        conditions: list[dict[str, Any]] = [
            {"tenant": tenant},
            {"scope": Scope(tenant=tenant)},
            {"tags": [tag]},
            {"tenant": tenant, "tags": [tag]},
            {"scope": Scope(tenant=tenant), "tags": [tag]},
        ]
        chosen = rng.choice(conditions)
        await pause()
        removals.append((next(events), chosen))
        await store.remove(**chosen)

    await asyncio.gather(*[fly(n) for n in range(6)], *[purge() for _ in range(3)])
    for letter in "ab":
        scope = Scope(tenant=f"{run}{letter}")
        text = await text_of(stores[0], "q", scope)
        if text is not None:
            at, tags = began[text]
            for when, conditions in removals:
                concerned = (
                    conditions.get("tenant", scope.tenant) == scope.tenant
                    and conditions.get("scope", scope) == scope
                    and not set(conditions.get("tags", tags)).isdisjoint(tags)
                )
                assert when < at or not concerned, (run, text, conditions)
        (kept,) = await stores[0].put([record(stores[0], "q", 0, scope, tags=TAGS)])
        assert isinstance(kept, str)


# -- Redis's clock


async def test_hosts_whose_clocks_are_hours_apart_agree(redis_url: str, name: str) -> None:
    """No host's wall clock plays a part; its monotonic one may read anything."""
    config = CacheConfig(name=name, store_timeout_s=10.0)
    clocks = [ServerClock(monotonic=lambda by=by: by) for by in (0.0, 7_200.0)]  # type: ignore[misc]
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        before = await redis_time(client)
        async with (
            redis_store(redis_url, dim=8, fingerprint="f", config=config, clock=clocks[0]) as one,
            redis_store(redis_url, dim=8, fingerprint="f", config=config, clock=clocks[1]) as two,
        ):
            await one.put([record(one, "q", 0, exact_ttl_s=3_600.0)])
            (entry,) = await two.fetch([EntryKey(SCOPE, "q")])
            assert entry is not None
            assert not isinstance(entry, Exception)
            after = await redis_time(client)
            assert before <= entry.created_at <= after
            assert before <= two.now() <= after
            flight = record(one, "q", 0)
            await two.remove(tenant="a")
            (outcome,) = await one.put([flight])
            assert isinstance(outcome, StaleWriteError)


async def redis_time(client: redis.asyncio.Redis) -> float:
    seconds, micros = await client.time()
    return float(seconds + micros / 1e6)
