"""Opening the stores of a Redis: connections, a store for each partition, a proof that it works."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from semcache_async.config import CacheConfig
from semcache_async.errors import StoreUnavailableError
from semcache_async.store.clock import ServerClock
from semcache_async.store.entries.fences import Fences
from semcache_async.store.entries.schema import IndexShape
from semcache_async.store.keys import KeySpace, partitions
from semcache_async.store.redis_store import RedisStore
from semcache_async.store.sealing import sealer_of
from semcache_async.store.wire import redis_pipelines
from semcache_async.store.wire.address import check_database
from semcache_async.store.wire.server import warn_if_old

__all__ = ["redis_store", "redis_stores"]

_TRIES = 3


@asynccontextmanager
async def redis_store(
    url: str,
    *,
    dim: int,
    fingerprint: str,
    config: CacheConfig,
    clock: ServerClock | None = None,
) -> AsyncIterator[RedisStore]:
    """The store of the first partition; see ``redis_stores``."""
    opened = redis_stores(url, dim=dim, fingerprint=fingerprint, config=config, clock=clock)
    async with opened as stores:
        yield stores[0]


@asynccontextmanager
async def redis_stores(
    url: str,
    *,
    dim: int,
    fingerprint: str,
    config: CacheConfig,
    clock: ServerClock | None = None,
    timeout_s: float | None = None,
) -> AsyncIterator[list[RedisStore]]:
    """A store for each partition, which has proved it can write an entry and find it again. They
    share the connections to a server: one is kept for writing; one more is opened where evidence is
    to be noted.

    Raises ``ConfigError``, ``StoreUnavailableError``, ``StoreAuthError``,
    ``SearchModuleMissingError`` or ``IndexMismatchError``, each within a few
    ``config.store_timeout_s``.
    """
    sealer = sealer_of(config.encryption_keys)
    shape = IndexShape(dim, config.vector_dtype, config.index)
    timeout_s = timeout_s or config.store_timeout_s
    async with (
        redis_pipelines(url, connections=config.connections - 1, timeout_s=timeout_s) as pipelines,
        redis_pipelines(url, connections=1, timeout_s=timeout_s) as writing,
        redis_pipelines(url, connections=1, timeout_s=timeout_s) as noting,
    ):
        check_database(url)
        stores: list[RedisStore] = []
        for partition in partitions(config.partitions):
            keys = KeySpace(config.name, shape.fingerprint(fingerprint), config.secret, partition)
            store = RedisStore(
                pipelines.at(partition),
                writing.at(partition),
                noting.at(partition),
                keys,
                shape,
                Fences(config),
                clock or ServerClock(),
                lease_s=config.lease_s,
                sealer=sealer,
            )
            hello = await _prepared(store)
            if not stores:
                warn_if_old(url, hello)
            stores.append(store)
        yield stores


async def _prepared(store: RedisStore) -> Mapping[bytes, Any]:
    """Where everything starts at once, a machine may be late."""
    for _ in range(_TRIES - 1):
        with suppress(StoreUnavailableError):
            return await store.prepare()
    return await store.prepare()
