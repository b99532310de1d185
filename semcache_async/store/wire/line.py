"""One connection to Redis: commands out, replies in the same order; and when to give it up."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import hiredis

from semcache_async.errors import StoreError, StoreUnavailableError
from semcache_async.store.wire.replies import reply_error

__all__ = ["LOST", "PATIENCE_S", "SILENT_S", "Command", "Line", "Lines", "Reply", "SilentError"]

Command: TypeAlias = tuple[str | bytes | int | float, ...]
Reply: TypeAlias = Any

SILENT_S = 1.0
"""A connection that brought nothing for so long is doubtful."""
PATIENCE_S = 0.1
"""What a doubtful connection is given to prove that it lives."""
_PATIENCE_SHARE = 0.25
"""What any other is given, of the time limit."""
_PATIENCE_FACTOR = 4.0
"""Each is given so many times the longest wait for a sign of life lately, too."""
_FORGETTING = 0.99
"""The longest wait counts for so much less with every further answer."""
_LOOKS = 4
"""How often to look within that time."""
LOST = "The connection to Redis was lost; it is opened again at the next use."
_NOT_ENOUGH = object()


class SilentError(StoreUnavailableError):
    """Nothing came where something should have."""


class Lines:
    """The connections of one pool, and how long to believe in them."""

    def __init__(self, *, timeout_s: float, silent_s: float, patience_s: float) -> None:
        self.open: list[Line] = []
        self.silent_s = silent_s
        self._share_s = timeout_s * _PATIENCE_SHARE
        self._patience_s = min(patience_s, self._share_s)
        self._longest_s = 0.0

    def idle(self) -> Line | None:
        """A connection on which nothing is under way."""
        for line in self.open:
            if not line.load():
                return line
        return None

    def patience_s(self, *, doubtful: bool) -> float:
        """How long to wait for a sign of life before another connection is tried."""
        patience_s = self._patience_s if doubtful else self._share_s
        return max(patience_s, _PATIENCE_FACTOR * self._longest_s)

    def waited(self, seconds: float) -> None:
        """It took so long to hear from Redis."""
        self._longest_s = max(seconds, self._longest_s * _FORGETTING)

    def drop_silent(self, since: float) -> None:
        """Drop every connection that has brought nothing since: where one is dead, all may be.
        What was sent there is sent again."""
        for line in [line for line in self.open if line.heard_at < since]:
            line.drop(SilentError)

    def drop_all(self) -> None:
        """Drop every connection: they lead to the wrong server. What was sent there is sent
        again."""
        for line in list(self.open):
            line.drop(SilentError)

    def add(self, line: Line) -> None:
        """Use this connection from now on."""
        self.open.append(line)

    def discard(self, line: Line) -> None:
        """Use it no longer."""
        if line in self.open:
            self.open.remove(line)


class Line(asyncio.Protocol):
    """One connection: commands out, replies in the same order."""

    def __init__(self, connection: Any, owner: Lines | None) -> None:
        self._owner = owner
        self._pending: deque[tuple[asyncio.Future[list[Reply]], int]] = deque()
        self._replies: list[Reply] = []
        self._reader = hiredis.Reader(
            protocolError=StoreError,
            replyError=reply_error,
            notEnoughData=_NOT_ENOUGH,
        )
        self._loop = asyncio.get_running_loop()
        self.heard_at = time.monotonic()
        """When something came last."""
        self._awaited_since = 0.0
        """Since when something has been awaited and nothing has come."""
        self._doubtful = False
        """Had it been silent for long when that was sent?"""
        self._all_again = True
        """May all that is awaited be sent again?"""
        self._look: asyncio.TimerHandle | None = None
        self._look_due = 0.0
        self._writer: asyncio.StreamWriter = connection._writer  # its end would close the transport
        self._transport = cast(asyncio.Transport, self._writer.transport)
        self._transport.set_protocol(self)
        connection._reader = connection._writer = None
        if owner is not None:
            owner.add(self)
        self.pushed: Callable[[list[Any]], None] | None = None
        """Takes what the server pushes."""

    def load(self) -> int:
        """Commands without a reply yet."""
        return sum([count for _, count in self._pending]) if self._pending else 0

    def send(
        self, payload: bytes, count: int, *, again: bool = False
    ) -> asyncio.Future[list[Reply]]:
        """Write ``count`` packed commands; the future brings their replies, or a ``SilentError``
        where they had better be sent ``again`` elsewhere."""
        waiter: asyncio.Future[list[Reply]] = self._loop.create_future()
        if self._transport.is_closing():
            self.drop()
            waiter.set_exception(StoreUnavailableError(LOST))
            return waiter
        if not self._pending and self._owner is not None:
            self._awaited_since = now = time.monotonic()
            self._doubtful = now - self.heard_at > self._owner.silent_s
            self._all_again = True
            if again and (self._look is None or self._doubtful):
                self._look_soon(self._owner)
        self._all_again &= again
        self._pending.append((waiter, count))
        self._transport.write(payload)
        return waiter

    def data_received(self, data: bytes) -> None:
        self.heard_at = time.monotonic()
        if self._owner is not None and self._pending:
            self._owner.waited(self.heard_at - self._awaited_since)
            self._awaited_since = self.heard_at
            self._doubtful = False
        self._reader.feed(data)
        gets: Callable[[], Reply] = self._reader.gets
        try:
            while (reply := gets()) is not _NOT_ENOUGH:
                if isinstance(reply, hiredis.PushNotification):
                    if self.pushed is not None:
                        self.pushed(reply)
                    continue
                self._replies.append(reply)
                if len(self._replies) == self._pending[0][1]:
                    waiter, _ = self._pending.popleft()
                    replies, self._replies = self._replies, []
                    if not waiter.done():
                        waiter.set_result(replies)
        except (StoreError, IndexError):
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        self.drop()

    def drop(self, error: type[StoreUnavailableError] = StoreUnavailableError) -> None:
        """Close without waiting; whoever waits on this connection gets an error."""
        if self._owner is not None:
            self._owner.discard(self)
        if self._look is not None:
            self._look.cancel()
        self._transport.abort()
        while self._pending:
            waiter, _ = self._pending.popleft()
            if not waiter.done():
                waiter.set_exception(error(LOST))

    def _look_soon(self, owner: Lines) -> None:
        """Look now and then whether anything comes, for as long as something is awaited."""
        if self._look is not None:
            self._look.cancel()
        pause_s = owner.patience_s(doubtful=self._doubtful) / _LOOKS
        self._look_due = time.monotonic() + pause_s * 1.5
        self._look = self._loop.call_later(pause_s, self._look_at, owner)

    def _look_at(self, owner: Lines) -> None:
        self._look = None
        if not self._pending:
            return
        now = time.monotonic()
        late = now > self._look_due  # a loop that stood still has not read what came
        patience_s = owner.patience_s(doubtful=self._doubtful)
        silent = self.heard_at < self._awaited_since <= now - patience_s
        if silent and self._all_again and not late:
            owner.drop_silent(self._awaited_since)
        else:
            self._look_soon(owner)
