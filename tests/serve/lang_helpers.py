"""A service by its client, with or without an LLM."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import Any

from aiohttp.test_utils import TestServer

from semcache_async.protocols import Embedder
from semcache_async.serve.keys import KeyRing
from semcache_async.serve.service import Service
from semcache_async.simulator import SimulatorOptions, make_simulator
from tests.serve.running import NOWHERE, Client, client_of, notes, service_for

__all__ = ["Client", "notes", "serving"]


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
