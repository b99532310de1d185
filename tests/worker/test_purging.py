"""Purging without a model: what any model has made goes, and nothing is left behind."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import redis.asyncio

from semcache_async.config import CacheConfig
from semcache_async.errors import ConfigError, StaleWriteError, StoreUnavailableError
from semcache_async.store.partitioned.partitions import PartitionedStore, open_store
from semcache_async.store.redis_store import RedisStore
from semcache_async.store.tenants import TenantStores
from semcache_async.types import Scope
from semcache_async.worker.purging import open_purger
from tests.store.helpers import DIM, record, text_of
from tests.worker.helpers import GROUP, consuming, settled

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

PAGE = Path(__file__).parents[2] / "docs" / "purging.md"


@pytest.fixture(params=[1, 3])
def config(request: pytest.FixtureRequest, name: str) -> CacheConfig:
    return CacheConfig(
        name=name, partitions=request.param, secret="s", index="flat", store_timeout_s=10.0
    )


@pytest.fixture
async def stores(
    redis_url: str, config: CacheConfig
) -> AsyncIterator[list[RedisStore | PartitionedStore | TenantStores]]:
    """Of two models."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                open_store(redis_url, dim=DIM, fingerprint=model, config=config)
            )
            for model in ("first", "second")
        ]


SCOPES = [Scope(tenant="a"), Scope(tenant="a", locale="de"), Scope(tenant="b")]


async def test_what_any_model_has_made_goes(
    client: redis.asyncio.Redis,
    redis_url: str,
    config: CacheConfig,
    stores: list[RedisStore | PartitionedStore | TenantStores],
) -> None:
    ids = []
    for store in stores:
        for n, scope in enumerate(SCOPES):
            tagged = [record(store, f"{tag} {n}", n, scope, tags=(tag,)) for tag in ("x", "y")]
            ids += await store.put([*tagged, record(store, f"none {n}", None, scope)])
    late = [record(store, "x 0", 0, SCOPES[0], tags=("x",)) for store in stores]
    before = await client.execute_command("FT._LIST")

    async def left() -> list[int]:
        return [await store.count(tenant) for store in stores for tenant in ("a", "b")]

    async with open_purger(redis_url, config) as (_, purger):
        assert await left() == [6, 3, 6, 3]
        assert await purger.invalidate(tags=["x"], tenant="b") == 2
        assert await left() == [6, 2, 6, 2]
        assert await purger.invalidate(tags=["x", "nothing"]) == 4
        assert await left() == [4, 2, 4, 2]
        assert await purger.invalidate(entry_ids=[str(ids[1]), "*", "../etc"]) == 2  # of each
        assert await left() == [3, 2, 3, 2]
        assert await purger.invalidate(tenant="a") == 6
        assert await left() == [0, 2, 0, 2]
        assert await purger.invalidate(tenant="a", tags=["x"]) == 0
    for store, one in zip(stores, late, strict=True):
        assert [type(error) for error in await store.put([one])] == [StaleWriteError]
        assert await text_of(store, "y 2", SCOPES[2]) == "answer to y 2"
    assert sorted(await client.execute_command("FT._LIST")) == sorted(before)


async def test_an_empty_redis_has_nothing_to_purge(redis_url: str, config: CacheConfig) -> None:
    async with open_purger(redis_url, config) as (_, purger):
        assert await purger.invalidate(tags=["x"]) == 0


async def test_who_knows_of_fewer_partitions_does_not_begin(
    redis_url: str,
    config: CacheConfig,
    stores: list[RedisStore | PartitionedStore | TenantStores],
) -> None:
    fewer = CacheConfig(name=config.name, store_timeout_s=10.0)
    if config.partitions == 1:
        async with open_purger(redis_url, fewer):
            return
    with pytest.raises(ConfigError, match=r"more partitions .*FT.DROPINDEX .*\{p2\}"):
        async with open_purger(redis_url, fewer):
            pass
    more = CacheConfig(name=config.name, partitions=7, store_timeout_s=10.0)
    async with open_purger(redis_url, more):
        pass


async def test_a_redis_that_is_not_there_is_said_at_once(name: str) -> None:
    with pytest.raises(StoreUnavailableError, match="Cannot connect"):
        async with open_purger("redis://127.0.0.1:9/0", CacheConfig(name=name)):
            pass


async def test_the_permissions_that_the_docs_list_are_enough(
    client: redis.asyncio.Redis, redis_url: str, name: str
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    block = text[text.index("ACL SETUSER") :]
    allowed = re.findall(r"\+[a-z._|]+", block[: block.index("```")])
    config = CacheConfig(name=name, index="flat", store_timeout_s=10.0)
    await client.acl_setuser(
        name, enabled=True, passwords=["+secret"], commands=allowed, keys=[f"{name}:*"]
    )
    url = redis_url.replace("unix://", f"unix://{name}:secret@")
    stream = f"{name}:events"
    try:
        async with open_store(redis_url, dim=DIM, fingerprint="first", config=config) as store:
            await store.put([record(store, "q", 0, tags=("t",)), record(store, "r", None)])
            await client.xadd(stream, {"tags": "t"})
            await client.xadd(stream, {"oh": "no"})
            await client.xgroup_create(stream, GROUP, 0)
            await client.xreadgroup(GROUP, "dead", {stream: ">"}, count=1)
            async with (
                open_purger(url, config) as (_, purger),
                consuming(url, stream, purger, claim_after_s=0.001, delete=True) as consumer,
            ):
                await settled(client, stream)
                lag = await consumer.stream.lag()
                assert (lag.pending, lag.dead, consumer.counts.removed) == (0, 1, 1)
                assert consumer.counts.failures == 0
                await client.xadd(stream, {"tenants": "a"})
                await settled(client, stream)
                assert await store.count("a") == 0
    finally:
        await client.acl_deluser(name)
