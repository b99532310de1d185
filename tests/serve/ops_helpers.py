"""A service without Redis and LLM, for what concerns every protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from semcache_async import CacheConfig, SemanticCache
from semcache_async.serve.app import make_app
from semcache_async.serve.keys import KeyRing
from semcache_async.serve.metrics import Metrics
from semcache_async.serve.service import Service
from semcache_async.serve.settings import Settings
from semcache_async.testing import AngleEmbedder, MemoryStore

Client = TestClient[Any, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def service_for(
    settings: Settings | None = None, *, keys: KeyRing | None = None, **options: Any
) -> AsyncIterator[Service]:
    """A service with a cache in memory, or one that ``options`` describes."""
    settings = settings or Settings()
    options = {"store": MemoryStore(), "config": CacheConfig(name="ops"), **options}
    async with SemanticCache.open(embedder=AngleEmbedder(), **options) as cache:
        metrics = Metrics(settings)
        metrics.watch(cache)
        yield Service(
            cache=cache,
            settings=settings,
            keys=keys or KeyRing(),
            upstream=cast("Any", None),
            metrics=metrics,
            journal=cast("Any", None),
        )


@asynccontextmanager
async def client_of(service: Service, **handlers: Handler) -> AsyncIterator[Client]:
    """A client of its app, with each of ``handlers`` at ``/{name}``, ``/v1/{name}`` and
    ``/v1/caches/c/{name}``."""
    app = make_app(service)
    for name, handler in handlers.items():
        for prefix in ("", "/v1", "/v1/caches/c"):
            app.router.add_route("*", f"{prefix}/{name}", handler)
    async with TestClient(TestServer(app)) as client:
        yield client


def raising(error: BaseException) -> Handler:
    async def handle(_request: web.Request) -> web.StreamResponse:
        raise error

    return handle
