"""Single flight, exact and semantic: one LLM call under way per intent.

Every change of state happens in one synchronous call (``board``, ``refresh``, ``fly_alone``,
``leave``, ``_land`` or a flight's own ``emit`` and ``end``), so nothing can interleave with it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Coroutine
from typing import Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np

from semcache_async.errors import (
    CacheClosedError,
    FlightCancelledError,
    OverloadedError,
    ReentrancyError,
    SemcacheError,
)
from semcache_async.flow.flight import Flight, Raised, Seat, inside
from semcache_async.text.decide import Decision, Policy, Reason, decide
from semcache_async.types import EntryKey, Scope, Vector

__all__ = ["Body", "Flights", "Leader", "copied"]

_log = logging.getLogger("semcache_async")

C = TypeVar("C")
R = TypeVar("R")

Body: TypeAlias = Callable[[Flight[C, R]], Coroutine[None, None, R]]
"""What a flight does: bring its result."""

_NEAR = -1.0
"""How far apart a flight may be from its leader for who came by meaning: not at all."""
_DEEPEST = 16
"""Flights within each other's LLM calls, at most."""


class Leader(NamedTuple, Generic[C, R]):
    """The leader of a flight as a candidate for the decision."""

    distance: float
    prompt: str
    flight: Flight[C, R]
    notes: bytes | None = None


class Flights(Generic[C, R]):
    """All flights of one cache, found by key and by the leader's vector.

    A flight's body runs in a task of its own. When its last waiter has left while the LLM is still
    being called, the flight is cancelled unless ``finish_abandoned``.
    """

    def __init__(self, *, finish_abandoned: bool) -> None:
        self._finish_abandoned = finish_abandoned
        self._loop = asyncio.get_running_loop()
        self._by_key: dict[EntryKey, Flight[C, R]] = {}
        self._refreshing: dict[EntryKey, Flight[C, R]] = {}
        self._leaders: dict[Scope, _Leaders[C, R]] = {}
        self._flying: dict[asyncio.Task[R | Raised], Flight[C, R]] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._flying)

    @property
    def waiting(self) -> int:
        """Callers in flights."""
        return sum(len(flight.waiters) for flight in self._flying.values())

    def join(self, key: EntryKey, tags: Collection[str], policy: Policy) -> Seat[C, R] | None:
        """A seat in the flight of this very key, if there is one, it is not ``quiet``, and whoever
        leads it is near enough. Raises ``ReentrancyError`` where its own LLM call asks for it."""
        flight = self._by_key.get(key)
        return None if flight is None or flight.quiet else self._join(flight, tags, policy)

    def _join(
        self, flight: Flight[C, R], tags: Collection[str], policy: Policy
    ) -> Seat[C, R] | None:
        reach = _reach(policy)
        return None if flight.apart > reach else self._follow(flight, tags, 0.0, reach=reach)

    def board(self, new: Flight[C, R], policy: Policy, body: Body[C, R]) -> Seat[C, R]:
        """A seat in the flight of the same key, else in that of the nearest leader whom the
        decision accepts, else in ``new``, which starts now. A near flight whose LLM call is what
        asks is left out: it would wait for itself."""
        same = self._by_key.get(new.key)
        seat = None if same is None else self._join(same, new.tags, policy)
        if seat is not None:
            return seat
        chosen = self.nearest(new, policy).chosen
        if chosen is not None:
            return self._follow(chosen.flight, new.tags, chosen.distance, reach=_NEAR)
        seat = self._start(new, body)
        if new.key not in self._by_key:
            self._by_key[new.key] = new
            self._lead(new)
        return seat

    def nearest(self, new: Flight[C, R], policy: Policy) -> Decision[Leader[C, R]]:
        """The decision among the leaders of other prompts, on behalf of one who may board."""
        leaders = self._leaders.get(new.key.scope)
        if leaders is None or new.vector is None:
            return Decision(None, Reason.NO_NEIGHBOUR, None)
        candidates = [
            leader
            for leader in leaders.near(new.vector, policy.max_distance)
            if not self._is_awaited_by(leader.flight)
        ]
        return decide(new.prompt, candidates, policy)

    def refresh(self, new: Flight[C, R], body: Body[C, R]) -> Seat[C, R]:
        """A seat in the flight that makes this key's answer anew, else in ``new``, which starts
        now; those who would take a stored answer don't join it."""
        flight = self._refreshing.get(new.key)
        if flight is not None:
            return self._follow(flight, new.tags, 0.0)
        seat = self._start(new, body)
        self._refreshing[new.key] = new
        return seat

    def fly_alone(self, new: Flight[C, R], body: Body[C, R]) -> Seat[C, R]:
        """A seat in ``new``, which starts now and which nobody else can board."""
        return self._start(new, body)

    def mirror(self, flight: Flight[C, R], tags: Collection[str]) -> Seat[C, R] | None:
        """A seat for another process in a flight that it found; None once that has landed."""
        if not flight.is_under_way():
            return None
        flight.tags.update(dict.fromkeys(tags))
        return self._seat(flight, leads=False, distance=0.0)

    def change_leader(
        self,
        flight: Flight[C, R],
        prompt: str,
        vector: Vector | None,
        *,
        elsewhere: bool,
        apart: float = 0.0,
    ) -> None:
        """A flight turned out to be led by another prompt, so far ``apart``, of another process if
        ``elsewhere``. Who came by meaning has to look again, since near a follower is not near its
        leader, and so has who asks for less distance; from now on, others board by being near that
        one."""
        flight.elsewhere, flight.apart = elsewhere, apart
        boards = self._by_key.get(flight.key) is flight
        if boards:
            self._resign(flight)
        flight.prompt, flight.vector = prompt, vector
        if boards:
            self._lead(flight)
        for waiter, reach in flight.waiters.items():
            if apart > reach and not waiter.done():
                waiter.set_result(None)
        flight.wake()

    async def read(self, seat: Seat[C, R], seen: int) -> bool:
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

    def leave(self, seat: Seat[C, R]) -> None:
        """Give the seat up, before or after landing."""
        flight, waiter = seat.flight, seat.waiter
        if waiter.done() and not waiter.cancelled():
            waiter.exception()  # it may never have been waited for
        flight.waiters.pop(waiter, None)
        if seat.passenger is not None and flight in seat.passenger.waits_for:
            seat.passenger.waits_for.remove(flight)
        if flight.waiters or flight.ended or flight.task is None or flight.task.done():
            return
        if flight.quiet or (self._finish_abandoned and flight.stored and flight.called):
            return
        self._forget(flight)
        flight.task.cancel()

    def has(self, flight: Flight | None) -> bool:  # type: ignore[type-arg]
        """Is it under way, and one of these?"""
        return flight is not None and flight.task in self._flying

    def let_nobody_board(self, concerned: Callable[[Flight[C, R]], bool]) -> None:
        """Of the flights that are ``concerned``, let nobody else board any: what they bring was
        begun before an invalidation."""
        for flight in list(self._flying.values()):
            if concerned(flight):
                self._forget(flight)

    def _is_awaited_by(self, flight: Flight[C, R]) -> bool:
        """Does ``flight`` wait, through whatever LLM calls, for the code that runs now?"""
        passenger = _passenger()
        return passenger is not None and flight.leads_to(passenger)

    def _follow(
        self,
        flight: Flight[C, R],
        tags: Collection[str],
        distance: float,
        *,
        reach: float = math.inf,
    ) -> Seat[C, R]:
        if self._is_awaited_by(flight):
            raise ReentrancyError(
                "The LLM call asks the cache for the very answer that it is making, and would wait "
                "for itself for ever; ask for another prompt or scope, or call the LLM directly."
            )
        flight.tags.update(dict.fromkeys(tags))
        return self._seat(flight, leads=False, distance=distance, reach=reach)

    def _seat(
        self, flight: Flight[C, R], *, leads: bool, distance: float, reach: float = math.inf
    ) -> Seat[C, R]:
        waiter: asyncio.Future[R | None] = self._loop.create_future()
        flight.waiters[waiter] = reach
        passenger = _passenger()
        if passenger is not None:
            passenger.waits_for.append(flight)
        return Seat(flight, waiter, leads, distance, passenger)

    def _start(self, new: Flight[C, R], body: Body[C, R]) -> Seat[C, R]:
        if self._closed:
            raise CacheClosedError("The cache is closed; open a new one.")
        depth, outer = 0, new.within
        while outer is not None and outer.is_under_way():
            depth, outer = depth + 1, outer.within
        if depth >= _DEEPEST:
            raise ReentrancyError(
                f"{depth} LLM calls are within each other by way of the cache; an answer that is "
                "made of answers has to come to an end."
            )
        seat = self._seat(new, leads=True, distance=0.0)
        new.task = self._loop.create_task(self._caught(body, new))
        self._flying[new.task] = new
        new.task.add_done_callback(self._land)
        return seat

    async def _caught(self, body: Body[C, R], flight: Flight[C, R]) -> R | Raised:
        inside.set(flight)
        try:
            return await body(flight)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            return Raised(error)

    def _land(self, task: asyncio.Task[R | Raised]) -> None:
        flight = self._flying.pop(task)
        self._forget(flight)
        outcome = Raised(self._cancellation()) if task.cancelled() else task.result()
        told = 0
        for waiter in flight.waiters:
            if waiter.done():
                continue
            if isinstance(outcome, Raised):
                waiter.set_exception(copied(outcome.error) if told else outcome.error)
            else:
                waiter.set_result(outcome)
            told += 1
        flight.wake()
        if isinstance(outcome, Raised) and not told and not task.cancelled():
            self._report(outcome.error, flight)

    def _report(self, error: BaseException, flight: Flight[C, R]) -> None:
        """Tell of an error that nobody waited for."""
        if flight.quiet and isinstance(error, OverloadedError):
            return  # there was no room for what nobody waits for
        if isinstance(error, Exception):
            _log.warning("An abandoned LLM call failed: %s", type(error).__qualname__)
        else:  # an interruption, or an exit
            message = "An abandoned LLM call ended with what should end the process"
            self._loop.call_exception_handler({"message": message, "exception": error})

    def _cancellation(self) -> SemcacheError:
        if self._closed:
            return CacheClosedError("The cache was closed while the LLM was being called.")
        return FlightCancelledError("The LLM call was cancelled from within; ask again.")

    def _forget(self, flight: Flight[C, R]) -> None:
        if self._refreshing.get(flight.key) is flight:
            del self._refreshing[flight.key]
        if self._by_key.get(flight.key) is not flight:
            return
        del self._by_key[flight.key]
        self._resign(flight)

    def _lead(self, flight: Flight[C, R]) -> None:
        """Let others board it by meaning."""
        if flight.vector is None:
            return
        leaders = self._leaders.get(flight.key.scope)
        if leaders is None:
            leaders = self._leaders[flight.key.scope] = _Leaders(len(flight.vector))
        leaders.add(flight, flight.vector)

    def _resign(self, flight: Flight[C, R]) -> None:
        leaders = self._leaders.get(flight.key.scope)
        if leaders is not None and flight.vector is not None:
            leaders.remove(flight)
            if not leaders.flights:
                del self._leaders[flight.key.scope]

    async def aclose(self, *, patience_s: float) -> None:
        """Cancel every flight whose LLM is still being called: its waiters get
        ``CacheClosedError``. Those whose answer is there are given ``patience_s`` to store it."""
        self._closed = True
        storing = []
        for task, flight in list(self._flying.items()):
            if flight.ended:
                storing.append(task)
            else:
                task.cancel()
        if storing:
            await asyncio.wait(storing, timeout=patience_s)
        left = list(self._flying)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def _reach(policy: Policy) -> float:
    """How far a flight of the very key may be from its leader."""
    return max(0.0, policy.max_distance)


def _passenger() -> Flight | None:  # type: ignore[type-arg]
    flight = inside.get()
    return flight if flight is not None and flight.is_under_way() else None


def copied(error: BaseException) -> BaseException:
    """The same error as an object of its own, so that no caller sees what another adds to it; the
    error itself where its class cannot be made so."""
    try:
        twin = type(error).__new__(type(error), *error.args)
        twin.args = error.args
        twin.__dict__.update(error.__dict__)
        if getattr(error, "__notes__", None):
            twin.__notes__ = list(error.__notes__)
    except Exception:  # a class with a constructor of its own kind
        return error
    twin.__cause__, twin.__context__ = error.__cause__, error.__context__
    twin.__suppress_context__ = error.__suppress_context__
    return twin.with_traceback(error.__traceback__)


class _Leaders(Generic[C, R]):
    """The leaders of one scope, their vectors side by side: float32 ``[capacity, dim]``."""

    __slots__ = ("_rows", "_vectors", "flights")

    def __init__(self, dim: int) -> None:
        self.flights: list[Flight[C, R]] = []
        self._rows: dict[Flight[C, R], int] = {}
        self._vectors = np.empty((8, dim), np.float32)

    def add(self, flight: Flight[C, R], vector: Vector) -> None:
        row = len(self.flights)
        if row == len(self._vectors):
            self._vectors = np.concatenate([self._vectors, np.empty_like(self._vectors)])
        self._vectors[row] = vector
        self._rows[flight] = row
        self.flights.append(flight)

    def remove(self, flight: Flight[C, R]) -> None:
        row = self._rows.pop(flight)
        last = self.flights.pop()
        if last is not flight:
            self.flights[row] = last
            self._rows[last] = row
            self._vectors[row] = self._vectors[len(self.flights)]

    def near(self, vector: Vector, max_distance: float) -> list[Leader[C, R]]:
        """The leaders within ``max_distance``."""
        distances = 1.0 - self._vectors[: len(self.flights)] @ vector
        return [
            Leader(max(0.0, float(distances[row])), self.flights[row].prompt, self.flights[row])
            for row in np.flatnonzero(distances <= max_distance)
        ]
