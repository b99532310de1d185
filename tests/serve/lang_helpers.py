"""A service with an embedder one can reason about, with or without an LLM."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import Any, cast

from aiohttp.test_utils import TestClient, TestServer

from semcache_async import CacheConfig, SemanticCache
from semcache_async.protocols import Embedder
from semcache_async.serve.app import make_app
from semcache_async.serve.journal import Journal
from semcache_async.serve.keys import KeyRing
from semcache_async.serve.metrics import Metrics
from semcache_async.serve.service import Service
from semcache_async.serve.settings import Settings
from semcache_async.serve.simulate import SimulatorOptions, make_simulator
from semcache_async.serve.upstream import open_upstream
from semcache_async.testing import AngleEmbedder
from semcache_async.types import Answer, Scope

Client = TestClient[Any, Any]

TIGHT = 0.01
"""max_distance: 8 degrees apart is near (0.0097), 9 is not (0.0123)."""


class Notes:
    """A journal that keeps what it is told."""

    def __init__(self) -> None:
        self.hits: list[tuple[str, Answer]] = []

    def note_hit(self, *, prompt: str, answer: Answer, scope: Scope) -> None:
        self.hits.append((prompt, answer))


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
    config = CacheConfig(
        **{
            "name": name,
            "max_distance": TIGHT,
            "index": "flat",
            "vector_dtype": "float32",
            **cache,
        }
    )
    settings = Settings(cache=config, **options)
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(
            SemanticCache.open(redis_url, config=config, embedder=embedder or AngleEmbedder())
        )
        upstream = cast("Any", None)
        if llm is not None:
            server = await stack.enter_async_context(TestServer(make_simulator(llm)))
            url = str(server.make_url("/v1"))
            upstream = await stack.enter_async_context(open_upstream(url, settings))
        metrics = Metrics(settings)
        metrics.watch(opened)
        service = Service(
            cache=opened,
            settings=settings,
            keys=keys or KeyRing(),
            upstream=upstream,
            metrics=metrics,
            journal=cast("Journal", Notes()),
        )
        client = await stack.enter_async_context(TestClient(TestServer(make_app(service))))
        yield client, service


def notes(service: Service) -> list[tuple[str, Answer]]:
    """What the journal was told."""
    return cast("Notes", service.journal).hits
