"""A cache that can be told of changes, without its model: what is gone needs no vector."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from semcache_async.config import CacheConfig
from semcache_async.store import open_removing
from semcache_async.store.partitioned.partitions import PartitionedStore
from semcache_async.store.redis_store import RedisStore
from semcache_async.worker.events import Purger

__all__ = ["open_purger"]


@asynccontextmanager
async def open_purger(url: str, config: CacheConfig) -> AsyncIterator[tuple[str, Purger]]:
    """The URL of the cache's Redis, and what purges there. Raises as ``SemanticCache.open``."""
    async with open_removing(url, config) as (found, store):
        yield found, _StorePurger(store)


class _StorePurger:
    def __init__(self, store: RedisStore | PartitionedStore) -> None:
        self._store = store

    async def invalidate(
        self,
        *,
        tenant: str | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
    ) -> int:
        return await self._store.remove(tenant=tenant, tags=tags, entry_ids=entry_ids)

    async def bump_version(self, namespace: str) -> int:
        return await self._store.bump(namespace)
