"""For the plain methods of frameworks: work done in the cache's event loop, from other threads;
plain work of others, for that loop; and an event loop for a cache where there is none."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future, wait
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from contextvars import copy_context
from threading import Lock, Thread, current_thread
from typing import Any, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from semcache_async.cache import SemanticCache
from semcache_async.errors import CacheClosedError, WrongLoopError

__all__ = [
    "Background",
    "check_thread",
    "from_thread",
    "in_worker",
    "iterate_from_thread",
    "iterate_in_worker",
]

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


async def in_worker(work: Callable[[], T]) -> T:
    """What ``work`` returns or raises, in a thread that there always is, however many wait for
    others. Cancelled, it goes on to its end, unheard."""
    return await run_sync(work, abandon_on_cancel=True, limiter=CapacityLimiter(math.inf))


async def iterate_in_worker(pieces: Callable[[], Iterator[T]]) -> AsyncGenerator[T, None]:
    """The pieces as they come, made in other threads but in one context."""
    context = copy_context()
    made = iter(await in_worker(lambda: context.run(pieces)))
    try:
        while (piece := await in_worker(lambda: context.run(next, made, _END))) is not _END:
            yield piece
    finally:
        if close := getattr(made, "close", None):
            with suppress(ValueError, RuntimeError):  # it was cancelled, and is still at work
                context.run(close)


class Background(Thread):
    """A cache that is open in an event loop of its own, until ``close``."""

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[SemanticCache]]) -> None:
        super().__init__(name="semcache", daemon=True)
        self._opening = opening
        self._opened: Future[SemanticCache] = Future()
        self._submitting = Lock()
        self._ended = False
        self.start()
        try:
            self.cache = self._opened.result()
        finally:
            self._opened.cancel()  # where it is waited for no longer

    @property
    def is_open(self) -> bool:
        """In this process?"""
        try:
            return not self._ended and self.cache.loop.is_running()
        except WrongLoopError:  # in a fork
            return False

    def submit(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
        """What ``work`` returns or raises; ``CacheClosedError`` once it is closed."""
        with self._submitting:
            if not self.is_open:
                raise CacheClosedError("The cache is closed.")
            return asyncio.run_coroutine_threadsafe(self._do(work()), self.cache.loop)

    def wait(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The same, in a thread that may block."""
        check_thread(self.cache)
        future = self.submit(work)
        try:
            return future.result()
        finally:
            future.cancel()  # where it waits no longer

    def close(self) -> None:
        """In a fork, nothing: it is the parent's."""
        with self._submitting:
            if not self.is_open:
                return
            self._ended = True
            self.cache.loop.call_soon_threadsafe(self._closing.set)
        if current_thread() is not self:
            self.join()

    def run(self) -> None:
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(self._live())
        finally:
            loop.close()  # and not as asyncio.run does, which at exit may start no threads

    async def _live(self) -> None:
        self._closing = asyncio.Event()
        try:
            async with self._opening() as cache:
                if self._opened.set_running_or_notify_cancel():
                    self._opened.set_result(cache)
                    await self._closing.wait()
        except BaseException as error:
            if self._opened.done():
                raise
            self._opened.set_exception(error)
        finally:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _do(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        except asyncio.CancelledError:
            if self._ended:
                raise CacheClosedError("The cache was closed meanwhile.") from None
            raise
