"""Both stores pass what every store has to pass; gates hold what they should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

import pytest

from semcache_async.errors import StaleWriteError, StoreUnavailableError
from semcache_async.protocols import BrowsableStore, Store, WatchableStore
from semcache_async.store.models import ModelStores
from semcache_async.store.redis_store import RedisStore
from semcache_async.testing import AngleEmbedder, GatedStore, MemoryStore, store_conformance
from semcache_async.testing.conformance import Check
from semcache_async.types import Record, Scope
from tests.store.helpers import open_partitions, open_store, record

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

WIDENABLE = ("locale", "model")

each = pytest.mark.parametrize("check", store_conformance, ids=lambda check: check.__name__)


@each
@pytest.mark.parametrize("index", ["hnsw", "flat"])
async def test_redis(redis_url: str, name: str, check: Check, index: str) -> None:
    def opened(ahead: Callable[[], float]) -> AbstractAsyncContextManager[Store]:
        return open_store(redis_url, name, ahead=ahead, index=index, widenable=WIDENABLE)

    await check(opened)


@each
async def test_partitions(redis_url: str, name: str, check: Check) -> None:
    def opened(ahead: Callable[[], float]) -> AbstractAsyncContextManager[Store]:
        return open_partitions(redis_url, name, 3, ahead=ahead, widenable=WIDENABLE)

    await check(opened)


@each
async def test_an_index_for_each_tenant(redis_url: str, name: str, check: Check) -> None:
    def opened(ahead: Callable[[], float]) -> AbstractAsyncContextManager[Store]:
        return open_partitions(
            redis_url, name, 1, ahead=ahead, widenable=WIDENABLE, index_per_tenant=True
        )

    await check(opened)


@each
async def test_several_models(redis_url: str, name: str, check: Check) -> None:
    """Every second tenant's entries are another model's."""

    def model_of(scope: Scope) -> str:
        return ("", "other")[len(scope.tenant) % 2]

    @asynccontextmanager
    async def opened(ahead: Callable[[], float]) -> AsyncIterator[Store]:
        async with open_store(redis_url, name, ahead=ahead, widenable=WIDENABLE) as own:
            stores = ModelStores(own, model_of)
            await stores.add("other", AngleEmbedder.dim, "other", 0.1)
            yield stores

    await check(opened)


@each
@pytest.mark.parametrize("gated", [False, True])
async def test_memory(check: Check, gated: bool) -> None:
    store: Store | None = None

    @asynccontextmanager
    async def opened(ahead: Callable[[], float]) -> AsyncIterator[Store]:
        nonlocal store
        if store is None:
            store = MemoryStore(clock=lambda: 1_000.0 + ahead())
        yield GatedStore(store) if gated else store

    await check(opened)


def record_of(store: Store, prompt: str) -> Record:
    return record(store, prompt, 0, Scope(), tags=("t",))


async def test_gates_hold_and_fail() -> None:
    store = GatedStore()
    one = record_of(store, "one")
    store.hold("put")
    putting = asyncio.create_task(store.put([one]))
    await store.waiting("put")
    assert len(store.inner) == 0  # type: ignore[arg-type]
    await store.remove(tags=["t"])
    store.release("put")
    (outcome,) = await putting
    assert isinstance(outcome, StaleWriteError)

    store.hold("put", done=True)
    putting = asyncio.create_task(store.put([record_of(store, "two")]))
    await store.waiting("put")
    assert len(store.inner) == 1  # type: ignore[arg-type]
    store.release("put")
    await putting

    store.fail("fetch", times=2)
    store.fail("put", error=TimeoutError("late"), done=True)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await store.fetch([one.key])
    assert await store.fetch([one.key]) == [None]
    with pytest.raises(TimeoutError, match="late"):
        await store.put([record_of(store, "three")])
    assert len(store.inner) == 2  # type: ignore[arg-type]
    assert store.calls == {"put": 3, "remove": 1, "fetch": 3}


async def test_an_embedder_that_is_held() -> None:
    embedder = AngleEmbedder()
    embedder.hold()
    embedding = asyncio.create_task(asyncio.to_thread(embedder.embed, ["at 0"]))
    while not embedder.calls:  # noqa: ASYNC110 - a thread tells nobody
        await asyncio.sleep(0)
    assert not embedding.done()
    embedder.release()
    assert (await embedding)[0, 0] == 1.0
    embedder.fail(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        embedder.embed(["at 0"])
    assert embedder.embed(["at 0"]).shape == (1, 8)


@pytest.mark.parametrize("kind", ["redis", "partitions", "tenants", "memory"])
async def test_what_would_be_removed_is_what_is(redis_url: str, name: str, kind: str) -> None:
    opened: dict[str, Callable[[], AbstractAsyncContextManager[Store]]] = {
        "redis": lambda: open_store(redis_url, name),
        "partitions": lambda: open_partitions(redis_url, name, 3),
        "tenants": lambda: open_partitions(redis_url, name, 1, index_per_tenant=True),
        "memory": lambda: nullcontext(GatedStore()),
    }
    async with opened[kind]() as store:
        assert isinstance(store, BrowsableStore)
        a, german, b = Scope(tenant="a"), Scope(tenant="a", locale="de"), Scope(tenant="b")
        base = store.now()
        records = [
            record(store, f"{n}", n, scope, tags=(f"t{n % 2}",), started_at=base + n / 1_000)
            for n, scope in enumerate((a, a, german, b, b))
        ]
        under_way = record(store, "5", 5, a, tags=("t0",), started_at=base)
        ids = [str(id_) for id_ in await store.put(records)]
        asked: list[tuple[dict[str, Any], list[str]]] = [
            ({}, []),
            ({"tags": ["nobody's"]}, []),
            ({"tenant": "b", "scope": a}, []),
            ({"entry_ids": ["nonsense", "ab" * 16]}, []),
            ({"tags": ["t1"], "entry_ids": [*ids[:2], "ab" * 16]}, ["1"]),
            ({"scope": a, "tags": ["t0", "t1"]}, ["1", "0"]),
            ({"tenant": "a"}, ["2", "1", "0"]),
            ({"tags": ["t0"]}, ["4", "2", "0"]),
            ({"entry_ids": ids}, ["4", "3", "2", "1", "0"]),
        ]
        for conditions, prompts in asked:
            found = await store.would_remove(**conditions, examples=9)
            told = [entry.prompt for entry in found.examples]
            assert (found.count, told) == (len(prompts), prompts), conditions
            few = await store.would_remove(**conditions, examples=1)
            assert (few.count, len(few.examples)) == (len(prompts), min(1, len(prompts)))
        assert isinstance((await store.put([under_way]))[0], str)
        assert await store.remove(tags=["t0"]) == 4
        assert await store.remove(entry_ids=ids) == 2


async def test_the_seams_that_each_store_has(redis_url: str, name: str) -> None:
    async with open_store(redis_url, name) as redis:
        assert isinstance(redis, RedisStore)
        for store in (redis, MemoryStore(), GatedStore()):
            assert isinstance(store, BrowsableStore)
        assert isinstance(redis, WatchableStore)
        assert not isinstance(MemoryStore(), WatchableStore)
        await redis.put([record(redis, "q", 0)])
        assert redis.connections == 2
