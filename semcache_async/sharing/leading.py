"""The claims of this process, and what their followers in other processes are written."""

from __future__ import annotations

import asyncio
from collections import deque
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
    WINDOW,
    Body,
    Chunks,
    Ended,
    Gone,
    Join,
    Leave,
    Seen,
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
_LONGEST = 16 * 2**20
"""Characters of an answer beyond which no other process is given it."""
_OURS = (CacheClosedError, FlightCancelledError, OverloadedError, ReentrancyError)
"""Errors that concern this process alone: a follower had better look again."""


class _Mirror:
    """What writes to one follower."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self._under_way: deque[int] = deque()
        """Of each letter that the follower may not have read: the number of its last chunk."""
        self._room = asyncio.Event()

    def seen(self, count: int) -> None:
        """The follower has read so many chunks."""
        while self._under_way and self._under_way[0] <= count:
            self._under_way.popleft()
        self._room.set()

    async def room(self) -> None:
        """Return when one more letter may be under way."""
        while len(self._under_way) >= WINDOW:
            self._room.clear()
            await self._room.wait()

    def sent(self, count: int) -> None:
        """A letter that ends with chunk number ``count`` is under way."""
        self._under_way.append(count)


class Asked:
    """A claim of this process: it asks to lead, and then does."""

    __slots__ = ("claim", "flight", "joins", "leads", "mirrors", "stands")

    def __init__(self, claim: str, flight: Flight[Any, Any]) -> None:
        self.claim = claim
        self.flight = flight
        self.stands = self.leads = False
        """Was it registered? Does it lead?"""
        self.joins: list[Join] = []
        """Those who came before it was known whether it leads."""
        self.mirrors: dict[str, _Mirror] = {}
        """What writes to each follower, by inbox."""

    def lead(self) -> None:
        """None was told of that stood before and is near."""
        self.leads = True
        self.flight.claim = self.claim


class Leading(Generic[C, R]):
    """To the flight, a follower in another process is one more caller with a seat."""

    def __init__(self, post: Post, flights: Flights[C, R], *, lease_s: float) -> None:
        """``lease_s``: how long a follower may take to read how a flight ended."""
        self._lease_s = lease_s
        self._post = post
        self._flights = flights
        self._asked: dict[str, Asked] = {}
        self._retiring: set[asyncio.Task[None]] = set()

    def knows(self, claim: str) -> bool:
        """Is it one of this process's?"""
        return claim in self._asked

    def claims(self) -> Sequence[str]:
        """Those whose leases are to be renewed: of flights that lead, and of those about which a
        verifier is being asked."""
        return [claim for claim, asked in self._asked.items() if asked.stands]

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
        elif isinstance(body, Seen) and asked is not None:
            if body.inbox in asked.mirrors:
                asked.mirrors[body.inbox].seen(body.seen)
        elif isinstance(body, Leave) and asked is not None:
            mirror = asked.mirrors.pop(body.inbox, None)
            if mirror is not None and mirror.task is not None:
                mirror.task.cancel()
            asked.joins = [join for join in asked.joins if join.inbox != body.inbox]

    async def aclose(self) -> None:
        """Every flight has ended; tell their followers, as far as they listen."""
        if self._retiring:
            _, stuck = await asyncio.wait(self._retiring, timeout=self._lease_s / 4.0)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)

    def _join(self, asked: Asked, join: Join) -> None:
        """Write to a follower from now on, from where it says."""
        known = asked.mirrors.get(join.inbox)
        before = None if known is None else known.task
        if before is not None and not before.done() and not asked.flight.is_under_way():
            asked.mirrors[join.inbox].seen(join.seen)
            return  # it is about to write how the flight ended
        seat = self._flights.mirror(asked.flight, join.tags)
        if seat is None:
            self._post.send(join.inbox, asked.claim, Gone())
            return
        if before is not None:
            before.cancel()
        mirror = asked.mirrors[join.inbox] = _Mirror()
        mirror.task = asyncio.get_running_loop().create_task(
            self._write(asked, mirror, seat, join), context=Context()
        )

    async def _write(self, asked: Asked, mirror: _Mirror, seat: Seat[C, R], join: Join) -> None:
        seen = join.seen
        end: Body
        try:
            if 0 < seen >= len(seat.flight.chunks):  # it wants to know whether this process lives
                await self._post.write(join.inbox, asked.claim, Chunks(seen, []))
            while await self._flights.read(seat, seen):
                await mirror.room()
                letter = _chunks(seat.flight, seen)
                if letter is None:
                    end = Gone()
                    break
                if not await self._post.write(join.inbox, asked.claim, letter):
                    return
                seen += len(letter.chunks)
                mirror.sent(seen)
            else:
                end = _end(await seat.waiter, seat.flight)
        except asyncio.CancelledError:
            raise
        except _OURS:
            end = Gone()
        except BaseException as error:
            end = pack_error(error, len(seat.flight.chunks), seat.flight.traceparent)
        finally:
            self._flights.leave(seat)
        await self._post.write(join.inbox, asked.claim, end)

    async def _retire(self, asked: Asked) -> None:
        task = asked.flight.task
        if task is not None:
            await asyncio.wait([task])
        await asyncio.sleep(0)  # it lands
        writing = [mirror.task for mirror in asked.mirrors.values() if mirror.task is not None]
        if writing:
            _, stuck = await asyncio.wait(writing, timeout=self._lease_s)
            for one in stuck:  # their followers stand still
                one.cancel()
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
    if len(outcome.text) > _LONGEST:
        return Gone()
    text, count = to_bytes(outcome.text), len(flight.chunks)
    return Ended(text, outcome.entry_id, outcome.age_s, count, flight.traceparent)
