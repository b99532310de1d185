"""For the plain methods of frameworks: work done in the cache's event loop, from other threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import wait
from contextlib import aclosing
from typing import Any, TypeVar

from semcache_async.cache import SemanticCache
from semcache_async.errors import CacheClosedError, WrongLoopError

__all__ = ["check_thread", "from_thread", "iterate_from_thread"]

T = TypeVar("T")

_END: Any = object()


def check_thread(cache: SemanticCache) -> None:
    """Raises ``WrongLoopError`` in the thread of the cache's loop, which would wait for itself."""
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        return
    if running is cache.loop:
        raise WrongLoopError(
            "The event loop of the cache would wait for itself: use the async methods (ainvoke, "
            "astream, acomplete, ...) here, or call this in a thread (asyncio.to_thread)."
        )


def from_thread(cache: SemanticCache, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What ``work`` returns or raises; ``CacheClosedError`` where its loop runs no more."""
    check_thread(cache)
    loop, future = cache.loop, None
    while loop.is_running():
        future = future or asyncio.run_coroutine_threadsafe(work(), loop)
        try:
            done = wait((future,), timeout=1.0).done
        except BaseException:
            future.cancel()
            raise
        if done:
            return future.result()
    raise CacheClosedError("The event loop that the cache belongs to runs no more.")


def iterate_from_thread(
    cache: SemanticCache, pieces: Callable[[], AsyncIterator[T]]
) -> Iterator[T]:
    """The pieces as they come, each asked for when it is wanted."""
    begun: list[Any] = []

    async def following() -> T:
        if not begun:
            begun.append(aiter(pieces()))
        return await anext(begun[0], _END)

    async def close() -> None:
        for one in begun:
            async with aclosing(one):
                pass

    try:
        while (piece := from_thread(cache, following)) is not _END:
            yield piece
    finally:
        if cache.loop.is_running():
            from_thread(cache, close)
