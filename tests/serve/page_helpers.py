"""The whole service in this process, in front of a quick simulated LLM."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp.test_utils import TestServer

from semcache_async import CacheConfig
from semcache_async.protocols import Embedder
from semcache_async.serve.keys import hash_key
from semcache_async.serve.run import Part, bind, listening, open_service
from semcache_async.serve.service import Service
from semcache_async.serve.settings import Settings
from semcache_async.serve.simulate import SimulatorOptions, make_simulator

ADMIN_KEY, ACME_KEY = "sk-admin-key-of-a-test", "sk-acme-key-of-a-test"


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
    embedder: Embedder,
    *,
    max_distance: float = 0.1,
    keys: Path | None = None,
    llm_ms: float = 0.0,
) -> AsyncIterator[tuple[str, Service]]:
    """The service's URL and what its handlers share."""
    settings = Settings(
        simulate_llm=True,
        api_keys_file=keys,
        drain_timeout_s=1.0,
        cache=CacheConfig(name=name, max_distance=max_distance),
    )
    options = SimulatorOptions(median_ms=llm_ms, tokens_per_s=0.0, tokens=24)
    async with TestServer(make_simulator(options)) as llm:
        part = Part(redis_url=redis_url, upstream_url=str(llm.make_url("/v1")), port=0)
        async with open_service(settings, part, embedder=embedder) as service:
            with bind("127.0.0.1", 0) as sock:
                url = f"http://127.0.0.1:{sock.getsockname()[1]}"
                async with listening(service, sock):
                    yield url, service
