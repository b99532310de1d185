"""What is put under load: the seam, and the cache in this process."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol

import anyio

from semcache_async.cache import SemanticCache
from semcache_async.config import CacheConfig
from semcache_async.protocols import Embedder, Store
from semcache_async.testing import SimulatedLLM
from semcache_async.types import Scope

__all__ = [
    "LOOKUPS",
    "SOURCES",
    "CacheTarget",
    "Reply",
    "RequestError",
    "Target",
    "open_in_process",
]

SOURCES = {
    "exact": "a stored answer to the same wording",
    "semantic": "a stored answer to another wording",
    "hit": "a stored answer; the service did not say by which tier",
    "miss": "no stored answer was near enough, and no LLM was asked",
    "shared": "another caller's LLM call",
    "generated": "an LLM call of its own",
    "bypassed": "the LLM, without the cache",
    "unknown": "the service did not say",
    "error": "not answered",
}
"""Where an answer can come from; also the order in which reports have them."""
LOOKUPS = ("exact", "semantic", "hit", "miss")
"""Those that waited for no LLM."""


class Reply(NamedTuple):
    """One answer."""

    source: str
    """A key of ``SOURCES``."""
    first_token_s: float | None = None
    """From the asking to the first token, of a stream."""


class RequestError(Exception):
    """One request was not answered; the message is its kind, by which errors are counted."""


class Target(Protocol):
    """Whatever answers prompts. ``ask`` may raise any exception: an error of that kind."""

    name: str
    """What reports call it."""

    async def begin(self) -> None:
        """A run starts. What can be emptied of earlier runs' answers, is."""

    async def ask(self, prompt: str, /) -> Reply: ...

    def llm_calls(self) -> int | None:
        """Since ``begin``; None where only the replies' sources can tell."""


class CacheTarget:
    """``SemanticCache.get_or_generate`` in front of a simulated LLM; each run has a scope of its
    own, so each starts empty."""

    name = "in process"

    def __init__(self, cache: SemanticCache, *, llm_ms: float = 800.0, seed: int = 0) -> None:
        self._cache, self._llm_ms, self._seed = cache, llm_ms, seed
        self._scope = Scope()
        self._used: list[Scope] = []
        self._llm = self._new_llm()

    async def begin(self) -> None:
        self._scope = Scope(tenant=f"load-{secrets.token_hex(8)}")
        self._used.append(self._scope)
        self._llm = self._new_llm()

    async def ask(self, prompt: str, /) -> Reply:
        answer = await self._cache.get_or_generate(prompt, self._llm, scope=self._scope)
        return Reply(answer.source.value)

    def llm_calls(self) -> int | None:
        return self._llm.calls

    async def forget(self) -> None:
        """Remove what the runs have stored."""
        for scope in self._used:
            await self._cache.invalidate(scope=scope)
        self._used.clear()

    def _new_llm(self) -> SimulatedLLM:
        return SimulatedLLM(median_s=self._llm_ms / 1_000, seed=self._seed)


@asynccontextmanager
async def open_in_process(
    redis_url: str | None,
    *,
    llm_ms: float,
    seed: int,
    max_distance: float | None = None,
    embedder: Embedder | None = None,
    store: Store | None = None,
) -> AsyncIterator[CacheTarget]:
    """A cache as ``SemanticCache.open`` makes it, under load; its Redis is left as it was found."""
    config = CacheConfig(name="semcache-load")
    if max_distance is not None:
        config = CacheConfig(name="semcache-load", max_distance=max_distance)
    async with SemanticCache.open(
        redis_url, config=config, embedder=embedder, store=store
    ) as cache:
        target = CacheTarget(cache, llm_ms=llm_ms, seed=seed)
        try:
            yield target
        finally:
            if redis_url is not None:
                with anyio.CancelScope(shield=True):
                    await target.forget()
