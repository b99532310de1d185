"""May this process get work?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from semcache_async.cache import SemanticCache
from semcache_async.errors import SemcacheError

__all__ = ["Readiness"]

REMEMBERED_S = 0.5
"""Checks come no faster than this, however many ask."""


class Readiness:
    """Whether the cache's store answers and has the right index."""

    def __init__(
        self, cache: SemanticCache, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cache = cache
        self._clock = clock
        self._lock = asyncio.Lock()
        self._checked_at: float | None = None
        self._trouble: str | None = None

    async def trouble(self) -> str | None:
        """What is wrong, in a sentence, or None."""
        async with self._lock:
            now = self._clock()
            if self._checked_at is None or now - self._checked_at >= REMEMBERED_S:
                self._trouble = await self._look()
                self._checked_at = self._clock()
            return self._trouble

    async def _look(self) -> str | None:
        try:
            async with asyncio.timeout(2 * self._cache.config.store_timeout_s):
                await self._cache.check()
        except TimeoutError:
            return "Redis does not answer in time."
        except SemcacheError as error:
            return str(error)
        return None
