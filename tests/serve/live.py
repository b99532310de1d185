"""The whole service on a loopback port, with a simulated LLM behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from semcache_async import CacheConfig
from semcache_async.serve.keys import KeyRing
from semcache_async.serve.run import Part, bind, listening, open_service
from semcache_async.serve.service import Service
from semcache_async.serve.settings import Settings
from semcache_async.serve.simulate import SIMULATOR, Simulator, SimulatorOptions, make_simulator
from semcache_async.testing import AngleEmbedder

__all__ = ["AT_ONCE", "Live", "live"]

AT_ONCE = SimulatorOptions(median_ms=0.0, tokens_per_s=0.0, tokens=5, api_key="sk-upstream")
TIGHT = 0.01
"""max_distance: with the ``AngleEmbedder`` 8 degrees apart is near, 9 is not."""


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
    redis_url: str,
    name: str,
    *,
    keys: KeyRing | None = None,
    simulator: SimulatorOptions = AT_ONCE,
    llm: web.Application | None = None,
    cache: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Live]:
    """Everything as ``semcache serve`` runs it, but for the process and the embedding model.
    ``llm``: an upstream in the simulator's place."""
    config = CacheConfig(**{"name": name, "max_distance": TIGHT, "index": "flat", **(cache or {})})
    settings = {"upstream_key": "sk-upstream", "drain_timeout_s": 1.0, **settings}
    app = make_simulator(simulator)
    async with TestServer(llm or app) as upstream:
        part = Part(redis_url=redis_url, upstream_url=str(upstream.make_url("/v1")), port=0)
        with bind("127.0.0.1", 0) as sock:
            async with open_service(
                Settings(cache=config, **settings), part, embedder=AngleEmbedder()
            ) as service:
                if keys is not None:
                    service.keys = keys
                async with listening(service, sock):
                    port = sock.getsockname()[1]
                    yield Live(f"http://127.0.0.1:{port}", port, service, app[SIMULATOR])
    await asyncio.sleep(0)
