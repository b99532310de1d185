"""Micro-batching without a timer: dispatch when idle, fill while busy."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

from semcache_async.errors import CacheClosedError, QueueFullError

__all__ = ["MicroBatcher"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_MISFITS = 32
"""Queued items a forming batch looks past for smaller ones that still fit its budget."""
_BULK_TURN = 4
"""One batch in so many begins with the oldest bulk item, so that singles never starve it."""
_MOST_QUEUED = 65_536
_PACES = 3
"""Batches in a row whose paces tell what is to come, by the middle one: a loop that stands still
for a moment, as when a thousand ask at once, makes one of them slow, and not the work."""
_ALARM_STEP = 1 / 16
"""How exact a time limit is, as a share of it."""


class _Job(Generic[K, V]):
    """One item of work and everybody who waits for it."""

    __slots__ = ("cost", "deadline", "key", "waiters")

    def __init__(self, key: K, cost: int, deadline: float) -> None:
        self.key = key
        self.cost = cost
        self.deadline = deadline
        """Event-loop time at which its waiters give up."""
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
    first, bulk items after the others (but for every fourth batch). Equal keys queued together are
    one item; with ``pure`` (the result depends on the key alone) an item under way is joined too.
    Items that nobody waits for any longer are dropped.

    ``run`` answers each item with a value or an exception, in order; what it raises reaches every
    waiter of the batch. It runs in a task of its own, so a cancelled caller never cancels it.

    With ``timeout_s``, an item without a result so long after it was submitted fails with
    ``TimeoutError``, and a batch of nothing but such items is cancelled. At most ``most_queued``
    items wait; one more fails with ``QueueFullError``.
    """

    def __init__(
        self,
        run: Callable[[list[K]], Awaitable[Sequence[V | Exception]]],
        *,
        budget: int,
        cost: Callable[[K], int] | None = None,
        concurrency: int = 1,
        pure: bool = False,
        timeout_s: float | None = None,
        most_queued: int = _MOST_QUEUED,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._run = run
        self._budget = budget
        self._cost = cost
        self._concurrency = concurrency
        self._pure = pure
        self._timeout_s = timeout_s
        self._most_queued = most_queued
        self._loop = asyncio.get_running_loop()
        self._time = clock or self._loop.time
        self._queue: dict[K, _Job[K, V]] = {}
        self._bulk: dict[K, _Job[K, V]] = {}
        self._running: dict[K, _Job[K, V]] = {}
        self._tasks: dict[asyncio.Task[Sequence[V | Exception]], list[_Job[K, V]]] = {}
        self._began: dict[asyncio.Task[Sequence[V | Exception]], float] = {}
        self._scheduled = False
        self._alarm: asyncio.TimerHandle | None = None
        self._closed = False
        self.batches = 0
        """Batches run so far."""
        self.items = 0
        """Items in them: ``items / batches`` is the mean batch size."""
        self._cost_run = 0
        self._paces: deque[float] = deque(maxlen=_PACES)
        self._backed_up_at: float | None = None

    @property
    def backlog_s(self) -> float:
        """How long a single item would wait now, by the pace of the last batches; those of bulks
        wait behind it, but for every fourth batch."""
        if len(self._tasks) < self._concurrency or len(self._paces) < _PACES:
            return 0.0
        pace_s = sorted(self._paces)[_PACES // 2]
        return len(self._queue) * pace_s * _BULK_TURN / (_BULK_TURN - 1)

    @property
    def fill(self) -> float:
        """Mean share of the budget that a batch has used; over 1 where items exceed it."""
        return self._cost_run / (self.batches * self._budget) if self.batches else 0.0

    @property
    def queued(self) -> int:
        """Items waiting for a batch."""
        return len(self._queue) + len(self._bulk)

    @property
    def busy(self) -> bool:
        """Is anything queued or under way?"""
        return bool(self._queue or self._tasks or self._bulk)

    @property
    def under_way(self) -> int:
        """Batches being run."""
        return len(self._tasks)

    def submit(self, key: K, *, bulk: bool = False) -> asyncio.Future[V]:
        """A future for the item's value; cancel it to lose interest. ``bulk``: one of many, which
        lets others go first."""
        waiter: asyncio.Future[V] = self._loop.create_future()
        if self._closed:
            waiter.set_exception(CacheClosedError("The cache is closed; open a new one."))
            return waiter
        job = self._queue.get(key)
        if job is None and self._bulk:
            job = self._bulk.get(key)
            if job is not None and not bulk:
                self._queue[key] = self._bulk.pop(key)
        if job is None and self._pure:
            job = self._running.get(key)
        if job is None:
            if len(self._queue) + len(self._bulk) >= self._most_queued:
                waiter.set_exception(QueueFullError(f"{self._most_queued} items wait already."))
                return waiter
            deadline = 0.0
            if self._timeout_s is not None:
                deadline = self._time() + self._timeout_s
                if self._alarm is None:
                    self._alarm = self._loop.call_at(deadline, self._ring)
            job = _Job(key, self._cost(key) if self._cost else 1, deadline)
            (self._bulk if bulk else self._queue)[key] = job
            if not self._scheduled and len(self._tasks) < self._concurrency:
                self._scheduled = True
                self._loop.call_soon(self._dispatch)
        job.waiters.append(waiter)
        return waiter

    def fail(self, error: Exception) -> None:
        """Settle everything that is queued or under way with ``error``."""
        for task, batch in list(self._tasks.items()):
            for job in batch:
                job.settle(error)
            task.cancel()
        for lane in (self._queue, self._bulk):
            for job in lane.values():
                job.settle(error)
            lane.clear()

    def _dispatch(self) -> None:
        self._scheduled = False
        while self.queued and len(self._tasks) < self._concurrency and not self._closed:
            batch = self._take()
            if not batch:
                return
            self.batches += 1
            self.items += len(batch)
            self._cost_run += sum(job.cost for job in batch)
            task = self._loop.create_task(self._call([job.key for job in batch]))
            self._tasks[task] = batch
            self._began[task] = self._time()
            if self._pure:
                self._running.update((job.key, job) for job in batch)
            task.add_done_callback(self._landed)

    def _take(self) -> list[_Job[K, V]]:
        batch: list[_Job[K, V]] = []
        left = self._budget
        if self._bulk and self.batches % _BULK_TURN == 0:
            left = self._fill(batch, self._bulk, left, most=1)
        for lane in (self._queue, self._bulk):
            if lane and left > 0:
                left = self._fill(batch, lane, left)
        return batch

    def _fill(
        self,
        batch: list[_Job[K, V]],
        lane: dict[K, _Job[K, V]],
        left: int,
        most: int | None = None,
    ) -> int:
        """Move items from ``lane`` into ``batch``; returns what is left of the budget."""
        gone: list[K] = []
        misfits = taken = 0
        for key, job in lane.items():
            if job.abandoned:
                gone.append(key)
            elif job.cost <= left or not batch:
                gone.append(key)
                batch.append(job)
                left -= job.cost
                taken += 1
                if left <= 0 or taken == most:
                    break
            else:
                misfits += 1
                if misfits == _MISFITS:
                    break
        for key in gone:
            del lane[key]
        return left

    async def _call(self, keys: list[K]) -> Sequence[V | Exception]:
        return await self._run(keys)

    def _landed(self, task: asyncio.Task[Sequence[V | Exception]]) -> None:
        batch = self._tasks.pop(task)
        self._keep_pace(len(batch), self._began.pop(task))
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
        if not self._tasks:
            self._backed_up_at = None  # nobody waited for what was queued

    def _keep_pace(self, landed: int, began: float) -> None:
        """Seconds an item while there is a queue; no more than the batch itself took."""
        now = self._time()
        if self._backed_up_at is not None:
            self._paces.append((now - max(self._backed_up_at, began)) / landed)
        self._backed_up_at = now if self.queued else None

    def _failure(
        self, task: asyncio.Task[Sequence[V | Exception]], expected: int
    ) -> BaseException | None:
        if task.cancelled():
            if self._closed:
                return CacheClosedError("The cache was closed while this request was under way.")
            return TimeoutError("The call was given up.")
        error = task.exception()
        if error is None and len(task.result()) != expected:
            return RuntimeError(f"A batch of {expected} items got {len(task.result())} results.")
        return error

    def _ring(self) -> None:
        """Fail what is overdue, and sleep until the next item may be; for a moment at least, since
        every waking looks at everything."""
        self._alarm = None
        now = self._time()
        for task, batch in list(self._tasks.items()):
            for job in batch:
                if job.deadline <= now:
                    job.settle(self._late())
            if all(job.deadline <= now for job in batch):
                task.cancel()
        pending: list[float] = []
        for lane in (self._queue, self._bulk):
            for key in [key for key, job in lane.items() if job.deadline <= now]:
                lane.pop(key).settle(self._late())
            pending += [job.deadline for job in lane.values()]
        for batch in self._tasks.values():
            pending += [job.deadline for job in batch if job.deadline > now]
        if pending and self._timeout_s is not None:
            soonest = now + self._timeout_s * _ALARM_STEP
            self._alarm = self._loop.call_at(max(soonest, min(pending)), self._ring)

    def _late(self) -> TimeoutError:
        return TimeoutError(f"No result within {self._timeout_s:g} s.")

    async def aclose(self) -> None:
        """Cancel what is under way and settle every waiter with ``CacheClosedError``."""
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        self.fail(CacheClosedError("The cache was closed before this request was served."))
        await asyncio.gather(*self._tasks, return_exceptions=True)
