"""A full Redis drops what is used least; what it drops is a miss, and never an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from semcache_async.errors import StaleWriteError
from semcache_async.store.embedded import embedded_redis
from semcache_async.store.redis_store import RedisStore
from semcache_async.types import EntryKey, VectorQuery
from tests.store.helpers import SCOPE, open_store, record, unit

pytestmark = pytest.mark.anyio

TEXT = "x" * 2_000


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A Redis of this test's own, to be filled."""
    async with embedded_redis() as url:
        yield url


async def uses(client: redis.asyncio.Redis, store: RedisStore, ids: list[str]) -> list[int]:
    """Redis's own count, which grows with the logarithm of the uses."""
    keys = [f"{store._keys.prefix}{id_}" for id_ in ids]
    return [await client.object("freq", key) for key in keys]


async def test_an_entry_that_serves_by_meaning_alone_is_used(url: str, name: str) -> None:
    async with open_store(url, name) as store, redis.asyncio.from_url(url) as client:
        puts = [record(store, str(angle), angle) for angle in (0, 90)]
        ids = [str(id_) for id_ in await store.put(puts)]
        before = await uses(client, store, ids)
        for _ in range(300):
            await store.search([VectorQuery(SCOPE, unit(1), 2)])
        near, far = await uses(client, store, ids)
    assert near > before[0] + 3
    assert far == before[1]  # found, but not within reach


async def test_what_serves_stays_and_what_never_does_goes(url: str, name: str) -> None:
    async with open_store(url, name) as store, redis.asyncio.from_url(url) as client:
        hot = [record(store, f"hot {n}", float(n), text=TEXT) for n in range(0, 90, 10)]
        await store.put(hot)
        for _ in range(300):
            await store.fetch([one.key for one in hot[:4]])
            await store.search([VectorQuery(SCOPE, unit(n), 1) for n in range(40, 90, 10)])
        await fill(store, client)
        left = await store.fetch([one.key for one in hot])
        cold = await store.fetch([EntryKey(SCOPE, f"cold {n}") for n in range(2_000)])
    assert all(left)
    assert not all(cold)
    assert not any(isinstance(one, Exception) for one in (*left, *cold))


async def test_lookups_while_entries_are_evicted_miss_and_never_fail(url: str, name: str) -> None:
    async with open_store(url, name) as store, redis.asyncio.from_url(url) as client:
        done = asyncio.Event()

        async def look() -> int:
            misses = 0
            while not done.is_set():
                keys = [EntryKey(SCOPE, f"cold {n}") for n in range(0, 2_000, 100)]
                queries = [VectorQuery(SCOPE, unit(n), 3) for n in range(0, 90, 5)]
                outcomes = [*await store.fetch(keys), *await store.search(queries)]
                assert not any(isinstance(one, Exception) for one in outcomes), outcomes
                misses += outcomes.count(None)
            return misses

        looking = asyncio.create_task(look())
        await fill(store, client)
        done.set()
        assert await looking > 0
        info = await client.info("stats")
    assert info["evicted_keys"] > 500


async def fill(store: RedisStore, client: redis.asyncio.Redis) -> None:
    """Put 2,000 entries where there is room for some hundreds."""
    used = (await client.info("memory"))["used_memory"]
    await client.config_set("maxmemory", used + 2 * 2**20)
    for start in range(0, 2_000, 50):
        puts = [record(store, f"cold {n}", n / 20, text=TEXT) for n in range(start, start + 50)]
        for outcome in await store.put(puts):
            assert isinstance(outcome, str), outcome


async def test_a_fence_holds_though_redis_has_evicted_it(url: str, name: str) -> None:
    async with open_store(url, name) as store, redis.asyncio.from_url(url) as client:
        tags = [f"tag {n}" for n in range(50)]
        late = [record(store, f"late {tag}", None, tags=(tag,)) for tag in tags]
        await store.remove(tags=tags)
        await fill(store, client)
        fences = [key async for key in client.scan_iter(f"{name}:*:fence:g-*", count=1_000)]
        assert len(fences) < len(tags)
        assert all(isinstance(outcome, StaleWriteError) for outcome in await store.put(late))
        now = [record(store, f"new {tag}", None, tags=(tag,)) for tag in tags]
        assert all(isinstance(outcome, str) for outcome in await store.put(now))


async def test_an_evicted_fence_holds_for_who_has_other_time_limits(
    redis_url: str, client: redis.asyncio.Redis, name: str
) -> None:
    async with (
        open_store(redis_url, name, generate_timeout_s=3_000.0) as store,
        open_store(redis_url, name) as other,
    ):
        late = record(store, "q", 0, tags=("t",))
        await other.remove(tags=["t"])
        async for key in client.scan_iter(f"{name}:*:fence:*"):
            if b":log:" not in key:
                await client.delete(key)
        assert [type(one) for one in await store.put([late])] == [StaleWriteError]
