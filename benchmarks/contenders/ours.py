"""``SemanticCache.lookup``, without its memory of embeddings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from benchmarks.contenders import Contender, Setup

ENVIRONMENT = ""
PACKAGES = ("semcache-async", "onnxruntime", "openvino", "redis", "hiredis", "uvloop")

_FILLERS = 128


@asynccontextmanager
async def open_contender(setup: Setup) -> AsyncIterator[Contender]:
    from semcache_async import CacheConfig, SemanticCache
    from semcache_async.embed import load_embedder
    from semcache_async.flow.vectors import Vectors, open_vectors

    class Ours:
        def __init__(self, cache: SemanticCache, vectors: Vectors, about: str) -> None:
            self.about = about
            self._cache, self._vectors = cache, vectors

        async def fill(self, pairs: Sequence[tuple[str, str]]) -> None:
            waiting = iter(pairs)

            async def filler() -> None:
                for prompt, answer in waiting:
                    await self._cache.store(prompt, answer)

            await asyncio.gather(*[filler() for _ in range(_FILLERS)])

        async def lookup(self, prompt: str) -> str | None:
            answer = await self._cache.lookup(prompt)
            return None if answer is None else answer.text

        async def embed(self, prompt: str) -> None:
            await self._vectors.vector(prompt)

    config = CacheConfig(
        name=setup.name, max_distance=setup.max_distance, embedding_cache_size=0, ttl_jitter=0.0
    )
    embedder = await asyncio.to_thread(load_embedder, setup.model, progress=False)
    async with (
        SemanticCache.open(setup.redis_url, config=config, embedder=embedder) as cache,
        open_vectors(embedder, remembered=0) as vectors,
    ):
        yield Ours(
            cache, vectors, f"{embedder.backend}, {embedder.streams} streams, {config.index}"
        )
