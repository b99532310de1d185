"""RedisVL's synchronous ``SemanticCache.check`` in threads, as web frameworks run such code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.contenders import Contender, Setup, redisvl_async

ENVIRONMENT = redisvl_async.ENVIRONMENT
PACKAGES = redisvl_async.PACKAGES

_THREADS = 40
"""Starlette's limit for synchronous endpoints."""


class _RedisVLThreads(redisvl_async.RedisVLAsync):
    def __init__(self, cache: Any, vectorizer: Any, about: str, pool: ThreadPoolExecutor) -> None:
        super().__init__(cache, vectorizer, about)
        self._pool = pool

    async def lookup(self, prompt: str) -> str | None:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._pool, self._cache.check, prompt)
        return found[0]["response"] if found else None

    async def store(self, prompt: str, answer: str) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._pool, self._cache.store, prompt, answer)

    async def embed(self, prompt: str) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._pool, self._vectorizer.embed, prompt)


@asynccontextmanager
async def open_contender(setup: Setup) -> AsyncIterator[Contender]:
    async with redisvl_async.open_redisvl(setup) as (cache, vectorizer, about):
        with ThreadPoolExecutor(_THREADS) as pool:
            yield _RedisVLThreads(cache, vectorizer, f"{about}, {_THREADS} callers' threads", pool)
