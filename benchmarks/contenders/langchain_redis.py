"""langchain-redis' ``RedisSemanticCache``, asynchronously, with our model as its embeddings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.contenders import Checked, Contender, Setup, Vectors

ENVIRONMENT = "langchain-redis"
PACKAGES = (
    *("langchain-redis", "langchain-core", "redisvl", "sentence-transformers", "transformers"),
    *("torch", "redis", "hiredis", "uvloop"),
)

_LLM = "simulated"
_BATCH = 64
_FILLERS = 32
_CONNECTIONS, _TIMEOUT_S = 2_000, 60
"""As for RedisVL."""


class _LangChain(Checked):
    def __init__(self, cache: Any, embeddings: Any, about: str) -> None:
        self.about = about
        self._cache, self._embeddings = cache, embeddings

    async def fill(self, pairs: Sequence[tuple[str, str]], vectors: Vectors | None = None) -> None:
        self._embeddings.know([prompt for prompt, _ in pairs], vectors)
        waiting = iter(pairs)

        async def filler() -> None:
            for prompt, answer in waiting:
                await self.store(prompt, answer)

        await asyncio.gather(*[filler() for _ in range(_FILLERS)])
        self._embeddings.known.clear()

    async def lookup(self, prompt: str) -> str | None:
        found = await self._cache.alookup(prompt, _LLM)
        return found[0].text if found else None

    async def store(self, prompt: str, answer: str) -> None:
        from langchain_core.outputs import Generation  # type: ignore[import-not-found,unused-ignore]

        await self._cache.aupdate(prompt, _LLM, [Generation(text=answer)])

    async def embed(self, prompt: str) -> None:
        await asyncio.to_thread(self._embeddings.embed_query, prompt)


@asynccontextmanager
async def open_contender(setup: Setup) -> AsyncIterator[Contender]:
    import redis.asyncio
    import torch  # type: ignore[import-not-found]
    from langchain_core.embeddings import Embeddings  # type: ignore[import-not-found,unused-ignore]
    from langchain_redis import RedisSemanticCache  # type: ignore[import-not-found]
    from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]

    logging.getLogger("redisvl").setLevel(logging.ERROR)

    class Local(Embeddings):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            self._model = SentenceTransformer(str(setup.model), device="cpu")
            self.known: dict[str, list[float]] = {}

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            vectors: list[list[float]] = self._model.encode(texts, batch_size=_BATCH).tolist()
            return vectors

        def embed_query(self, text: str) -> list[float]:
            return self.known.get(text) or self.embed_documents([text])[0]

        def know(self, texts: list[str], vectors: Vectors | None) -> None:
            """Embed in batches what is about to be stored."""
            made = self.embed_documents(texts) if vectors is None else vectors.tolist()
            self.known = dict(zip(texts, made, strict=True))

    embeddings = Local()
    cache = RedisSemanticCache(
        embeddings=embeddings,
        redis_url=setup.redis_url,
        name=setup.name,
        distance_threshold=setup.max_distance,
    )
    # the client it would make of its synchronous one cannot connect to a Unix socket
    cache.cache._async_redis_client = redis.asyncio.Redis.from_url(
        setup.redis_url,
        max_connections=_CONNECTIONS,
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
    )
    try:
        yield _LangChain(cache, embeddings, f"torch f32, {torch.get_num_threads()} threads, flat")
    finally:
        await cache.cache.adisconnect()
