"""FastAPI: one cache for an application, handed to whoever depends on it::

app = FastAPI(lifespan=semcache_lifespan("redis://localhost:6379/0"))

@app.get("/ask")
async def ask(prompt: str, cache: Cache) -> str: ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any, TypeAlias

from fastapi import Depends
from fastapi.requests import HTTPConnection

from semcache_async.cache import SemanticCache
from semcache_async.errors import ConfigError

__all__ = ["Cache", "get_cache", "semcache_lifespan"]

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]

_STATE = "semcache"


def semcache_lifespan(
    redis_url: str | None = None, *, lifespan: Lifespan | None = None, **options: Any
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """A lifespan in which a cache is open: ``SemanticCache.open(redis_url, **options)``, as
    ``request.state.semcache``. ``lifespan``: one of your own, which runs while the cache is open,
    and whose state is kept."""

    @asynccontextmanager
    async def opened(app: Any) -> AsyncIterator[dict[str, Any]]:
        async with SemanticCache.open(redis_url, **options) as cache:
            if lifespan is None:
                yield {_STATE: cache}
                return
            async with lifespan(app) as state:
                yield {**(state or {}), _STATE: cache}

    return opened


async def get_cache(connection: HTTPConnection) -> SemanticCache:
    """The application's cache; ``ConfigError`` where none is open. What to override in tests."""
    cache = connection.scope.get("state", {}).get(_STATE)
    if not isinstance(cache, SemanticCache):
        raise ConfigError(
            "No cache is open: give the application its lifespan, "
            "FastAPI(lifespan=semcache_lifespan(...)), and in a test enter the client, "
            "with TestClient(app) as client."
        )
    return cache


Cache = Annotated[SemanticCache, Depends(get_cache)]
"""An endpoint's parameter of this type is the application's cache."""
