"""Opening the stores of a Redis: connections, a store for each partition, a proof that it works."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from semcache_async.config import CacheConfig
from semcache_async.errors import ConfigError, StoreUnavailableError
from semcache_async.protocols import Embedder
from semcache_async.store.clock import ServerClock
from semcache_async.store.entries.fences import Fences
from semcache_async.store.entries.schema import IndexShape
from semcache_async.store.keys import KeySpace, beyond, partitions
from semcache_async.store.redis_store import RedisStore
from semcache_async.store.sealing import sealer_of
from semcache_async.store.wire import redis_pipelines
from semcache_async.store.wire.address import check_database
from semcache_async.store.wire.server import warn_if_old
from semcache_async.types import Vector

__all__ = ["known_of", "redis_store", "redis_stores", "removing_stores"]

_TRIES = 3


def known_of(embedder: Embedder) -> dict[str, Any]:
    """The arguments ``dim``, ``fingerprint`` and ``probe`` of a store of its vectors."""
    return {
        "dim": embedder.dim,
        "fingerprint": embedder.fingerprint,
        "probe": getattr(embedder, "probe", None),
    }


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
    probe: Vector | None = None,
) -> AsyncIterator[list[RedisStore]]:
    """A store for each partition, which has proved it can write an entry and find it again. They
    share the connections to a server: one is kept for writing; one more is opened where evidence is
    to be noted. ``probe``: of an embedder that may change behind its name, its vector of a text
    that stays the same.

    Raises ``ConfigError``, ``StoreUnavailableError``, ``StoreAuthError``,
    ``SearchModuleMissingError`` or ``IndexMismatchError``, each within a few
    ``config.store_timeout_s``.
    """
    shape = IndexShape(dim, config.vector_dtype, config.index)
    made = _stores(url, shape, shape.fingerprint(fingerprint), config, clock, timeout_s)
    async with made as stores:
        hellos = [await _patiently(store.prepare) for store in stores]
        warn_if_old(url, hellos[0])
        if probe is not None:
            await stores[0].recognise(probe)
        yield stores


@asynccontextmanager
async def removing_stores(
    url: str, *, config: CacheConfig, timeout_s: float | None = None
) -> AsyncIterator[list[RedisStore]]:
    """Stores without an index of their own, for those who know no model: by them can be removed
    what any model has made, and nothing else be done. Raises as ``redis_stores`` does, and
    ``ConfigError`` where there are more partitions than ``config`` says: what lies there would be
    left."""
    shape = IndexShape(1, config.vector_dtype, config.index)
    async with _stores(url, shape, "", config, None, timeout_s) as stores:
        for store in stores:
            await _patiently(store.greet)
            if left := beyond(await store.indexes(), config.name, config.partitions):
                raise ConfigError(
                    f"The cache {config.name!r} has more partitions than the "
                    f"{config.partitions} that are configured here; set partitions as its service "
                    f"has it, or where that has fewer now, drop what is left of the others: "
                    + ", ".join(f"FT.DROPINDEX {index} DD" for index in left)
                )
        yield stores


@asynccontextmanager
async def _stores(
    url: str,
    shape: IndexShape,
    fingerprint: str,
    config: CacheConfig,
    clock: ServerClock | None,
    timeout_s: float | None,
) -> AsyncIterator[list[RedisStore]]:
    """Those that nobody has spoken to yet."""
    sealer = sealer_of(config)
    timeout_s = timeout_s or config.store_timeout_s
    async with (
        redis_pipelines(url, connections=config.connections - 1, timeout_s=timeout_s) as pipelines,
        redis_pipelines(url, connections=1, timeout_s=timeout_s) as writing,
        redis_pipelines(url, connections=1, timeout_s=timeout_s) as noting,
    ):
        check_database(url)
        yield [
            RedisStore(
                pipelines.at(partition),
                writing.at(partition),
                noting.at(partition),
                KeySpace(
                    *(config.name, fingerprint, config.secret, partition),
                    widenable=config.widenable,
                ),
                shape,
                Fences(config),
                clock or ServerClock(),
                lease_s=config.lease_s,
                sealer=sealer,
                reach=config.max_distance,
            )
            for partition in partitions(config.partitions)
        ]


async def _patiently(ready: Callable[[], Awaitable[Mapping[bytes, Any]]]) -> Mapping[bytes, Any]:
    """Where everything starts at once, a machine may be late."""
    for _ in range(_TRIES - 1):
        with suppress(StoreUnavailableError):
            return await ready()
    return await ready()
