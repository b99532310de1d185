"""The Redis store against a real Redis with Search."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import pytest
import redis.asyncio

from semcache_async.config import CacheConfig
from semcache_async.errors import ConfigError, IndexMismatchError, StoreError
from semcache_async.store.redis_store import RedisStore, redis_store
from semcache_async.types import EntryKey, Record, Scope, Vector, VectorQuery

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

DIM = 8
SCOPE = Scope(tenant="a")


def unit(degrees: float) -> Vector:
    vector = np.zeros(DIM, np.float32)
    vector[:2] = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return vector


def record(prompt: str, degrees: float | None, scope: Scope = SCOPE, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "key": EntryKey(scope, prompt),
        "prompt": prompt,
        "text": f"answer to {prompt}",
        "vector": None if degrees is None else unit(degrees),
        "tags": (),
        "exact_ttl_s": 100.0,
        "semantic_ttl_s": 100.0,
        "started_at": time.time(),
    }
    return Record(**(fields | changes))


def open_store(url: str, name: str, **options: Any) -> Any:
    config = CacheConfig(name=name, **options)
    return redis_store(url, dim=DIM, fingerprint="angle", config=config)


@pytest.fixture
async def store(redis_url: str, name: str) -> AsyncIterator[RedisStore]:
    async with open_store(redis_url, name) as store:
        yield store


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_url(redis_url, protocol=3)
    yield client
    await client.aclose()


async def keys_of(client: redis.asyncio.Redis, name: str) -> list[bytes]:
    return sorted([key async for key in client.scan_iter(f"{name}:*")])


async def found(store: RedisStore, degrees: float, scope: Scope = SCOPE, k: int = 3) -> list[str]:
    (outcome,) = await store.search([VectorQuery(scope, unit(degrees), k)])
    assert not isinstance(outcome, Exception), outcome
    return [neighbour.entry.prompt for neighbour in outcome]


async def test_put_fetch_search(store: RedisStore) -> None:
    (id_,) = await store.put([record("q", 10, tags=("t",))])
    (entry,) = await store.fetch([EntryKey(SCOPE, "q")])
    assert entry is not None
    assert not isinstance(entry, Exception)
    assert (entry.id, entry.prompt, entry.text, entry.tags) == (id_, "q", "answer to q", ("t",))
    assert entry.created_at == pytest.approx(time.time(), abs=5)
    ((neighbour,),) = await store.search([VectorQuery(SCOPE, unit(20), 3)])  # type: ignore[misc]
    assert neighbour.entry == entry
    assert neighbour.distance == pytest.approx(0.01519, abs=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("index", ["hnsw", "flat"])
async def test_every_kind_of_index(redis_url: str, name: str, dtype: str, index: str) -> None:
    async with open_store(redis_url, name, vector_dtype=dtype, index=index) as store:
        await store.put([record(f"at {angle}", angle) for angle in range(0, 360, 10)])
        assert await found(store, 101) == ["at 100", "at 110", "at 90"]
        ((first, *_),) = await store.search([VectorQuery(SCOPE, unit(100), 1)])
        assert first.distance == pytest.approx(0, abs=1e-3)


async def test_one_batch_answers_many_and_each_by_itself(store: RedisStore) -> None:
    scopes = [Scope(tenant=str(n)) for n in range(20)]
    ids = await store.put([record(f"q{n}", n, scope) for n, scope in enumerate(scopes)])
    assert len(set(ids)) == 20
    replies = await store.search([VectorQuery(scope, unit(0), 3) for scope in scopes])
    assert [[n.entry.prompt for n in reply] for reply in replies] == [  # type: ignore[union-attr]
        [f"q{n}"] for n in range(20)
    ]


async def test_scopes_never_meet(store: RedisStore) -> None:
    hostile = ["a", "A", "a|b", "*", "a,b", "{a}", "a} | @scope:{*", "", " a", "a\n", "é"]
    await store.put([record("q", 0, Scope(tenant=tenant), text=tenant) for tenant in hostile])
    for tenant in hostile:
        (outcome,) = await store.search([VectorQuery(Scope(tenant=tenant), unit(0), 100)])
        assert [n.entry.text for n in outcome] == [tenant]  # type: ignore[union-attr]
    # the same text in another field is another scope
    assert await found(store, 0, Scope(locale="a")) == []


async def test_attributes_narrow(store: RedisStore) -> None:
    await store.put([record("q", 0, Scope(attributes={"a": "1|2", "b": "*"}))])
    for attributes, names in [
        ({}, ["q"]),
        ({"a": "1|2"}, ["q"]),
        ({"b": "*", "a": "1|2"}, ["q"]),
        ({"a": "1"}, []),
        ({"b": "x"}, []),
        ({"a": "1|2", "c": ""}, []),
    ]:
        assert await found(store, 0, Scope(attributes=attributes)) == names


async def test_no_user_text_in_keys_tags_or_queries(
    store: RedisStore, client: redis.asyncio.Redis, name: str
) -> None:
    scope = Scope(tenant="TENANT", attributes={"who": "ATTRIBUTE"})
    await store.put([record("PROMPT", 0, scope, tags=("TAG",))])
    (key,) = await keys_of(client, name)
    row: Any = await client.hgetall(key)
    visible = key + row[b"scope"] + row[b"attr"] + row[b"tags"]
    for secret in (b"TENANT", b"ATTRIBUTE", b"PROMPT", b"TAG"):
        assert secret not in visible
    assert set(row) == {b"scope", b"attr", b"tags", b"vec", b"entry"}


async def test_the_secret_keys_every_digest(redis_url: str, name: str) -> None:
    async with (
        open_store(redis_url, name, secret="one") as one,
        open_store(redis_url, name, secret="two") as two,
    ):
        await one.put([record("q", 0)])
        assert await found(one, 0) == ["q"]
        assert await found(two, 0) == []
        assert await two.fetch([EntryKey(SCOPE, "q")]) == [None]


# -- expiry, eviction and damage: a miss, never an error


async def test_each_tier_ends_by_itself_and_every_key_is_mortal(
    store: RedisStore, client: redis.asyncio.Redis, name: str
) -> None:
    await store.put(
        [
            record("exact gone", 0, exact_ttl_s=0.001, semantic_ttl_s=60.0),
            record("semantic gone", 90, exact_ttl_s=60.0, semantic_ttl_s=0.001),
            record("exact only", None, exact_ttl_s=60.0, semantic_ttl_s=600.0),
        ]
    )
    await asyncio.sleep(0.01)
    first, second, third = await store.fetch(
        [EntryKey(SCOPE, p) for p in ("exact gone", "semantic gone", "exact only")]
    )
    assert first is None
    assert second is not None
    assert third is not None
    assert await found(store, 0) == ["exact gone"]
    assert await found(store, 90, k=1) == []
    ttls = [await client.pttl(key) for key in await keys_of(client, name)]
    assert len(ttls) == 3
    assert all(0 < ttl <= 60_000 for ttl in ttls)


async def test_an_expired_entry_that_redis_still_lists_is_a_miss_and_hides_nobody(
    store: RedisStore, client: redis.asyncio.Redis, name: str
) -> None:
    await client.config_set("hz", 1)  # Redis deletes what has expired about once a second
    try:
        await store.put([record("dead", 0), record("alive", 1)])
        (dead,) = [k for k in await keys_of(client, name) if b"dead" in await _entry(client, k)]
        await client.pexpire(dead, 1)
        await asyncio.sleep(0.005)
        assert await found(store, 0) == ["alive"]
        assert await store.fetch([EntryKey(SCOPE, "dead")]) == [None]
    finally:
        await client.config_set("hz", 10)


async def _entry(client: redis.asyncio.Redis, key: bytes) -> bytes:
    entry: Any = await client.hget(key, "entry")
    return bytes(entry or b"")


@pytest.mark.parametrize(
    "payload",
    [
        None,
        b"",
        b"\xff\xfe",
        b"not json",
        b"[]",
        b'{"scope":"other"}',
        b'{"scope":1,"prompt":"p","text":"t","created_at":0,"exact_until":9e9,"semantic_until":9e9}',
        b'{"scope":"ff","prompt":"p","text":"t","created_at":0,"exact_until":9e9,"semantic_until":9e9}',
    ],
)
async def test_a_damaged_or_foreign_entry_is_a_miss(
    store: RedisStore, client: redis.asyncio.Redis, name: str, payload: bytes | None
) -> None:
    await store.put([record("damaged", 0)])
    (key,) = await keys_of(client, name)
    await store.put([record("good", 5)])
    if payload is None:
        await client.hdel(key, "entry")
    else:
        await client.hset(key, "entry", payload)
    assert await store.fetch([EntryKey(SCOPE, "damaged")]) == [None]
    assert await found(store, 0) == ["good"]


async def test_a_vanished_index_is_an_error_then_made_anew(
    store: RedisStore, client: redis.asyncio.Redis, name: str
) -> None:
    await store.put([record("q", 0)])
    (key,) = await keys_of(client, name)
    await client.execute_command("FT.DROPINDEX", key.decode().rsplit(":", 1)[0])
    (outcome,) = await store.search([VectorQuery(SCOPE, unit(0), 1)])
    assert isinstance(outcome, StoreError)
    assert (await store.fetch([EntryKey(SCOPE, "q")]))[0] is not None
    await store.put([record("new", 0)])
    async with asyncio.timeout(10):  # the new index is filled in the background
        while sorted(await found(store, 0)) != ["new", "q"]:  # noqa: ASYNC110 - Redis's own time
            await asyncio.sleep(0.01)


async def test_out_of_memory_drops_writes_and_goes_on_reading(
    store: RedisStore, client: redis.asyncio.Redis
) -> None:
    await store.put([record("before", 0)])
    await client.config_set("maxmemory", 1)
    try:
        (outcome,) = await store.put([record("after", 90)])
        assert isinstance(outcome, StoreError)
        assert "OOM" in str(outcome)
        assert (await store.fetch([EntryKey(SCOPE, "before")]))[0] is not None
        assert await found(store, 0) == ["before"]
    finally:
        await client.config_set("maxmemory", 0)
    (outcome,) = await store.put([record("after", 90)])
    assert isinstance(outcome, str)


# -- removing


async def test_remove_by_tag_scope_id_and_all_together(store: RedisStore) -> None:
    a, b = Scope(tenant="a"), Scope(tenant="b", attributes={"x": "1"})
    ids = await store.put(
        [
            record("1", 0, a, tags=("red", "blue|green")),
            record("2", 1, a, tags=("green",)),
            record("3", 2, b, tags=("red",)),
            record("4", None, b, tags=("red",)),
        ]
    )
    names: list[str] = [str(id_) for id_ in ids]
    assert await store.remove(tags=["nobody's"]) == 0
    assert await store.remove(scope=a, tags=["red"], entry_ids=names[1:]) == 0
    assert await store.remove(scope=a, tags=["green", "blue|green"]) == 2
    assert await store.remove(scope=Scope(tenant="b", attributes={"x": "2"})) == 0
    assert await store.remove(scope=Scope(tenant="b"), tags=["red"], entry_ids=[names[2]]) == 1
    assert await store.remove(tags=["red"]) == 1
    assert await store.remove(entry_ids=[*names, "nonsense", "*"]) == 0


async def test_remove_thousands(store: RedisStore) -> None:
    records = [record(f"q{n}", None, tags=("bulk",)) for n in range(2_500)]
    for start in range(0, len(records), 500):
        await store.put(records[start : start + 500])
    await store.put([record("other", 0, tags=("kept",))])
    assert await store.remove(tags=["bulk"]) == 2_500
    assert await found(store, 0) == ["other"]


# -- opening


async def test_ten_at_once(redis_url: str, name: str) -> None:
    async with AsyncExitStack() as stack:
        stores = await asyncio.gather(
            *[stack.enter_async_context(open_store(redis_url, name)) for _ in range(10)]
        )
        await stores[0].put([record("q", 0)])
        assert await asyncio.gather(*[found(store, 0) for store in stores]) == [["q"]] * 10


async def test_no_trace_of_the_canary(
    store: RedisStore, client: redis.asyncio.Redis, name: str
) -> None:
    assert await keys_of(client, name) == []


@pytest.mark.parametrize("wrong", ["dimension", "prefix", "no vector"])
async def test_an_index_of_another_shape_is_refused(
    redis_url: str, name: str, client: redis.asyncio.Redis, wrong: str
) -> None:
    async with open_store(redis_url, name) as store:
        await store.put([record("q", 0)])
    (key,) = await keys_of(client, name)
    index = key.decode().rsplit(":", 1)[0]
    await client.execute_command("FT.DROPINDEX", index, "DD")
    prefix = "else:" if wrong == "prefix" else f"{index}:"
    dim = 4 if wrong == "dimension" else DIM
    vector = ["vec", "VECTOR", "HNSW", 6, "TYPE", "FLOAT32", "DIM", dim]
    vector += ["DISTANCE_METRIC", "COSINE"]
    if wrong == "no vector":
        vector = []
    await client.execute_command(
        *("FT.CREATE", index, "ON", "HASH", "PREFIX", 1, prefix, "SCHEMA", "scope", "TAG"),
        *("attr", "TAG", "tags", "TAG", *vector),
    )
    with pytest.raises(IndexMismatchError, match=r"needed is .*FT\.DROPINDEX"):
        async with open_store(redis_url, name):
            pass


async def test_another_database_is_refused(redis_url: str, name: str) -> None:
    with pytest.raises(ConfigError, match="database 0"):
        async with open_store(f"{redis_url}?db=1", name):
            pass
