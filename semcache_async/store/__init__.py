"""Where answers are kept: Redis, one's own or an embedded one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from semcache_async.config import CacheConfig
from semcache_async.errors import ConfigError
from semcache_async.store.redis_store import RedisStore, redis_store

__all__ = ["open_redis"]

_EMBEDDED = "embedded:"


@asynccontextmanager
async def open_redis(
    url: str | None, dim: int, fingerprint: str, config: CacheConfig
) -> AsyncIterator[tuple[str, RedisStore]]:
    """The URL of the Redis that ``url`` means (see ``SemanticCache.open``), and a store in it."""
    async with AsyncExitStack() as stack:
        if url is None or url.startswith(_EMBEDDED):
            from semcache_async.store.embedded import embedded_redis

            directory = None if url is None else url.removeprefix(_EMBEDDED)
            if directory == "":
                raise ConfigError('Name a directory after "embedded:", or give no URL at all.')
            url = await stack.enter_async_context(
                embedded_redis(None if directory is None else Path(directory))
            )
        store = await stack.enter_async_context(
            redis_store(url, dim=dim, fingerprint=fingerprint, config=config)
        )
        yield url, store
