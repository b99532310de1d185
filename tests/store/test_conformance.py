"""Both stores pass what every store has to pass; gates hold what they should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from semcache_async.errors import StaleWriteError, StoreUnavailableError
from semcache_async.protocols import BrowsableStore, Store, WatchableStore
from semcache_async.store.redis_store import RedisStore
from semcache_async.testing import AngleEmbedder, GatedStore, MemoryStore, store_conformance
from semcache_async.testing.conformance import Check
from semcache_async.types import Record, Scope
from tests.store.helpers import open_partitions, open_store, record

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

each = pytest.mark.parametrize("check", store_conformance, ids=lambda check: check.__name__)


@each
@pytest.mark.parametrize("index", ["hnsw", "flat"])
async def test_redis(redis_url: str, name: str, check: Check, index: str) -> None:
    def opened(ahead: Callable[[], float]) -> AbstractAsyncContextManager[Store]:
        return open_store(redis_url, name, ahead=ahead, index=index)

    await check(opened)


@each
async def test_partitions(redis_url: str, name: str, check: Check) -> None:
    def opened(ahead: Callable[[], float]) -> AbstractAsyncContextManager[Store]:
        return open_partitions(redis_url, name, 3, ahead=ahead)

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


async def test_the_seams_that_each_store_has(redis_url: str, name: str) -> None:
    async with open_store(redis_url, name) as redis:
        assert isinstance(redis, RedisStore)
        for store in (redis, MemoryStore(), GatedStore()):
            assert isinstance(store, BrowsableStore)
        assert isinstance(redis, WatchableStore)
        assert not isinstance(MemoryStore(), WatchableStore)
        await redis.put([record(redis, "q", 0)])
        assert redis.connections == 2
