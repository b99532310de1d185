"""The one flow of an answered request: tiers, then a flight, then the LLM call and the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from semcache_async.config import CacheConfig
from semcache_async.flow.flight import Flight, Seat
from semcache_async.flow.flights import Flights
from semcache_async.protocols import Generate, GenerateStream, Produce
from semcache_async.request import Request
from semcache_async.stats import Counters
from semcache_async.tiers import Tiers
from semcache_async.types import Answer, Produced, Scope, Source

__all__ = ["Answering", "in_pieces", "whole"]


class _Made(NamedTuple):
    """What a flight brings that called the LLM."""

    text: str
    entry_id: str | None


Landing: TypeAlias = Answer | _Made
"""What a flight brings. An ``Answer`` was found on the leader's second look."""


class Answering:
    """Requests of one cache on their way to an answer."""

    def __init__(self, tiers: Tiers, config: CacheConfig, counters: Counters) -> None:
        self._tiers = tiers
        self._config = config
        self._counters = counters
        self._flights: Flights[Landing] = Flights(finish_abandoned=config.finish_abandoned)

    def __len__(self) -> int:
        """Flights under way."""
        return len(self._flights)

    @property
    def waiting(self) -> int:
        """Callers in flights."""
        return self._flights.waiting

    async def answer(self, request: Request, produce: Produce) -> Answer:
        """A stored answer, or what a flight brings."""
        while True:
            found = await self.seek(request, produce)
            if isinstance(found, Answer):
                return found
            try:
                landed = await self.landing(request, found)
            finally:
                self.leave(found)
            if landed is not None:
                return landed

    async def seek(self, request: Request, produce: Produce) -> Answer | Seat[Landing]:
        """A stored answer, or else a seat in a flight."""
        if not request.reads:
            return self._charter(request, produce)
        seat = self._flights.join(request.key)
        if seat is not None:
            return seat
        found = await self._tiers.find(request)
        if found is not None:
            return found
        if not request.writes:
            return self._charter(request, produce)
        body = partial(self._fly, request, produce)
        return self._flights.board(request.flight(), request.policy, body)

    def _charter(self, request: Request, produce: Produce) -> Seat[Landing]:
        flight = request.flight()
        flight.worthwhile = request.writes
        return self._flights.charter(flight, partial(self._fly, request, produce))

    # -- in a flight

    def source(self, request: Request, seat: Seat[Landing]) -> Source:
        """What an answer from this seat counts as."""
        if not seat.leads:
            return Source.SHARED
        return Source.GENERATED if request.reads or request.writes else Source.BYPASSED

    async def read(self, seat: Seat[Landing], seen: int) -> bool:
        """Wait for more than ``seen`` chunks; False when there will be none."""
        return await self._flights.read(seat, seen)

    def leave(self, seat: Seat[Landing]) -> None:
        """Give the seat up."""
        self._flights.leave(seat)

    async def landing(self, request: Request, seat: Seat[Landing]) -> Answer | None:
        """What the flight brings; None for a follower whose leader found, on its second look, an
        answer that was made for a third prompt: near the leader is not near the follower."""
        began = time.perf_counter()
        landing = await seat.waiter
        request.generate_s += time.perf_counter() - began
        if isinstance(landing, Answer):
            return landing if seat.leads else None
        return request.answer(
            landing.text,
            self.source(request, seat),
            entry_id=landing.entry_id,
            distance=None if seat.leads else seat.distance,
            matched_prompt=None if seat.leads else seat.flight.prompt,
        )

    async def _fly(self, request: Request, produce: Produce, flight: Flight[Landing]) -> Landing:
        """A flight's body: look again, since another's store may have landed between this
        request's search and its boarding; else call the LLM and store what it says."""
        if request.reads:
            found = await self._tiers.find(request)
            if found is not None:
                return found
        made = await self._call(request.prompt, produce, flight.emit)
        flight.end()
        if not (request.reads or request.writes):
            return _Made(made.text, None)
        return _Made(made.text, await self._keep(request, flight, made))

    async def _call(
        self, prompt: str, produce: Produce, emit: Callable[[object], None]
    ) -> Produced:
        self._counters.llm_calls += 1
        try:
            async with asyncio.timeout(self._config.generate_timeout_s):
                return await produce(prompt, emit)
        except BaseException:
            self._counters.llm_errors += 1
            raise

    async def _keep(self, request: Request, flight: Flight[Landing], made: Produced) -> str | None:
        """The id of the stored entry, or None where the answer was not stored."""
        entry_id = None
        if made.keep and request.writes and not flight.is_grounded():
            entry_id = await self._tiers.keep(request, made.text, flight.started_at)
        if entry_id is not None and flight.is_grounded():
            await self._tiers.withdraw(request, entry_id)
            entry_id = None
        self._counters.not_stored += entry_id is None
        return entry_id

    # -- from outside

    def ground(self, scope: Scope | None, tags: Collection[str]) -> None:
        """Keep answers that are being made for that scope and those tags out of the store."""
        self._flights.ground(lambda flight: flight.meets(scope, tags))

    async def aclose(self) -> None:
        """Cancel every flight."""
        await self._flights.aclose()


def whole(generate: Generate) -> Produce:
    """A ``Produce`` that emits nothing."""

    async def produce(prompt: str, _emit: Callable[[Any], None]) -> Produced:
        text = await generate(prompt)
        if not isinstance(text, str):
            raise TypeError(
                f"generate returned {type(text).__name__}; it must return the answer as a str."
            )
        return Produced(text)

    return produce


def in_pieces(generate_stream: GenerateStream) -> Produce:
    """A ``Produce`` that emits each piece of the answer."""

    async def produce(prompt: str, emit: Callable[[Any], None]) -> Produced:
        pieces: list[str] = []
        stream: AsyncIterator[Any] = generate_stream(prompt)
        try:
            async for piece in stream:
                if not isinstance(piece, str):
                    raise TypeError(
                        f"generate_stream gave a {type(piece).__name__}; it must give str."
                    )
                pieces.append(piece)
                emit(piece)
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
        return Produced("".join(pieces))

    return produce
