"""Where answers are kept: Redis, one's own or an embedded one."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from semcache_async.config import CacheConfig
from semcache_async.errors import ConfigError
from semcache_async.protocols import Embedder
from semcache_async.store.opening import known_of
from semcache_async.store.partitioned.partitions import (
    PartitionedStore,
    open_removing_store,
    open_store,
)
from semcache_async.store.redis_store import RedisStore
from semcache_async.store.tenants import TenantStores

__all__ = ["open_redis", "open_removing", "redis_at"]

_EMBEDDED = "embedded:"
_logger = logging.getLogger("semcache_async")


@asynccontextmanager
async def open_redis(
    url: str | None, embedder: Embedder, config: CacheConfig
) -> AsyncIterator[tuple[str, RedisStore | PartitionedStore | TenantStores]]:
    """The URL of the Redis that ``url`` means (see ``SemanticCache.open``), and a store in it for
    the embedder's vectors."""
    async with (
        redis_at(url) as found,
        open_store(found, config=config, **known_of(embedder)) as store,
    ):
        if not config.models:
            _warn_of_unmoved(store.unmoved, config.name)
        yield found, store


@asynccontextmanager
async def open_removing(
    url: str, config: CacheConfig
) -> AsyncIterator[tuple[str, RedisStore | PartitionedStore]]:
    """The same for those who know no model, and only remove."""
    async with redis_at(url) as found, open_removing_store(found, config=config) as store:
        yield found, store


@asynccontextmanager
async def redis_at(url: str | None) -> AsyncIterator[str]:
    """The URL of the Redis that ``url`` means; an embedded one runs for as long as this lasts."""
    if url is not None and not url.startswith(_EMBEDDED):
        yield url
        return
    from semcache_async.store.embedded import embedded_redis

    directory = None if url is None else url.removeprefix(_EMBEDDED)
    if directory == "":
        raise ConfigError('Name a directory after "embedded:", or give no URL at all.')
    async with embedded_redis(None if directory is None else Path(directory)) as held:
        yield held


def _warn_of_unmoved(unmoved: Mapping[str, int], name: str) -> None:
    if unmoved:
        _logger.warning(
            "the index of this model is empty, and %s of another one (%s): until they are moved "
            "they answer exact repeats only. Move them: semcache migrate --name %s --redis-url ...",
            f"{sum(unmoved.values()):,} entries are",
            ", ".join(f"{fingerprint}: {n:,}" for fingerprint, n in sorted(unmoved.items())),
            name,
        )
