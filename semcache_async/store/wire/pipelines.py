"""Pipelines of commands to one Redis: many commands, one write, replies in order.

redis-py connects (URL, TLS, AUTH, HELLO 3, SELECT); then its transport is handed to a protocol of
ours, which costs about 3 us a command where redis-py's own pipeline costs about 35
(docs/decisions.md). Replies are counted off in the order of their commands, so a waiter that left
never shifts another's reply; a connection that failed or timed out is dropped with all on it.

A connection may be dead without anybody having said so (a middlebox that forgot it), most of all
one that has been silent for a while. What is sent there and brings nothing for a moment is sent
again on a fresh one, within the same time limit; so commands are idempotent, or sent with
``again=False``. How long a moment is goes by how long Redis has been taking lately.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import hiredis

from semcache_async.errors import StoreError, StoreUnavailableError
from semcache_async.store.wire.line import LOST, Command, Line, Lines, Reply, SilentError
from semcache_async.store.wire.replies import ReadOnlyError
from semcache_async.store.wire.routes import Route

__all__ = ["PING", "ServerPipelines"]

PING: Command = ("PING",)

_PULSE_S = 1.0
"""How often a listening connection is tried."""
_PAUSE_S, _PAUSE_MAX_S = 0.5, 30.0
"""From one failure to open a further connection to the next attempt."""


class ServerPipelines:
    """Up to ``connections`` connections, opened when those open are busy, each carrying any
    number of pipelines at once, all to the server that ``route`` leads to."""

    def __init__(
        self,
        route: Route,
        *,
        connections: int,
        timeout_s: float,
        silent_s: float,
        patience_s: float,
    ) -> None:
        self.route = route
        self._limit = connections
        self._timeout_s = timeout_s
        self.lines = Lines(timeout_s=timeout_s, silent_s=silent_s, patience_s=patience_s)
        self._opening: set[asyncio.Task[Line]] = set()
        self._pause_s = _PAUSE_S
        self._not_before = 0.0
        self._turn = asyncio.Lock()

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self.lines.open)

    def at(self, partition: str) -> ServerPipelines:
        """One server has every partition."""
        return self

    def servers(self) -> list[ServerPipelines]:
        """All there are."""
        return [self]

    def deadline(self) -> float:
        """When something that begins now has to have ended, by the loop's clock."""
        return asyncio.get_running_loop().time() + self._timeout_s

    async def execute(
        self, commands: Sequence[Command], *, again: bool = True, until: float | None = None
    ) -> list[Reply]:
        """A reply, or a ``StoreError``, for each command, in order.

        Without ``again``, nothing is sent twice. ``until``, by the loop's clock, is an earlier end
        than this call's own time limit. Raises ``StoreUnavailableError`` when the whole,
        connecting included, does not finish within the time limit, and ``StoreAuthError`` when
        connecting is refused.
        """
        session = ServerSession(self)
        try:
            async with asyncio.timeout_at(self.deadline() if until is None else until):
                return await session.execute(commands, again=again)
        except TimeoutError:
            session.drop()
            raise self._late() from None

    @asynccontextmanager
    async def session(self) -> AsyncIterator[ServerSession]:
        """A connection and the time limit for all that is sent in the block, one block at a time.
        With one connection at most and no other use, nobody else's commands come between. The
        connection is dropped where the block raises."""
        session = ServerSession(self)
        try:
            async with asyncio.timeout(self._timeout_s), self._turn:
                yield session
        except TimeoutError:
            session.drop()
            raise self._late() from None
        except BaseException:
            session.drop()
            raise

    async def aclose(self) -> None:
        """Drop every connection; what is under way fails."""
        for task in list(self._opening):
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for line in list(self.lines.open):
            line.drop()

    async def listen(
        self, command: Command, heard: Callable[[list[Any]], None], *, pulse: Command = PING
    ) -> None:
        """Send ``command`` on a connection of its own and pass what is pushed there to ``heard``;
        ``pulse`` now and then, to see that it is still the right one. Returns never; raises a
        ``StoreError`` when either is refused or the connection is lost."""
        line = await self.route.connect(None, self._timeout_s)
        line.pushed = heard
        try:
            while True:
                async with asyncio.timeout(self._timeout_s):
                    (reply,) = await line.send(_pack(command), 1)
                if isinstance(reply, StoreError):
                    raise reply
                heard([])
                await asyncio.sleep(_PULSE_S)
                command = pulse
        except TimeoutError:
            raise StoreUnavailableError(LOST) from None
        finally:
            line.drop()

    async def ask(
        self, commands: Callable[[], Sequence[Command]], *, wait_s: float
    ) -> AsyncGenerator[list[Reply], None]:
        line = await self.route.connect(None, self._timeout_s)
        try:
            while True:
                asked = commands()
                payload = b"".join([_pack(command) for command in asked])
                async with asyncio.timeout(self._timeout_s + wait_s):
                    replies = await line.send(payload, len(asked))
                yield replies
        except TimeoutError:
            raise StoreUnavailableError(LOST) from None
        finally:
            line.drop()

    async def line(self) -> Line:
        """The connection to use: an idle one, else the least busy one while a further one is
        opened, else one that was waited for."""
        while True:
            line = min(self.lines.open, key=Line.load, default=None)
            if line is not None:
                if line.load() and self._may_open():
                    self._open()
                return line
            if len(self._opening) < self._limit:
                try:
                    return await asyncio.shield(self._open())
                except StoreError:
                    if not self.lines.open:
                        raise
            else:
                await asyncio.wait(self._opening, return_when=asyncio.FIRST_COMPLETED)

    async def new_line(self) -> Line:
        """A connection that has just been opened, or else any."""
        if self._has_room():
            with suppress(StoreError):
                return await asyncio.shield(self._open())
        return await self.line()

    def _has_room(self) -> bool:
        return len(self.lines.open) + len(self._opening) < self._limit

    def _may_open(self) -> bool:
        return self._has_room() and asyncio.get_running_loop().time() >= self._not_before

    def _open(self) -> asyncio.Task[Line]:
        task = asyncio.create_task(self.route.connect(self.lines, self._timeout_s))
        self._opening.add(task)
        task.add_done_callback(self._opened)
        return task

    def _opened(self, task: asyncio.Task[Line]) -> None:
        self._opening.discard(task)
        if task.cancelled():
            return
        if task.exception() is None:
            self._pause_s, self._not_before = _PAUSE_S, 0.0
        else:
            self._not_before = task.get_loop().time() + self._pause_s
            self._pause_s = min(_PAUSE_MAX_S, self._pause_s * 2)

    def _late(self) -> StoreUnavailableError:
        return StoreUnavailableError(f"Redis did not answer within {self._timeout_s:g} s.")


class ServerSession:
    """One after the other, pipelines on one connection."""

    def __init__(self, pipelines: ServerPipelines) -> None:
        self._pipelines = pipelines
        self._line: Line | None = None

    async def execute(self, commands: Sequence[Command], *, again: bool = True) -> list[Reply]:
        """A reply, or a ``StoreError``, for each command, in order. The first call finds the
        connection; what later ones send is never sent again."""
        payload, faults = _packed(commands)
        count = len(commands) - len(faults)
        begins = self._line is None
        replies = await self._send(payload, count, again) if count else []
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            self._pipelines.lines.drop_all()  # each leads to the demoted master
            if begins and again and self._pipelines.route.moves:
                self._line = None
                replies = await self._send(payload, count, again)
        for place, fault in faults:
            replies.insert(place, fault)
        return replies

    def drop(self) -> None:
        """Close the connection, if there is one yet."""
        if self._line is not None:
            self._line.drop()

    async def _send(self, payload: bytes, count: int, again: bool) -> list[Reply]:
        line = self._line
        if line is not None:
            return await line.send(payload, count)
        pipelines = self._pipelines
        line = self._line = pipelines.lines.idle() or await pipelines.line()
        doubtful = time.monotonic() - line.heard_at > pipelines.lines.silent_s
        try:
            if doubtful and not again:
                await line.send(_PING, 1, again=True)
            else:
                return await line.send(payload, count, again=again)
        except SilentError:
            if not doubtful and not again:
                raise
        except StoreUnavailableError:
            if not doubtful:
                raise
        else:
            return await line.send(payload, count)
        line = self._line = await pipelines.new_line()
        return await line.send(payload, count)


_pack = cast("Callable[[Command], bytes]", hiredis.pack_command)
_PING = _pack(PING)


def _packed(commands: Sequence[Command]) -> tuple[bytes, list[tuple[int, StoreError]]]:
    """The commands in the protocol's bytes, and the places of those that cannot be put so."""
    try:
        return b"".join([_pack(command) for command in commands]), []
    except Exception:
        packed: list[bytes] = []
        faults: list[tuple[int, StoreError]] = []
        for place, command in enumerate(commands):
            try:
                packed.append(_pack(command))
            except Exception as error:
                faults.append(
                    (place, StoreError(f"Redis takes no such command ({type(error).__name__})."))
                )
        return b"".join(packed), faults
