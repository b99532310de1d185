"""Single flight, exact and semantic: one LLM call under way per intent.

Every change of state happens in one synchronous call (``board``, ``charter``, ``leave``, ``_land``
or a flight's own ``emit`` and ``end``), so nothing can interleave with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from semcache_async.errors import CacheClosedError, FlightCancelledError, SemcacheError
from semcache_async.flow.flight import Flight, Raised, Seat
from semcache_async.text.decide import Policy, decide
from semcache_async.types import EntryKey, Scope, Vector

__all__ = ["Flights", "Leader"]

R = TypeVar("R")


class Leader(NamedTuple, Generic[R]):
    """The leader of a flight as a candidate for the decision."""

    distance: float
    prompt: str
    flight: Flight[R]


class Flights(Generic[R]):
    """All flights of one cache, found by key and by the leader's vector.

    A flight's body runs in a task of its own. When its last waiter has left, the flight is
    cancelled unless ``finish_abandoned``.
    """

    def __init__(self, *, finish_abandoned: bool) -> None:
        self._finish_abandoned = finish_abandoned
        self._loop = asyncio.get_running_loop()
        self._by_key: dict[EntryKey, Flight[R]] = {}
        self._leaders: dict[Scope, _Leaders[R]] = {}
        self._flying: dict[asyncio.Task[R | Raised], Flight[R]] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._flying)

    @property
    def waiting(self) -> int:
        """Callers in flights."""
        return sum(len(flight.waiters) for flight in self._flying.values())

    def join(self, key: EntryKey) -> Seat[R] | None:
        """A seat in the flight of this very key, if there is one."""
        flight = self._by_key.get(key)
        return None if flight is None else self._seat(flight, leads=False, distance=0.0)

    def board(
        self,
        new: Flight[R],
        policy: Policy,
        body: Callable[[Flight[R]], Coroutine[None, None, R]],
    ) -> Seat[R]:
        """A seat in the flight of the same key, else in that of the nearest leader whom the
        decision accepts, else in ``new``, which starts now."""
        if self._closed:
            raise CacheClosedError("The cache is closed; open a new one.")
        seat = self.join(new.key)
        if seat is not None:
            return seat
        leaders = self._leaders.get(new.key.scope)
        if leaders is not None and new.vector is not None:
            candidates = leaders.near(new.vector, policy.max_distance)
            chosen = decide(new.prompt, candidates, policy).chosen
            if chosen is not None:
                return self._seat(chosen.flight, leads=False, distance=chosen.distance)
        self._by_key[new.key] = new
        if new.vector is not None:
            if leaders is None:
                leaders = self._leaders[new.key.scope] = _Leaders(len(new.vector))
            leaders.add(new, new.vector)
        return self._start(new, body)

    def charter(
        self,
        new: Flight[R],
        body: Callable[[Flight[R]], Coroutine[None, None, R]],
    ) -> Seat[R]:
        """A seat in ``new``, which starts now and which nobody else can board."""
        if self._closed:
            raise CacheClosedError("The cache is closed; open a new one.")
        return self._start(new, body)

    async def read(self, seat: Seat[R], seen: int) -> bool:
        """Wait for more than ``seen`` chunks: True once they are there, False when there will be
        none. Raises what the flight raised, after its last chunk."""
        flight = seat.flight
        while len(flight.chunks) <= seen:
            if seat.waiter.done():
                seat.waiter.result()
                return False
            if flight.ended:
                return False
            await flight.change()
        return True

    def leave(self, seat: Seat[R]) -> None:
        """Give the seat up, before or after landing."""
        flight, waiter = seat.flight, seat.waiter
        if waiter.done() and not waiter.cancelled():
            waiter.exception()  # it may never have been waited for
        flight.waiters.discard(waiter)
        if flight.waiters or flight.task is None or flight.task.done():
            return
        if self._finish_abandoned and flight.worthwhile:
            return
        self._forget(flight)
        flight.task.cancel()

    def ground(self, meets: Callable[[Flight[R]], bool]) -> None:
        """Keep the answers of the flights that ``meets`` picks out of the store, and let nobody
        else board them."""
        for flight in [flight for flight in self._by_key.values() if meets(flight)]:
            flight.ground()
            self._forget(flight)

    def _seat(self, flight: Flight[R], *, leads: bool, distance: float) -> Seat[R]:
        waiter: asyncio.Future[R] = self._loop.create_future()
        flight.waiters.add(waiter)
        return Seat(flight, waiter, leads, distance)

    def _start(
        self, new: Flight[R], body: Callable[[Flight[R]], Coroutine[None, None, R]]
    ) -> Seat[R]:
        seat = self._seat(new, leads=True, distance=0.0)
        new.task = self._loop.create_task(_caught(body(new)))
        self._flying[new.task] = new
        new.task.add_done_callback(self._land)
        return seat

    def _land(self, task: asyncio.Task[R | Raised]) -> None:
        flight = self._flying.pop(task)
        self._forget(flight)
        outcome = Raised(self._cancellation()) if task.cancelled() else task.result()
        for waiter in flight.waiters:
            if waiter.done():
                continue
            if isinstance(outcome, Raised):
                waiter.set_exception(outcome.error)
            else:
                waiter.set_result(outcome)
        flight.wake()

    def _cancellation(self) -> SemcacheError:
        if self._closed:
            return CacheClosedError("The cache was closed while the LLM was being called.")
        return FlightCancelledError("The LLM call was cancelled from within; ask again.")

    def _forget(self, flight: Flight[R]) -> None:
        if self._by_key.get(flight.key) is not flight:
            return
        del self._by_key[flight.key]
        leaders = self._leaders.get(flight.key.scope)
        if leaders is not None and flight.vector is not None:
            leaders.remove(flight)
            if not leaders.flights:
                del self._leaders[flight.key.scope]

    async def aclose(self) -> None:
        """Cancel every flight; its waiters get ``CacheClosedError``."""
        self._closed = True
        tasks = list(self._flying)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _caught(body: Coroutine[None, None, R]) -> R | Raised:
    try:
        return await body
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return Raised(error)


class _Leaders(Generic[R]):
    """The leaders of one scope, their vectors side by side: float32 ``[capacity, dim]``."""

    __slots__ = ("_rows", "_vectors", "flights")

    def __init__(self, dim: int) -> None:
        self.flights: list[Flight[R]] = []
        self._rows: dict[Flight[R], int] = {}
        self._vectors = np.empty((8, dim), np.float32)

    def add(self, flight: Flight[R], vector: Vector) -> None:
        row = len(self.flights)
        if row == len(self._vectors):
            self._vectors = np.concatenate([self._vectors, np.empty_like(self._vectors)])
        self._vectors[row] = vector
        self._rows[flight] = row
        self.flights.append(flight)

    def remove(self, flight: Flight[R]) -> None:
        row = self._rows.pop(flight)
        last = self.flights.pop()
        if last is not flight:
            self.flights[row] = last
            self._rows[last] = row
            self._vectors[row] = self._vectors[len(self.flights)]

    def near(self, vector: Vector, max_distance: float) -> list[Leader[R]]:
        """The leaders within ``max_distance``."""
        distances = 1.0 - self._vectors[: len(self.flights)] @ vector
        return [
            Leader(max(0.0, float(distances[row])), self.flights[row].prompt, self.flights[row])
            for row in np.flatnonzero(distances <= max_distance)
        ]
