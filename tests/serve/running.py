"""The one service that all tests of ``serve`` run: in this process, with stand-ins for what a test
does not name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from semcache_async import CacheConfig, SemanticCache
from semcache_async.protocols import Embedder, Store
from semcache_async.serve.app import PROTOCOLS, make_app
from semcache_async.serve.http.responses import render_problem
from semcache_async.serve.journal import Journal
from semcache_async.serve.keys import KeyRing, hash_key
from semcache_async.serve.metrics.metrics import Metrics
from semcache_async.serve.process.server import Part, bind, listening, open_service
from semcache_async.serve.protocol import Access, Protocol, Route
from semcache_async.serve.service import Service
from semcache_async.serve.settings import Settings
from semcache_async.serve.upstream.judge import judge_of
from semcache_async.serve.upstream.routing import open_upstreams
from semcache_async.simulator import SIMULATOR, Simulator, SimulatorOptions, make_simulator
from semcache_async.testing import AngleEmbedder, MemoryStore
from semcache_async.types import Answer, Scope
from tests.helpers import until

__all__ = [
    "ACME_KEY",
    "ADMIN_KEY",
    "AT_ONCE",
    "Client",
    "Clock",
    "Handler",
    "Live",
    "client_of",
    "live",
    "notes",
    "raising",
    "service_for",
    "serving",
    "settled",
    "write_keys",
]

Client = TestClient[Any, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

AT_ONCE = SimulatorOptions(median_ms=0.0, tokens_per_s=0.0, tokens=5, api_key="sk-upstream")
TIGHT = {"max_distance": 0.01, "index": "flat"}
"""With the ``AngleEmbedder`` 8 degrees apart is near (0.0097), 9 is not (0.0123)."""
NOWHERE = "http://127.0.0.1:9/v1"
"""An upstream that no test asks."""
ADMIN_KEY, ACME_KEY = "sk-admin-key-of-a-test", "sk-acme-key-of-a-test"


class Clock:
    """A clock to hold: it goes on only when it is told to."""

    def __init__(self, now: float | None = None) -> None:
        self.now = time.time() if now is None else now

    def __call__(self) -> float:
        return self.now


class Notes:
    """A journal that keeps what it is told."""

    def __init__(self) -> None:
        self.hits: list[tuple[str, Answer]] = []

    def note_hit(self, *, prompt: str, answer: Answer, scope: Scope) -> None:
        self.hits.append((prompt, answer))


def notes(service: Service) -> list[tuple[str, Answer]]:
    """What the journal was told."""
    return cast("Notes", service.journal).hits


@asynccontextmanager
async def service_for(
    settings: Settings | None = None,
    *,
    upstream_url: str | None = NOWHERE,
    redis_url: str | None = None,
    store: Store | None = None,
    embedder: Embedder | None = None,
    keys: KeyRing | None = None,
    cache: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Service]:
    """A service with ``settings``, or those that ``cache`` and ``options`` say. Its entries are in
    memory unless it has a ``redis_url``."""
    if settings is None:
        config = CacheConfig(**{"name": "serve", **TIGHT, **(cache or {})})
        if "upstreams" in options:
            options["upstream_url"] = upstream_url
        settings = Settings(cache=config, **options)
    if redis_url is None and store is None:
        store = MemoryStore()
    metrics = Metrics(settings)
    async with (
        open_upstreams(upstream_url, settings, counts=metrics) as upstreams,
        SemanticCache.open(
            redis_url,
            config=settings.cache,
            embedder=embedder or AngleEmbedder(),
            store=store,
            judge=judge_of(settings, upstreams),
        ) as opened,
    ):
        metrics.watch(opened)
        yield Service(
            cache=opened,
            settings=settings,
            keys=keys or KeyRing.of(settings),
            upstreams=upstreams,
            metrics=metrics,
            journal=cast("Journal", Notes()),
        )


@asynccontextmanager
async def client_of(
    service: Service,
    *,
    access: Access = Access.OPEN,
    handlers: Mapping[str, Handler] | None = None,
    **named: Handler,
) -> AsyncIterator[Client]:
    """A client of its app, with each handler at ``/{name}``, ``/v1/{name}`` and
    ``/v1/caches/c/{name}``."""

    def handled(handler: Handler) -> Callable[[Service, web.Request], Any]:
        async def handle(_service: Service, request: web.Request) -> web.StreamResponse:
            return await handler(request)

        return handle

    ours = Protocol(
        name="ours",
        render=render_problem,
        routes=[
            Route("*", f"{prefix}/{name}", access, handled(handler), {})
            for name, handler in {**(handlers or {}), **named}.items()
            for prefix in ("", "/v1", "/v1/caches/c")
        ],
    )
    server = TestServer(make_app(service, protocols=(*PROTOCOLS, ours)))
    await server.start_server(auto_decompress=False)
    async with TestClient(server) as client:
        yield client


def raising(error: BaseException) -> Handler:
    async def handle(_request: web.Request) -> web.StreamResponse:
        raise error

    return handle


async def settled(service: Service) -> None:
    """Return once every answer under way is stored: a stream's reader has it before that."""
    await until(lambda: service.cache.stats().flights == 0)


def write_keys(path: Path) -> Path:
    """A file with the two keys."""
    path.write_text(
        f'[[keys]]\nhash = "{hash_key(ADMIN_KEY)}"\nadmin = true\n'
        f'[[keys]]\nhash = "{hash_key(ACME_KEY)}"\ntenant = "acme"\n'
    )
    return path


@asynccontextmanager
async def serving(
    redis_url: str | None,
    name: str,
    *,
    keys: KeyRing | None = None,
    embedder: Embedder | None = None,
    llm: SimulatorOptions | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
    **cache: Any,
) -> AsyncIterator[tuple[Client, Service]]:
    """A client of the service, and the service. ``llm``: with a simulated one behind it."""
    async with AsyncExitStack() as stack:
        url = NOWHERE
        if llm is not None:
            server = await stack.enter_async_context(TestServer(make_simulator(llm)))
            url = str(server.make_url("/v1"))
        service = await stack.enter_async_context(
            service_for(
                upstream_url=url,
                redis_url=redis_url,
                embedder=embedder,
                keys=keys,
                cache={"name": name, **cache},
                **options,
            )
        )
        yield await stack.enter_async_context(client_of(service)), service


@dataclass(frozen=True)
class Live:
    """A service that listens."""

    url: str
    """Without a slash at the end."""
    port: int
    service: Service
    simulator: Simulator


@asynccontextmanager
async def live(
    redis_url: str | None = None,
    name: str = "live",
    *,
    embedder: Embedder | None = None,
    keys: KeyRing | None = None,
    simulator: SimulatorOptions = AT_ONCE,
    llm: web.Application | None = None,
    cache: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Live]:
    """Everything as ``semcache serve`` runs it, but for the process and, unless one is given, the
    embedding model. ``llm``: an upstream in the simulator's place."""
    config = CacheConfig(**{"name": name, **TIGHT, **(cache or {})})
    settings = {"upstream_key": "sk-upstream", "drain_timeout_s": 1.0, **settings}
    app = make_simulator(simulator)
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(TestServer(llm or app))
        part = Part(redis_url=redis_url, upstream_url=str(upstream.make_url("/v1")), port=0)
        service = await stack.enter_async_context(
            open_service(
                Settings(cache=config, **settings), part, embedder=embedder or AngleEmbedder()
            )
        )
        if keys is not None:
            service.keys = keys
        sock = stack.enter_context(bind("127.0.0.1", 0))
        await stack.enter_async_context(listening(service, sock))
        port = sock.getsockname()[1]
        yield Live(f"http://127.0.0.1:{port}", port, service, app[SIMULATOR])
    await asyncio.sleep(0)
