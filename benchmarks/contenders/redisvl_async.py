"""RedisVL's ``SemanticCache.acheck`` with its own Hugging Face vectorizer, as documented."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.contenders import Checked, Contender, Setup, Vectors

ENVIRONMENT = "redisvl"
PACKAGES = (
    *("redisvl", "sentence-transformers", "transformers", "torch", "redis", "hiredis", "uvloop"),
)

_BATCH = 64
_FILLERS = 32
_CONNECTIONS = 2_000
"""redis-py's own 100 make requests fail in an open loop beyond its capacity."""
_TIMEOUT_S = 60
"""It embeds on the event loop: with redis-py's own timeouts, connecting fails under load."""


class RedisVLAsync(Checked):
    """``vectorizer`` has no embedding cache, so every lookup embeds, and so does every store."""

    def __init__(self, cache: Any, vectorizer: Any, about: str) -> None:
        self.about = about
        self._cache, self._vectorizer = cache, vectorizer

    async def fill(self, pairs: Sequence[tuple[str, str]], vectors: Vectors | None = None) -> None:
        prompts = [prompt for prompt, _ in pairs]
        if vectors is None:
            made = self._vectorizer.embed_many(prompts, batch_size=_BATCH)
        else:
            made = vectors.tolist()
        waiting = iter(zip(pairs, made, strict=True))

        async def filler() -> None:
            for (prompt, answer), vector in waiting:
                await self._cache.astore(prompt, answer, vector=vector)

        await asyncio.gather(*[filler() for _ in range(_FILLERS)])

    async def lookup(self, prompt: str) -> str | None:
        found = await self._cache.acheck(prompt)
        return found[0]["response"] if found else None

    async def store(self, prompt: str, answer: str) -> None:
        await self._cache.astore(prompt, answer)

    async def embed(self, prompt: str) -> None:
        await self._vectorizer.aembed(prompt)


@asynccontextmanager
async def open_redisvl(setup: Setup) -> AsyncIterator[tuple[Any, Any, str]]:
    """Its cache, its vectorizer, and what they run on."""
    import torch  # type: ignore[import-not-found]
    from redisvl.extensions.cache.llm import SemanticCache
    from redisvl.utils.vectorize import HFTextVectorizer

    # it would warn of its own vectorizer at every lookup
    logging.getLogger("redisvl").setLevel(logging.ERROR)
    vectorizer = HFTextVectorizer(model=str(setup.model), device="cpu")
    cache = SemanticCache(
        name=setup.name,
        distance_threshold=setup.max_distance,
        vectorizer=vectorizer,
        redis_url=setup.redis_url,
        connection_kwargs={
            "max_connections": _CONNECTIONS,
            "socket_timeout": _TIMEOUT_S,
            "socket_connect_timeout": _TIMEOUT_S,
        },
    )
    vectors = cache.index.schema.fields["prompt_vector"].attrs
    index = f"{vectors.algorithm.value} {vectors.datatype.value}".lower()
    try:
        about = f"torch f32, {torch.get_num_threads()} threads, {index}"
        yield cache, vectorizer, about
    finally:
        await cache.adisconnect()


@asynccontextmanager
async def open_contender(setup: Setup) -> AsyncIterator[Contender]:
    async with open_redisvl(setup) as (cache, vectorizer, about):
        yield RedisVLAsync(cache, vectorizer, about)
