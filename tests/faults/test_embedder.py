"""A remote embedder, served by our own ``/v1/embeddings``, that is killed, slowed and cut off under
load: nobody waits for long, nothing wrong is served, exact repeats are, and it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from semcache_async import CacheConfig, RemoteEmbedder, SemanticCache, Source
from semcache_async.serve.openai.embeddings import MODELS
from semcache_async.testing import AngleEmbedder, MemoryStore
from tests.faults.proxy import Proxy, proxied
from tests.helpers import SLOW_ON_DEBUG, GatedLLM, check_sums, until
from tests.serve.running import client_of, service_for

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers"), SLOW_ON_DEBUG]

NEAR = CacheConfig(max_distance=0.01, guards=(), lookup_budget_s=2.0, embedding_cache_size=0)
"""8 degrees are near; every prompt is embedded anew."""
LONG_S = 20.0
"""Beyond what anybody may wait, however busy the machine is."""


@asynccontextmanager
async def setup() -> AsyncIterator[tuple[SemanticCache, Proxy]]:
    """A cache whose embedder is another service's, behind a proxy; 36 answers, 10 degrees apart."""
    llm = GatedLLM(opened=True)
    async with (
        service_for(embedder=AngleEmbedder()) as service,
        client_of(service) as client,
        proxied(str(client.make_url("/v1"))) as (proxy, url),
        RemoteEmbedder.open(
            url, model=MODELS[0], timeout_s=0.6, streams=4, most_texts=8
        ) as embedder,
        SemanticCache.open(store=MemoryStore(), embedder=embedder, config=NEAR) as cache,
    ):
        for n in range(36):
            await cache.get_or_generate(f"x at {10 * n}", llm)
        yield cache, proxy


async def ask(cache: SemanticCache, n: int) -> Source | None:
    """Of every four, two are exact repeats; the others 2 degrees away from one. What is served is
    right, and at once."""
    repeats = n % 2
    angle = 10 * (n % 36)
    prompt = f"x at {angle}" if repeats else f"y{n} at {angle + 2}"
    async with asyncio.timeout(LONG_S):
        answer = await cache.lookup(prompt)
    if answer is None:
        assert not repeats
        return None
    assert answer.text == f"answer to x at {angle}"
    assert answer.source is (Source.EXACT if repeats else Source.SEMANTIC)
    return answer.source


async def all_served(cache: SemanticCache) -> None:
    """Every one of 200 requests, now or soon; the test's time limit bounds it."""
    while True:
        found = await asyncio.gather(*(ask(cache, n) for n in range(200)))
        assert found.count(Source.EXACT) == 100
        if found.count(Source.SEMANTIC) == 100:
            return


def killed(proxy: Proxy) -> None:
    proxy.refuses = True
    proxy.reset()


def hung(proxy: Proxy) -> None:
    proxy.black_hole = True


def slowed(proxy: Proxy) -> None:
    proxy.latency_s = 1.0


def trickling(proxy: Proxy) -> None:
    proxy.trickle = (16, 0.05)


def forgotten(proxy: Proxy) -> None:
    proxy.forget()


def cut(proxy: Proxy) -> None:
    proxy.reset_after("replies", 700)


def healed(proxy: Proxy) -> None:
    proxy.refuses = proxy.black_hole = False
    proxy.latency_s, proxy.trickle = 0.0, None
    proxy.reset()


@pytest.mark.parametrize("fault", [killed, hung, slowed, trickling, forgotten, cut])
async def test_under_load(fault: Callable[[Proxy], None]) -> None:
    async with setup() as (cache, proxy):
        await all_served(cache)
        asked = cache.stats().embed_requests
        running = [asyncio.create_task(ask(cache, n)) for n in range(200)]
        await until(lambda: cache.stats().embed_requests > asked)
        fault(proxy)
        during = await asyncio.gather(*running, *(ask(cache, n) for n in range(200, 400)))
        assert during.count(Source.EXACT) == 200
        if fault not in (cut, forgotten):  # which pass by themselves
            await until(lambda: not cache.stats().embedder_up)
            skipped = cache.stats().embed_skips
            later = [await ask(cache, n) for n in range(400, 440)]
            assert (later.count(Source.EXACT), later.count(None)) == (20, 20)
            assert cache.stats().embed_skips >= skipped + 20  # nobody waited
        healed(proxy)
        await until(lambda: cache.stats().embedder_up)
        await all_served(cache)
        assert check_sums(cache).embedder_up
