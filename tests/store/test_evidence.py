"""Notes and sums in a real Redis."""

from __future__ import annotations

import asyncio

import pytest
import redis
import redis.asyncio

from semcache_async.errors import StoreError
from semcache_async.store.redis_store import RedisStore
from semcache_async.types import Entry, Scope, VectorQuery
from tests.store.helpers import SCOPE, open_store, record, unit

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]


async def notes_of(store: RedisStore) -> bytes | None:
    (found,) = await store.search([VectorQuery(SCOPE, unit(0), 1)])
    assert not isinstance(found, Exception)
    return found[0].notes


def more(_entry: Entry, notes: bytes | None) -> bytes:
    return (notes or b"") + b"x"


async def test_notes_come_with_the_neighbour_and_keep_its_life(
    store: RedisStore, name: str, client: redis.asyncio.Redis
) -> None:
    (id_,) = await store.put([record(store, "q", 0)])
    assert await notes_of(store) is None
    found = await store.annotate(str(id_), more)
    assert found is not None
    assert (found[0].prompt, found[1]) == ("q", store.owner(SCOPE))
    assert await notes_of(store) == b"x"
    keys = [key async for key in client.scan_iter(f"{name}:*{id_}")]
    assert 0 < await client.pttl(keys[0]) <= 100_000


async def test_two_who_annotate_at_once_lose_nothing(redis_url: str, name: str) -> None:
    async with open_store(redis_url, name) as one, open_store(redis_url, name) as other:
        (id_,) = await one.put([record(one, "q", 0)])
        for _ in range(10):
            await asyncio.gather(*(store.annotate(str(id_), more) for store in (one, other)))
        assert await notes_of(one) == b"x" * 20


async def test_an_entry_that_goes_meanwhile_is_not_made_again(
    store: RedisStore, redis_url: str, name: str, client: redis.asyncio.Redis
) -> None:
    (id_,) = await store.put([record(store, "q", 0)])
    (key,) = [key async for key in client.scan_iter(f"{name}:*{id_}")]

    def gone_meanwhile(entry: Entry, notes: bytes | None) -> bytes:
        with redis.Redis.from_url(redis_url) as another:
            another.delete(key)
        return more(entry, notes)

    assert await store.annotate(str(id_), gone_meanwhile) is None
    assert await client.exists(key) == 0
    assert await store.annotate("0" * 32, more) is None


async def test_an_entry_that_keeps_changing_is_given_up(
    store: RedisStore, redis_url: str, name: str, client: redis.asyncio.Redis
) -> None:
    (id_,) = await store.put([record(store, "q", 0)])
    (key,) = [key async for key in client.scan_iter(f"{name}:*{id_}")]

    def changed_meanwhile(entry: Entry, notes: bytes | None) -> bytes:
        with redis.Redis.from_url(redis_url) as another:
            another.hincrby(key, "other", 1)
        return more(entry, notes)

    with pytest.raises(StoreError, match="kept changing"):
        await store.annotate(str(id_), changed_meanwhile)
    assert await notes_of(store) is None
    assert await store.annotate(str(id_), more) is not None  # the connection is as good as before


async def test_sums_add_up_by_period_scope_and_tenant(store: RedisStore) -> None:
    one, two = store.owner(Scope(tenant="a", model="1")), store.owner(Scope(tenant="a", model="2"))
    assert one.tenant == two.tenant != store.owner(Scope(tenant="b")).tenant
    await store.tally(one, 7, {"r1": 1.0, "s1": 1.0}, pooled=True)
    await store.tally(one, 7, {"r1": 0.5}, pooled=False)
    await store.tally(two, 8, {"w2": 2.0}, pooled=True)
    assert await store.tallies(one, [8, 7]) == (
        [{}, {"r1": 1.5, "s1": 1.0}],
        [{"w2": 2.0}, {"r1": 1.0, "s1": 1.0}],
    )
    assert await store.tallies(store.owner(Scope(tenant="b")), [8, 7]) == ([{}, {}], [{}, {}])


async def test_what_somebody_else_wrote_is_passed_over(
    store: RedisStore, name: str, client: redis.asyncio.Redis
) -> None:
    owner = store.owner(SCOPE)
    await store.tally(owner, 7, {"r1": 1.0}, pooled=False)
    (key,) = [key async for key in client.scan_iter(f"{name}:*:evidence:*")]
    assert await client.pttl(key) > 0
    await client.hset(key, mapping={"r2": "many", "w1": "2"})
    assert (await store.tallies(owner, [7]))[0] == [{"r1": 1.0, "w1": 2.0}]
    await client.delete(key)
    await client.set(key, "no hash", px=60_000)
    with pytest.raises(StoreError):
        await store.tallies(owner, [7])
