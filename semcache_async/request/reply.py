"""A reply that is read while it is being made."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

from semcache_async.errors import FlightLostError, SemcacheError
from semcache_async.request.attempt import Attempt
from semcache_async.stats import Counters
from semcache_async.types import Answer, Neighbour, Source, Timings

if TYPE_CHECKING:
    from semcache_async.flow.flight import Seat
    from semcache_async.protocols import Produce, Span
    from semcache_async.request.answering import Answering, Outcome

__all__ = ["Reply"]

C = TypeVar("C")


class Reply(Generic[C]):
    """One query's answer, from ``async with cache.reply(...)``.

    On entry it is decided where the answer comes from: a hit is there, or a flight has emitted its
    first chunk or ended. Entry raises what the LLM call raised before that, to all its callers.
    """

    __slots__ = (
        *("_answering", "_attempt", "_begins", "_counters", "_produce", "_seat", "_span"),
        *("hit", "source"),
    )

    def __init__(
        self,
        counters: Counters,
        answering: Answering[C],
        attempt: Attempt | None,
        produce: Produce[C],
        hit: Answer | None = None,
        begins: Callable[[], Span | None] | None = None,
    ) -> None:
        """``attempt``: None where ``hit`` is there already. ``begins`` the record of it."""
        self._counters = counters
        self._answering = answering
        self._attempt = attempt
        self._produce = produce
        self._begins = begins
        self._span: Span | None = None
        self._seat: Seat[C, Outcome] | None = None
        self.hit = hit
        """The stored answer, if it is one."""
        self.source = Source.BYPASSED if hit is None else hit.source
        """Where the answer comes from."""

    @property
    def timings(self) -> Timings:
        """Seconds spent so far."""
        return Timings() if self._attempt is None else self._attempt.timings()

    @property
    def shadow(self) -> Neighbour | None:
        """In shadow mode: the stored answer that would have been served."""
        return None if self._attempt is None else self._attempt.shadow

    async def __aenter__(self) -> Reply[C]:
        if self._begins is not None:
            self._span = self._begins()
        if self._attempt is None:
            return self
        self._attempt.span = self._span
        try:
            self.hit = await self._begin(self._attempt)
        except BaseException as error:
            self._settle(error)
            raise
        if self.hit is not None:
            self.source = self.hit.source
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._settle(error)

    async def __aiter__(self) -> AsyncGenerator[C, None]:
        """What the LLM call emits, from its first chunk on, as it comes; nothing for a hit. Ends
        when the call returns, while storing goes on; raises what it raised in mid-stream."""
        seat, seen = self._seat, 0
        while seat is not None and await self._answering.read(seat, seen):
            for chunk in seat.flight.chunks[seen:]:
                yield chunk
                seen += 1

    async def answer(self) -> Answer:
        """The whole answer, once it is stored where it is to be. Only within the ``async with``."""
        if self.hit is not None:
            return self.hit
        if self._attempt is None or self._seat is None:
            raise SemcacheError(
                "This reply is over; call answer() within its async with block, and keep what it "
                "returns."
            )
        answer = await self._answering.outcome(self._attempt, self._seat)
        assert answer is not None  # _begin has waited until this is sure
        return answer

    async def _begin(self, attempt: Attempt) -> Answer | None:
        """A stored answer; or None with a seat in a flight that has emitted its first chunk or
        ended."""
        while True:
            found = await self._answering.seek(attempt, self._produce)
            if isinstance(found, Answer):
                if attempt.renews is not None:
                    self._answering.renew(attempt, attempt.renews, found, self._produce)
                self._answering.audit(attempt)
                return found
            self._seat = found
            began = time.perf_counter()
            try:
                emitted = await self._answering.read(found, 0)
            except FlightLostError:  # before anything of it was handed on here
                self._leave()
                continue
            attempt.generate_s += time.perf_counter() - began
            if emitted or found.flight.ended:
                self.source = self._answering.source(attempt, found)
                return None
            # It has landed without a call: its leader found an answer on its second look.
            answer = await self._answering.outcome(attempt, found)
            self._leave()
            if answer is not None:
                return answer

    def _leave(self) -> None:
        if self._seat is not None:
            assert self._attempt is not None
            self._answering.leave(self._seat, self._attempt)
            self._seat = None

    def _settle(self, error: BaseException | None) -> None:
        self._leave()
        if self._span is not None:
            self._span.end(self.hit or self, error)
        if error is None:
            self._counters.count(self.source)
            return
        self._counters.count_error(error)
