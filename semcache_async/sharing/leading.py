"""The claims of this process, and what their followers in other processes are written."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context
from typing import Any, Generic, TypeVar

import msgspec

from semcache_async.errors import (
    CacheClosedError,
    FlightCancelledError,
    OverloadedError,
    ReentrancyError,
)
from semcache_async.flow.flight import Flight, Generated, Seat
from semcache_async.flow.flights import Flights
from semcache_async.sharing.letters import (
    Body,
    Chunks,
    Ended,
    Gone,
    Join,
    Leave,
    pack_chunk,
    pack_error,
    read,
    to_bytes,
)
from semcache_async.sharing.post import Post
from semcache_async.types import Letter

__all__ = ["Asked", "Leading"]

C = TypeVar("C")
R = TypeVar("R")

_LETTER_BYTES = 65_536
"""Chunks go together in letters of about this size."""
_OURS = (CacheClosedError, FlightCancelledError, OverloadedError, ReentrancyError)
"""Errors that concern this process alone: a follower had better look again."""


class Asked:
    """A claim of this process: it asks to lead, and then does."""

    __slots__ = ("claim", "flight", "joins", "leads", "mirrors", "purged")

    def __init__(self, claim: str, flight: Flight[Any, Any]) -> None:
        self.claim = claim
        self.flight = flight
        self.leads = False
        self.joins: list[Join] = []
        """Those who came before it was known whether it leads."""
        self.mirrors: dict[str, asyncio.Task[None]] = {}
        """What writes to each follower, by inbox."""
        self.purged = False
        """An invalidation has withdrawn it, so that its followers cannot see whether it stands."""

    def lead(self) -> None:
        """None was told of that stood before and is near."""
        self.leads = True
        self.flight.claim = self.claim


class Leading(Generic[C, R]):
    """To the flight, a follower in another process is one more caller with a seat."""

    def __init__(self, post: Post, flights: Flights[C, R]) -> None:
        self._post = post
        self._flights = flights
        self._asked: dict[str, Asked] = {}
        self._retiring: set[asyncio.Task[None]] = set()

    def knows(self, claim: str) -> bool:
        """Is it one of this process's?"""
        return claim in self._asked

    def claims(self) -> Sequence[str]:
        """Those by which flights lead."""
        return [claim for claim, asked in self._asked.items() if asked.leads]

    @contextmanager
    def asking(self, claim: str, flight: Flight[C, R]) -> Iterator[Asked]:
        """A claim is made in this block; it is withdrawn at the end, unless it ``lead``s then."""
        asked = self._asked[claim] = Asked(claim, flight)
        try:
            yield asked
        finally:
            joins, asked.joins = asked.joins, []
            if asked.leads:
                for join in joins:
                    self._join(asked, join)
            else:
                del self._asked[claim]
                self._post.withdraw(claim)
                for join in joins:
                    self._post.send(join.inbox, claim, Gone())

    def lost(self, claim: str) -> None:
        """Its lease had ended: others may lead what its flight was to bring."""
        asked = self._asked.get(claim)
        if asked is not None:
            self._flights.let_nobody_board(lambda flight: flight is asked.flight)

    def retire(self, claim: str) -> None:
        """The flight is about to land: withdraw once every follower knows what it brought."""
        task = asyncio.get_running_loop().create_task(
            self._retire(self._asked[claim]), context=Context()
        )
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def heard(self, letter: Letter) -> None:
        """A letter from a follower, or of an invalidation."""
        asked = self._asked.get(letter.claim)
        if not letter.body:
            if asked is not None:
                self.lost(letter.claim)
                asked.purged = True
                for inbox in {*asked.mirrors, *(join.inbox for join in asked.joins)}:
                    self._post.send(inbox, letter.claim, None)
            return
        body = read(letter)
        if isinstance(body, Join):
            if asked is None:
                self._post.send(body.inbox, letter.claim, Gone())
            elif asked.leads:
                self._join(asked, body)
            else:
                asked.joins.append(body)
        elif isinstance(body, Leave) and asked is not None:
            mirror = asked.mirrors.pop(body.inbox, None)
            if mirror is not None:
                mirror.cancel()
            asked.joins = [join for join in asked.joins if join.inbox != body.inbox]

    async def aclose(self) -> None:
        """Every flight has ended."""
        while self._retiring:
            await asyncio.gather(*self._retiring, return_exceptions=True)

    def _join(self, asked: Asked, join: Join) -> None:
        """Write to a follower from now on, from where it says."""
        before = asked.mirrors.get(join.inbox)
        seat = self._flights.mirror(asked.flight, join.tags)
        if seat is None:
            if before is None or before.done():
                self._post.send(join.inbox, asked.claim, Gone())
            return  # else it is about to write how the flight ended
        if before is not None:
            before.cancel()
        task = asyncio.get_running_loop().create_task(
            self._mirror(asked, seat, join), context=Context()
        )
        asked.mirrors[join.inbox] = task

    async def _mirror(self, asked: Asked, seat: Seat[C, R], join: Join) -> None:
        seen = join.seen
        end: Body
        try:
            if asked.purged and len(seat.flight.chunks) <= seen:
                await self._post.write(join.inbox, asked.claim, Chunks(seen, []))
            while await self._flights.read(seat, seen):
                letter = _chunks(seat.flight, seen)
                if letter is None:
                    end = Gone()
                    break
                if not await self._post.write(join.inbox, asked.claim, letter):
                    return
                seen += len(letter.chunks)
            else:
                end = _end(await seat.waiter, seat.flight)
        except asyncio.CancelledError:
            raise
        except _OURS:
            end = Gone()
        except BaseException as error:
            end = pack_error(error, len(seat.flight.chunks))
        finally:
            self._flights.leave(seat)
        await self._post.write(join.inbox, asked.claim, end)

    async def _retire(self, asked: Asked) -> None:
        task = asked.flight.task
        if task is not None:
            await asyncio.wait([task])
        await asyncio.sleep(0)  # it lands
        await asyncio.gather(*asked.mirrors.values(), return_exceptions=True)
        self._asked.pop(asked.claim, None)
        self._post.withdraw(asked.claim)


def _chunks(flight: Flight[C, R], seen: int) -> Chunks | None:
    """None where a chunk is of a kind that cannot be written."""
    chunks: list[msgspec.Raw] = []
    size = 0
    try:
        for chunk in flight.chunks[seen:]:
            chunks.append(pack_chunk(chunk))
            size += len(chunks[-1])
            if size >= _LETTER_BYTES:
                break
    except Exception:  # whatever the encoder makes of it
        return None
    return Chunks(seen, chunks)


def _end(outcome: object, flight: Flight[C, R]) -> Body:
    if not isinstance(outcome, Generated):
        return Gone()  # an answer that was made for a third prompt
    return Ended(to_bytes(outcome.text), outcome.entry_id, outcome.age_s, len(flight.chunks))
