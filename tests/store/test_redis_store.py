"""The Redis store against a real Redis with Search."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis.asyncio

from semcache_async.errors import (
    ConfigError,
    IndexMismatchError,
    StoreAuthError,
    StoreError,
    StoreFullError,
)
from semcache_async.store.redis_store import RedisStore
from semcache_async.store.wire.replies import NEEDED_COMMANDS
from semcache_async.types import EntryKey, Scope, VectorQuery
from tests.store.helpers import DIM, SCOPE, found, open_store, record, text_of, unit

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]


async def keys_of(client: redis.asyncio.Redis, name: str) -> list[bytes]:
    return sorted([key async for key in client.scan_iter(f"{name}:*")])


async def test_put_fetch_search(store: RedisStore) -> None:
    (id_,) = await store.put([record(store, "q", 10, tags=("t",))])
    (entry,) = await store.fetch([EntryKey(SCOPE, "q")])
    assert entry is not None
    assert not isinstance(entry, Exception)
    assert (entry.id, entry.prompt, entry.text, entry.tags) == (id_, "q", "answer to q", ("t",))
    assert entry.created_at <= store.now() < entry.exact_until
    ((neighbour,),) = await store.search([VectorQuery(SCOPE, unit(20), 3)])  # type: ignore[misc]
    assert neighbour.entry == entry
    assert neighbour.distance == pytest.approx(0.01519, abs=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("index", ["hnsw", "flat"])
async def test_every_kind_of_index(redis_url: str, name: str, dtype: str, index: str) -> None:
    async with open_store(redis_url, name, vector_dtype=dtype, index=index) as store:
        await store.put([record(store, f"at {angle}", angle) for angle in range(0, 360, 10)])
        assert await found(store, 101) == ["at 100", "at 110", "at 90"]
        ((first, *_),) = await store.search([VectorQuery(SCOPE, unit(100), 1)])  # type: ignore[misc]
        assert first.distance == pytest.approx(0, abs=1e-3)


async def test_one_batch_answers_many_and_each_by_itself(store: RedisStore) -> None:
    scopes = [Scope(tenant=str(n)) for n in range(20)]
    ids = await store.put([record(store, f"q{n}", n, scope) for n, scope in enumerate(scopes)])
    assert len(set(ids)) == 20
    replies = await store.search([VectorQuery(scope, unit(0), 3) for scope in scopes])
    assert [[n.entry.prompt for n in reply] for reply in replies] == [  # type: ignore[union-attr]
        [f"q{n}"] for n in range(20)
    ]


async def test_scopes_never_meet(store: RedisStore) -> None:
    hostile = ["a", "A", "a|b", "*", "a,b", "{a}", "a} | @scope:{*", "", " a", "a\n", "é"]
    await store.put(
        [record(store, "q", 0, Scope(tenant=tenant), text=tenant) for tenant in hostile]
    )
    for tenant in hostile:
        (outcome,) = await store.search([VectorQuery(Scope(tenant=tenant), unit(0), 100)])
        assert [n.entry.text for n in outcome] == [tenant]  # type: ignore[union-attr]
    # the same text in another field is another scope
    assert await found(store, 0, Scope(locale="a")) == []


async def test_attributes_narrow(store: RedisStore) -> None:
    await store.put([record(store, "q", 0, Scope(attributes={"a": "1|2", "b": "*"}))])
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
    await store.put([record(store, "PROMPT", 0, scope, tags=("TAG",))])
    (key,) = await keys_of(client, name)
    row: Any = await client.hgetall(key)
    visible = key + row[b"scope"] + row[b"tenant"] + row[b"attr"] + row[b"tags"]
    for secret in (b"TENANT", b"ATTRIBUTE", b"PROMPT", b"TAG"):
        assert secret not in visible
    assert set(row) == {b"scope", b"tenant", b"attr", b"tags", b"vec", b"entry"}
    assert await client.object("encoding", key) == b"listpack"  # in one piece
    await store.put([record(store, "PROMPT", None, scope)])  # nothing is left of the other one
    assert set(await client.hgetall(key)) == {b"scope", b"tenant", b"attr", b"entry"}


async def test_the_secret_keys_every_digest(redis_url: str, name: str) -> None:
    async with (
        open_store(redis_url, name, secret="one") as one,
        open_store(redis_url, name, secret="two") as two,
    ):
        await one.put([record(one, "q", 0)])
        assert await found(one, 0) == ["q"]
        assert await found(two, 0) == []
        assert await two.fetch([EntryKey(SCOPE, "q")]) == [None]


# -- expiry, eviction and damage: a miss, never an error


async def test_each_tier_ends_by_itself_and_every_key_is_mortal(
    redis_url: str, client: redis.asyncio.Redis, name: str
) -> None:
    passed = 0.0
    async with open_store(redis_url, name, ahead=lambda: passed) as store:
        await store.put(
            [
                record(store, "exact gone", 0, exact_ttl_s=50.0, semantic_ttl_s=500.0),
                record(store, "semantic gone", 90, exact_ttl_s=500.0, semantic_ttl_s=50.0),
                record(store, "exact only", None, exact_ttl_s=500.0, semantic_ttl_s=1e6),
            ]
        )
        passed = 100.0
        assert await text_of(store, "exact gone") is None
        assert await text_of(store, "semantic gone") is not None
        assert await text_of(store, "exact only") is not None
        assert await found(store, 0) == ["exact gone"]
        assert await found(store, 90, k=1) == ["exact gone"]  # in the dead one's stead
    ttls = [await client.pttl(key) for key in await keys_of(client, name)]
    assert len(ttls) == 3
    assert all(0 < ttl <= 500_000 for ttl in ttls)


async def test_an_expired_entry_that_redis_still_lists_is_a_miss_and_hides_nobody(
    redis_url: str, name: str, store: RedisStore
) -> None:
    """Their writer's clock is far behind, so for everybody else they died long ago."""
    async with open_store(redis_url, name, ahead=lambda: -1_000.0) as behind:
        await behind.put([record(behind, f"dead {n}", n / 100) for n in range(20)])
        await store.put([record(store, "alive", 1), record(store, "far", 80)])
        assert await found(store, 0) == ["alive", "far"]
        assert await found(store, 0, k=1) == ["alive"]
        assert await text_of(store, "dead 1") is None
        assert (await store.browse((), 100))[0].prompt == "far"
        assert len(await store.browse((), 100)) == 2


async def test_beyond_a_hundred_dead_nobody_looks(
    redis_url: str, name: str, store: RedisStore
) -> None:
    async with open_store(redis_url, name, ahead=lambda: -1_000.0) as behind:
        await behind.put([record(behind, f"dead {n}", n / 1_000) for n in range(150)])
        await store.put([record(store, "alive", 1)])
        assert await found(store, 0) == []


async def test_older_and_foreign_neighbours_hide_nobody(store: RedisStore) -> None:
    since = store.now() - 10
    before = since - 10
    await store.put([record(store, f"old {n}", n / 10, started_at=before) for n in range(5)])
    await store.put([record(store, "new", 1)])
    query = VectorQuery(SCOPE, unit(0), 3, since)
    ((only,),) = await store.search([query])  # type: ignore[misc]
    assert only.prompt == "new"
    assert await found(store, 0) == ["old 0", "old 1", "old 2"]


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
    await store.put([record(store, "damaged", 0)])
    (key,) = await keys_of(client, name)
    await store.put([record(store, "good", 5)])
    if payload is None:
        await client.hdel(key, "entry")
    else:
        await client.hset(key, "entry", payload)
    assert await store.fetch([EntryKey(SCOPE, "damaged")]) == [None]
    assert await found(store, 0) == ["good"]


async def test_a_vanished_index_is_an_error_then_made_anew(
    store: RedisStore, client: redis.asyncio.Redis, name: str
) -> None:
    await store.put([record(store, "q", 0)])
    (key,) = await keys_of(client, name)
    await client.execute_command("FT.DROPINDEX", key.decode().rsplit(":", 1)[0])
    (outcome,) = await store.search([VectorQuery(SCOPE, unit(0), 1)])
    assert isinstance(outcome, StoreError)
    assert (await store.fetch([EntryKey(SCOPE, "q")]))[0] is not None
    await store.put([record(store, "new", 0)])
    # the new index is filled in the background; the test's time limit bounds it
    while sorted(await found(store, 0)) != ["new", "q"]:
        pass


async def test_out_of_memory_drops_writes_and_goes_on_reading(
    store: RedisStore, client: redis.asyncio.Redis
) -> None:
    await store.put([record(store, "before", 0)])
    await client.config_set("maxmemory", 1, "maxmemory-policy", "noeviction")
    try:
        (outcome,) = await store.put([record(store, "after", 90)])
        assert isinstance(outcome, StoreFullError)
        assert "OOM" in str(outcome)
        assert (await store.fetch([EntryKey(SCOPE, "before")]))[0] is not None
        assert await found(store, 0) == ["before"]
        (outcome,) = await store.put([record(store, "before", 0, text="another answer")])
        assert isinstance(outcome, StoreFullError)
        assert await found(store, 0) == []  # the old answer is no longer the answer
    finally:
        await client.config_set("maxmemory", 0, "maxmemory-policy", "allkeys-lfu")
    (outcome,) = await store.put([record(store, "after", 90)])
    assert isinstance(outcome, str)


# -- removing


async def test_remove_by_tag_scope_id_and_all_together(store: RedisStore) -> None:
    a, b = Scope(tenant="a"), Scope(tenant="b", attributes={"x": "1"})
    ids = await store.put(
        [
            record(store, "1", 0, a, tags=("red", "blue|green")),
            record(store, "2", 1, a, tags=("green",)),
            record(store, "3", 2, b, tags=("red",)),
            record(store, "4", None, b, tags=("red",)),
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
    records = [record(store, f"q{n}", None, tags=("bulk",)) for n in range(2_500)]
    for start in range(0, len(records), 500):
        await store.put(records[start : start + 500])
    await store.put([record(store, "other", 0, tags=("kept",))])
    would = await store.would_remove(tags=["bulk"], examples=3)
    assert (would.count, len(would.examples)) == (2_500, 3)
    assert await store.remove(tags=["bulk"]) == 2_500
    assert await found(store, 0) == ["other"]


async def test_a_removal_ends_though_entries_vanish_and_come_meanwhile(
    store: RedisStore, client: redis.asyncio.Redis, name: str
) -> None:
    for start in range(0, 600, 100):
        await store.put([record(store, f"q{n}", n) for n in range(start, start + 100)])
    prefix = (await keys_of(client, name))[0].rsplit(b":", 1)[0]
    keys = [key for key in await keys_of(client, name) if key.startswith(prefix)]
    removing = asyncio.create_task(store.remove(scope=SCOPE))
    gone = 0
    for number, key in enumerate(keys[:300]):
        gone += await client.unlink(key)
        if number % 10 == 0:
            await store.put([record(store, f"new {number}", number)])
    removed = await removing
    assert 600 <= removed + gone <= 630
    for n in range(600):
        assert await text_of(store, f"q{n}") is None


async def test_remove_by_tenant_alone_and_with_others(store: RedisStore) -> None:
    scopes = [
        Scope(tenant="a"),
        Scope(tenant="a", locale="de"),
        Scope(tenant="a", attributes={"user": "alice"}),
        Scope(tenant="b"),
    ]
    ids: Any = await store.put(
        [record(store, str(n), n, scope, tags=(f"t{n % 2}",)) for n, scope in enumerate(scopes)]
    )
    assert await store.remove() == 0
    assert await store.remove(tenant="") == 0
    assert await store.remove(tenant="b", scope=scopes[0]) == 0
    assert await store.remove(tenant="b", entry_ids=ids[:3]) == 0
    assert await store.remove(tenant="b", tags=["t0"]) == 0
    assert await store.remove(tenant="a", tags=["t1"]) == 1
    assert await store.remove(tenant="a", scope=scopes[2]) == 1
    assert await store.remove(tenant="a") == 1
    assert await store.remove(tenant="b", entry_ids=[ids[3]]) == 1


async def test_replacing_without_a_vector_leaves_none(store: RedisStore) -> None:
    await store.put([record(store, "q", 0)])
    await store.put([record(store, "q", None, text="other")])
    assert await found(store, 0) == []
    assert await text_of(store, "q") == "other"


class Marked(str):
    """As template engines and SDKs derive from ``str``."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


async def test_one_odd_item_fails_alone_and_a_derived_str_not_at_all(store: RedisStore) -> None:
    scope = Scope(tenant=Marked("m"), parameters={"seed": 2**70, "stop": Marked("x")})
    marked = record(
        *(store, Marked("q"), 0, scope), text=Marked("<b>"), tags=(Marked("t"),), vector=unit(0)
    )
    odd = [record(store, "surrogate", 0, text="\ud800"), record(store, "number", 0, text=7)]
    fine = [record(store, f"fine {n}", n) for n in range(3)]
    outcomes = await store.put([fine[0], odd[0], fine[1], odd[1], fine[2], marked])
    assert [isinstance(outcome, str) for outcome in outcomes] == [1, 0, 1, 0, 1, 1]
    assert all(isinstance(outcome, str | StoreError) for outcome in outcomes)
    plain = Scope(tenant="m", parameters={"seed": 2**70, "stop": "x"})
    assert await text_of(store, "q", plain) == "<b>"
    assert await text_of(store, "q", Scope(tenant="m", parameters={"seed": 2**71})) is None
    keys = [EntryKey(SCOPE, "fine 0"), EntryKey(SCOPE, "\ud800"), EntryKey(SCOPE, "fine 2")]
    first, second, third = await store.fetch(keys)
    assert isinstance(second, StoreError)
    assert first is not None
    assert third is not None
    assert await store.remove(tags=["t"]) == 1


# -- opening


async def test_ten_at_once(redis_url: str, name: str) -> None:
    async with AsyncExitStack() as stack:
        stores = await asyncio.gather(
            *[stack.enter_async_context(open_store(redis_url, name)) for _ in range(10)]
        )
        await stores[0].put([record(stores[0], "q", 0)])
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
        await store.put([record(store, "q", 0)])
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
        *("tenant", "TAG", "attr", "TAG", "tags", "TAG", *vector),
    )
    with pytest.raises(IndexMismatchError, match=r"needed is .*FT\.DROPINDEX"):
        async with open_store(redis_url, name):
            pass


async def test_of_two_models_that_come_at_once_one_is_refused(store: RedisStore) -> None:
    outcomes = await asyncio.gather(
        *(store.recognise(unit(angle)) for angle in (0, 90)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes if outcome] == [IndexMismatchError]


@pytest.mark.parametrize("there", [False, True])
async def test_another_database_is_refused(
    redis_url: str, name: str, client: redis.asyncio.Redis, there: bool
) -> None:
    if there:  # an index of the same name, which is all that one sees from another database
        async with open_store(redis_url, name):
            pass
    with pytest.raises(ConfigError, match="database 0"):
        async with open_store(f"{redis_url}?db=1", name):
            pass


async def test_the_permissions_that_the_docs_list_are_enough(
    redis_url: str, name: str, client: redis.asyncio.Redis
) -> None:
    allowed = [f"+{command.lower()}" for command in NEEDED_COMMANDS]
    await client.acl_setuser(
        name, enabled=True, passwords=["+secret"], commands=allowed, keys=[f"{name}:*"]
    )
    url = redis_url.replace("unix://", f"unix://{name}:secret@")
    try:
        async with open_store(url, name) as store:
            await store.put([record(store, "q", 0, tags=("t",)), record(store, "r", None)])
            assert await found(store, 0) == ["q"]
            assert await store.put([record(store, "q", 0, started_at=store.now())])
            assert await store.remove(tags=["t"]) == 0
            kept = await store.browse((), 9)
            assert len(kept) == 2
            assert (await store.would_remove(tenant="a", examples=9)).count == 2
            assert await store.annotate(kept[0].id, lambda _entry, _notes: b"{}")
            owner = store.owner(Scope())
            await store.tally(owner, 1, {"r1": 1.0}, pooled=True)
            assert await store.tallies(owner, [1]) == ([{"r1": 1.0}], [{"r1": 1.0}])
            assert await store.remove(tenant="a") == 2
            begun = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(store.watch(lambda _: begun.set()))
                await begun.wait()
                watching.cancel()
        await client.execute_command("ACL", "SETUSER", name, "-zadd")
        async with open_store(url, name) as store:
            with pytest.raises(StoreAuthError, match=r"MULTI EXEC WATCH .*ZADD"):
                await store.remove(tenant="a")
        await client.execute_command("ACL", "SETUSER", name, "-multi")
        with pytest.raises(StoreAuthError, match="MULTI"):
            async with open_store(url, name):
                pass
    finally:
        await client.acl_deluser(name)


async def test_a_removal_reaches_every_index_of_the_name(redis_url: str, name: str) -> None:
    """A rollback to another model or vector type must not bring back what was purged."""
    async with (
        open_store(redis_url, name) as one,
        open_store(redis_url, name, vector_dtype="float16") as other,
        open_store(redis_url, f"{name}2") as stranger,
    ):
        for store in (one, other, stranger):
            await store.put([record(store, "q", 0, tags=("t",)), record(store, "r", 90)])
        would = await one.would_remove(tags=["t"], examples=9)
        assert (would.count, [entry.prompt for entry in would.examples]) == (2, ["q", "q"])
        assert await one.remove(tags=["t"]) == 2
        assert await found(other, 0) == ["r"]
        assert await one.remove(scope=SCOPE) == 2
        assert await found(other, 0) == []
        assert await found(stranger, 0) == ["q", "r"]
        (id_,) = await other.put([record(other, "q", 0)])
        assert await one.remove(entry_ids=[str(id_)]) == 1
        assert await found(other, 0) == []


async def test_an_index_of_another_kind_is_named_where_it_cannot_be_searched(
    redis_url: str, name: str, client: redis.asyncio.Redis
) -> None:
    async with open_store(redis_url, name) as store:
        await store.put([record(store, "q", 0, tags=("t",))])
        old = f"{name}:{{p0}}:0123456789abcdef"
        await client.execute_command(
            *("FT.CREATE", old, "PREFIX", "1", f"{old}:", "SCHEMA", "kind", "TAG")
        )
        with pytest.raises(StoreError, match="0123456789abcdef"):
            await store.remove(tags=["t"])
        assert await found(store, 0) == []
        await client.execute_command("FT.DROPINDEX", old)
