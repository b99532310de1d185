"""``SemanticCache``, without its memory of embeddings, by its public names alone: what runs here
may be another checkout's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import Contender, Generate, Setup, Vectors

if TYPE_CHECKING:
    from semcache_async import SemanticCache
    from semcache_async.embed import TextEmbedder
    from semcache_async.protocols import Embedder

ENVIRONMENT = ""
PACKAGES = ("semcache-async", "onnxruntime", "openvino", "redis", "hiredis", "uvloop")

_FILLERS = 128


class Ours:
    def __init__(self, cache: SemanticCache, about: str) -> None:
        self.cache, self.about = cache, about

    async def fill(self, pairs: Sequence[tuple[str, str]], vectors: Vectors | None = None) -> None:
        waiting = iter(pairs)

        async def filler() -> None:
            for prompt, answer in waiting:
                await self.cache.store(prompt, answer)

        await asyncio.gather(*[filler() for _ in range(_FILLERS)])

    async def lookup(self, prompt: str) -> str | None:
        answer = await self.cache.lookup(prompt)
        return None if answer is None else answer.text

    async def embed(self, prompt: str) -> None:
        await self.cache.embed([prompt])

    async def get_or_generate(self, prompt: str, generate: Generate) -> str:
        return (await self.cache.get_or_generate(prompt, generate)).text


@asynccontextmanager
async def open_ours(
    setup: Setup,
    kind: type[Ours] = Ours,
    *,
    using: Callable[[TextEmbedder], Embedder] | None = None,
    **config: Any,
) -> AsyncIterator[Ours]:
    """``using``: makes another embedder of the default one. ``config``: what differs."""
    from semcache_async import CacheConfig, SemanticCache
    from semcache_async.embed import load_embedder

    config = {"embedding_cache_size": 0, "ttl_jitter": 0.0, **config}
    made = CacheConfig(name=setup.name, max_distance=setup.max_distance, **config)
    packed = await asyncio.to_thread(load_embedder, setup.model, progress=False)
    embedder: Embedder = packed if using is None else await asyncio.to_thread(using, packed)
    backend = getattr(embedder, "backend", type(embedder).__name__)
    streams = getattr(embedder, "streams", 1)
    async with SemanticCache.open(setup.redis_url, config=made, embedder=embedder) as cache:
        yield kind(cache, f"{backend}, {streams} streams, {made.index} {made.vector_dtype}")


@asynccontextmanager
async def open_contender(setup: Setup) -> AsyncIterator[Contender]:
    async with open_ours(setup) as ours:
        yield ours
