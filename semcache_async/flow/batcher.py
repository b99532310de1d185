"""Micro-batching without a timer: dispatch when idle, fill while busy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

from semcache_async.errors import CacheClosedError

__all__ = ["MicroBatcher"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_MISFITS = 32
"""Queued items a forming batch looks past for smaller ones that still fit its budget."""


class _Job(Generic[K, V]):
    """One item of work and everybody who waits for it."""

    __slots__ = ("cost", "key", "waiters")

    def __init__(self, key: K, cost: int) -> None:
        self.key = key
        self.cost = cost
        self.waiters: list[asyncio.Future[V]] = []

    @property
    def abandoned(self) -> bool:
        for waiter in self.waiters:  # noqa: SIM110 - a generator would double its cost
            if not waiter.done():
                return False
        return True

    def settle(self, result: V | BaseException) -> None:
        for waiter in self.waiters:
            if waiter.done():
                continue
            if isinstance(result, BaseException):
                waiter.set_exception(result)
            else:
                waiter.set_result(result)


class MicroBatcher(Generic[K, V]):
    """Turns concurrent ``submit`` calls into few calls of ``run``.

    A batch leaves as soon as fewer than ``concurrency`` are under way, one event-loop tick after
    the first item came, and takes whole items up to ``budget`` by ``cost``; an item over the
    budget goes alone. While batches are under way the queue fills. The oldest item always goes
    first. Equal keys queued together are one item; with ``pure`` (the result depends on the key
    alone) an item under way is joined too. Items that nobody waits for any longer are dropped.

    ``run`` answers each item with a value or an exception, in order; what it raises reaches every
    waiter of the batch. It runs in a task of its own, so a cancelled caller never cancels it.
    """

    def __init__(
        self,
        run: Callable[[list[K]], Awaitable[Sequence[V | Exception]]],
        *,
        budget: int,
        cost: Callable[[K], int] | None = None,
        concurrency: int = 1,
        pure: bool = False,
    ) -> None:
        self._run = run
        self._budget = budget
        self._cost = cost
        self._concurrency = concurrency
        self._pure = pure
        self._loop = asyncio.get_running_loop()
        self._queue: dict[K, _Job[K, V]] = {}
        self._running: dict[K, _Job[K, V]] = {}
        self._tasks: dict[asyncio.Task[Sequence[V | Exception]], list[_Job[K, V]]] = {}
        self._scheduled = False
        self._closed = False
        self.batches = 0
        """Batches run so far."""
        self.items = 0
        """Items in them: ``items / batches`` is the mean batch size."""
        self._cost_run = 0

    @property
    def fill(self) -> float:
        """Mean share of the budget that a batch has used; over 1 where items exceed it."""
        return self._cost_run / (self.batches * self._budget) if self.batches else 0.0

    @property
    def queued(self) -> int:
        """Items waiting for a batch."""
        return len(self._queue)

    @property
    def busy(self) -> bool:
        """Is anything queued or under way?"""
        return bool(self._queue or self._tasks)

    @property
    def under_way(self) -> int:
        """Batches being run."""
        return len(self._tasks)

    def submit(self, key: K) -> asyncio.Future[V]:
        """A future for the item's value; cancel it to lose interest."""
        waiter: asyncio.Future[V] = self._loop.create_future()
        if self._closed:
            waiter.set_exception(CacheClosedError("The cache is closed; open a new one."))
            return waiter
        job = self._queue.get(key)
        if job is None and self._pure:
            job = self._running.get(key)
        if job is None:
            job = self._queue[key] = _Job(key, self._cost(key) if self._cost else 1)
            if not self._scheduled and len(self._tasks) < self._concurrency:
                self._scheduled = True
                self._loop.call_soon(self._dispatch)
        job.waiters.append(waiter)
        return waiter

    def _dispatch(self) -> None:
        self._scheduled = False
        while self._queue and len(self._tasks) < self._concurrency and not self._closed:
            batch = self._take()
            if not batch:
                return
            self.batches += 1
            self.items += len(batch)
            self._cost_run += sum(job.cost for job in batch)
            task = self._loop.create_task(self._call([job.key for job in batch]))
            self._tasks[task] = batch
            if self._pure:
                self._running.update((job.key, job) for job in batch)
            task.add_done_callback(self._landed)

    def _take(self) -> list[_Job[K, V]]:
        batch: list[_Job[K, V]] = []
        gone: list[K] = []
        left = self._budget
        misfits = 0
        for key, job in self._queue.items():
            if job.abandoned:
                gone.append(key)
            elif job.cost <= left or not batch:
                gone.append(key)
                batch.append(job)
                left -= job.cost
                if left <= 0:
                    break
            else:
                misfits += 1
                if misfits == _MISFITS:
                    break
        for key in gone:
            del self._queue[key]
        return batch

    async def _call(self, keys: list[K]) -> Sequence[V | Exception]:
        return await self._run(keys)

    def _landed(self, task: asyncio.Task[Sequence[V | Exception]]) -> None:
        batch = self._tasks.pop(task)
        if self._pure:
            for job in batch:
                del self._running[job.key]
        failure = self._failure(task, len(batch))
        if failure is None:
            for job, result in zip(batch, task.result(), strict=True):
                job.settle(result)
        else:
            for job in batch:
                job.settle(failure)
        self._dispatch()

    def _failure(
        self, task: asyncio.Task[Sequence[V | Exception]], expected: int
    ) -> BaseException | None:
        if task.cancelled():
            return CacheClosedError("The cache was closed while this request was under way.")
        error = task.exception()
        if error is None and len(task.result()) != expected:
            return RuntimeError(f"A batch of {expected} items got {len(task.result())} results.")
        return error

    async def aclose(self) -> None:
        """Cancel what is under way and settle every waiter with ``CacheClosedError``."""
        self._closed = True
        for job in self._queue.values():
            job.settle(CacheClosedError("The cache was closed before this request was served."))
        self._queue.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
