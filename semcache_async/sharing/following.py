"""Flights of this process that another process leads."""

from __future__ import annotations

import asyncio
from typing import Any, Generic, TypeVar

from semcache_async.errors import FlightLostError
from semcache_async.flow.flight import Flight, Generated
from semcache_async.flow.flights import Flights
from semcache_async.sharing.letters import (
    WINDOW,
    Chunks,
    Ended,
    Failed,
    Gone,
    Join,
    Leave,
    Seen,
    chunk_reader,
    from_bytes,
    read,
    unpack_error,
)
from semcache_async.sharing.post import Post
from semcache_async.types import Letter, Rival

__all__ = ["Following"]

C = TypeVar("C")
R = TypeVar("R")


class _Follower:
    """A flight of this process, and the letters for it that it has not read."""

    def __init__(self, flight: Flight[Any, Any]) -> None:
        self.flight = flight
        self.letters: asyncio.Queue[Chunks | Ended | Failed | Gone] = asyncio.Queue()
        self.ended = False
        """The leader writes no more."""
        self.purged = False
        """An invalidation has withdrawn the claim, but not the flight: what it brings is delivered,
        and kept by nobody."""
        self.read = 0
        """Letters with chunks since the leader was told what has been seen."""
        self._decode = chunk_reader(flight.emits)

    def take(self, letter: Chunks) -> bool:
        """Emit what is new; False where something before it is missing."""
        seen = len(self.flight.chunks)
        if letter.start > seen:
            return False
        self.read += 1
        for chunk in letter.chunks[seen - letter.start :]:
            self.flight.emit(self._decode(chunk))
        return True


class Following(Generic[C, R]):
    """Reads what leaders write, and looks after those that write nothing."""

    def __init__(
        self,
        post: Post,
        flights: Flights[C, R],
        *,
        look_s: float,
        lease_s: float,
        longest_s: float,
    ) -> None:
        """``look_s``: of silence before a leader is looked after; ``lease_s``: of silence before
        one that nobody can look after is given up in mid-stream."""
        self._post = post
        self._flights = flights
        self._look_s = look_s
        self._lease_s = lease_s
        self._longest_s = longest_s
        self._followers: dict[str, list[_Follower]] = {}

    def heard(self, letter: Letter) -> None:
        """A letter from a leader, or of an invalidation."""
        followers = self._followers.get(letter.claim)
        if not followers:
            return
        if not letter.body:
            flights = [follower.flight for follower in followers]
            for follower in followers:
                follower.purged = True
            self._flights.let_nobody_board(lambda flight: flight in flights)
            return
        body = read(letter)
        if isinstance(body, Chunks | Ended | Failed | Gone):
            for follower in followers:
                follower.letters.put_nowait(body)

    async def follow(self, flight: Flight[C, R], rival: Rival) -> tuple[Generated | None, bool]:
        """What the rival's flight brings, or None where there is none any longer; and whether its
        process fell silent. See ``Sharing.lead_or_follow`` for what is raised."""
        follower = _Follower(flight)
        self._followers.setdefault(rival.claim, []).append(follower)
        try:
            async with asyncio.timeout(self._longest_s):
                made, lost = await self._read(follower, rival)
        finally:
            others = self._followers[rival.claim]
            others.remove(follower)
            if not others:
                del self._followers[rival.claim]
                if not follower.ended:
                    self._post.send(rival.inbox, rival.claim, Leave(self._post.inbox))
        if made is None and flight.chunks:
            raise FlightLostError(
                "The process that was making this answer is gone, and a part of the answer had "
                "been handed on; ask again."
            )
        return made, lost

    async def _read(self, follower: _Follower, rival: Rival) -> tuple[Generated | None, bool]:
        flight, loop = follower.flight, asyncio.get_running_loop()
        heard_at, gone = loop.time(), False
        if await self._join(flight, rival) is False:
            return None, True
        while True:
            try:
                async with asyncio.timeout(self._look_s):
                    letter = await follower.letters.get()
            except TimeoutError:
                stands = None if follower.purged else await self._post.stands(rival.claim)
                if stands:
                    await self._join(flight, rival)
                elif follower.purged or flight.chunks:
                    # It may go on without its claim, or without a store that says so: ask itself.
                    silent = loop.time() - heard_at > self._lease_s
                    if silent or await self._join(flight, rival) is False:
                        return None, True
                elif gone or stands is None:
                    return None, True
                else:
                    # What the leader wrote before its claim ended comes before this does.
                    gone = True
                    await self._post.write(self._post.inbox, rival.claim, Gone())
                continue
            heard_at = loop.time()
            if isinstance(letter, Chunks):
                try:
                    complete = follower.take(letter)
                except ValueError:  # the leader's calls emit what this one's do not
                    return None, False
                if not complete:
                    await self._join(flight, rival)
                elif follower.read >= WINDOW // 2:
                    follower.read = 0
                    seen = Seen(self._post.inbox, len(flight.chunks))
                    await self._post.write(rival.inbox, rival.claim, seen)
            elif isinstance(letter, Gone):
                follower.ended = True
                return None, gone
            elif letter.count > len(flight.chunks):
                await self._join(flight, rival)
            else:
                follower.ended = True
                flight.led_by = letter.traceparent
                if isinstance(letter, Failed):
                    raise unpack_error(letter)
                flight.end()
                return Generated(from_bytes(letter.text), letter.entry_id, letter.age_s), False

    async def _join(self, flight: Flight[C, R], rival: Rival) -> bool | None:
        """Ask for what is new; False where nobody reads that."""
        join = Join(self._post.inbox, len(flight.chunks), tuple(flight.tags))
        return await self._post.write(rival.inbox, rival.claim, join)
