"""Pipelines of commands to Redis: many commands, one write, replies in order.

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
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias, cast

import hiredis
import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from semcache_async.errors import (
    SearchModuleMissingError,
    StoreAuthError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from semcache_async.store.address import check_url, unreadable

__all__ = ["Command", "RedisPipelines", "Session", "redis_pipelines"]

Command: TypeAlias = tuple[str | bytes | int | float, ...]
Reply: TypeAlias = Any

_PULSE_S = 1.0
"""How often a listening connection is tried."""
_SILENT_S = 1.0
"""A connection that brought nothing for so long is doubtful."""
_PATIENCE_S = 0.1
"""What a doubtful connection is given to prove that it lives."""
_PATIENCE_SHARE = 0.25
"""What any other is given, of the time limit."""
_PATIENCE_FACTOR = 4.0
"""Each is given so many times the longest wait for a sign of life lately, too."""
_FORGETTING = 0.99
"""The longest wait counts for so much less with every further answer."""
_LOOKS = 4
"""How often to look within that time."""
_PAUSE_S, _PAUSE_MAX_S = 0.5, 30.0
"""From one failure to open a further connection to the next attempt."""
_LOST = "The connection to Redis was lost; it is opened again at the next use."
NEEDED_COMMANDS = (
    *("MULTI", "EXEC", "WATCH", "UNWATCH", "TIME", "PING"),
    *("HGET", "HMGET", "HSET", "HDEL", "PEXPIRE", "UNLINK", "ZADD", "ZSCORE"),
    *("FT.CREATE", "FT.INFO", "FT.SEARCH", "FT.AGGREGATE", "FT.CURSOR"),
    *("XADD", "XRANGE", "XREVRANGE", "CLIENT|TRACKING"),
)
"""What a user of the store has to be allowed: the X... for the service's logs, TRACKING for local
answers."""


class RedisPipelines:
    """Up to ``connections`` connections, opened when those open are busy, each carrying any
    number of pipelines at once. Raises ``ConfigError`` for a URL that cannot be read."""

    def __init__(
        self,
        url: str,
        *,
        connections: int,
        timeout_s: float,
        silent_s: float = _SILENT_S,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        check_url(url)
        try:
            self._factory = redis.asyncio.ConnectionPool.from_url(
                url,
                protocol=3,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
                health_check_interval=0,
                maint_notifications_config=MaintNotificationsConfig(enabled=False),
            )
            self._factory.make_connection()  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, AttributeError):
            raise unreadable() from None
        self._limit = connections
        self._timeout_s = timeout_s
        self.silent_s = silent_s
        self._patience_s = patience_s
        self._longest_s = 0.0
        self._lines: list[_Line] = []
        self._opening: set[asyncio.Task[_Line]] = set()
        self._pause_s = _PAUSE_S
        self._not_before = 0.0
        self._turn = asyncio.Lock()

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._lines)

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
        session = Session(self)
        try:
            async with asyncio.timeout_at(self.deadline() if until is None else until):
                return await session.execute(commands, again=again)
        except TimeoutError:
            session.drop()
            raise self._late() from None

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A connection and the time limit for all that is sent in the block, one block at a time.
        With one connection at most and no other use, nobody else's commands come between. The
        connection is dropped where the block raises."""
        session = Session(self)
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
        for line in list(self._lines):
            line.drop()

    async def listen(self, command: Command, heard: Callable[[list[Any]], None]) -> None:
        """Send ``command`` on a connection of its own and pass what is pushed there to ``heard``.
        Returns never; raises a ``StoreError`` when it is refused or the connection is lost."""
        line = await _connect(self._factory, None, self._timeout_s)
        line.pushed = heard
        try:
            while True:
                async with asyncio.timeout(self._timeout_s):
                    (reply,) = await line.send(_pack(command), 1)
                if isinstance(reply, StoreError):
                    raise reply
                heard([])
                await asyncio.sleep(_PULSE_S)
                command = ("PING",)
        except TimeoutError:
            raise StoreUnavailableError(_LOST) from None
        finally:
            line.drop()

    def idle_line(self) -> _Line | None:
        """A connection on which nothing is under way."""
        for line in self._lines:
            if not line.load():
                return line
        return None

    async def line(self) -> _Line:
        """The connection to use: an idle one, else the least busy one while a further one is
        opened, else one that was waited for."""
        while True:
            line = min(self._lines, key=_Line.load, default=None)
            if line is not None:
                if line.load() and self._may_open():
                    self._open()
                return line
            if len(self._opening) < self._limit:
                try:
                    return await asyncio.shield(self._open())
                except StoreError:
                    if not self._lines:
                        raise
            else:
                await asyncio.wait(self._opening, return_when=asyncio.FIRST_COMPLETED)

    async def new_line(self) -> _Line:
        """A connection that has just been opened, or else any."""
        if len(self._lines) + len(self._opening) < self._limit:
            with suppress(StoreError):
                return await asyncio.shield(self._open())
        return await self.line()

    def patience_s(self, *, doubtful: bool) -> float:
        """How long to wait for a sign of life before another connection is tried."""
        share = self._timeout_s * _PATIENCE_SHARE
        patience_s = min(self._patience_s, share) if doubtful else share
        return max(patience_s, _PATIENCE_FACTOR * self._longest_s)

    def waited(self, seconds: float) -> None:
        """It took so long to hear from Redis."""
        self._longest_s = max(seconds, self._longest_s * _FORGETTING)

    def drop_silent(self, since: float) -> None:
        """Drop every connection that has brought nothing since: where one is dead, all may be.
        What was sent there is sent again."""
        for line in [line for line in self._lines if line.heard_at < since]:
            line.drop(_SilentError)

    def add(self, line: _Line) -> None:
        """Use this connection from now on."""
        self._lines.append(line)

    def discard(self, line: _Line) -> None:
        """Use it no longer."""
        if line in self._lines:
            self._lines.remove(line)

    def _may_open(self) -> bool:
        free = len(self._lines) + len(self._opening) < self._limit
        return free and asyncio.get_running_loop().time() >= self._not_before

    def _open(self) -> asyncio.Task[_Line]:
        task = asyncio.create_task(_connect(self._factory, self, self._timeout_s))
        self._opening.add(task)
        task.add_done_callback(self._opened)
        return task

    def _opened(self, task: asyncio.Task[_Line]) -> None:
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


class Session:
    """One after the other, pipelines on one connection."""

    def __init__(self, pipelines: RedisPipelines) -> None:
        self._pipelines = pipelines
        self._line: _Line | None = None

    async def execute(self, commands: Sequence[Command], *, again: bool = True) -> list[Reply]:
        """A reply, or a ``StoreError``, for each command, in order. The first call finds the
        connection; what later ones send is never sent again."""
        payload, faults = _packed(commands)
        count = len(commands) - len(faults)
        replies = await self._send(payload, count, again) if count else []
        if any(isinstance(reply, _ReadOnlyError) for reply in replies):
            self.drop()
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
        line = self._line = pipelines.idle_line() or await pipelines.line()
        doubtful = time.monotonic() - line.heard_at > pipelines.silent_s
        try:
            if doubtful and not again:
                await line.send(_PING, 1, again=True)
            else:
                return await line.send(payload, count, again=again)
        except _SilentError:
            if not doubtful and not again:
                raise
        except StoreUnavailableError:
            if not doubtful:
                raise
        else:
            return await line.send(payload, count)
        line = self._line = await pipelines.new_line()
        return await line.send(payload, count)


@asynccontextmanager
async def redis_pipelines(
    url: str,
    *,
    connections: int,
    timeout_s: float,
    silent_s: float = _SILENT_S,
    patience_s: float = _PATIENCE_S,
) -> AsyncIterator[RedisPipelines]:
    """``RedisPipelines`` that are closed at the end."""
    pipelines = RedisPipelines(
        url,
        connections=connections,
        timeout_s=timeout_s,
        silent_s=silent_s,
        patience_s=patience_s,
    )
    try:
        yield pipelines
    finally:
        await pipelines.aclose()


async def _connect(
    factory: redis.asyncio.ConnectionPool, owner: RedisPipelines | None, timeout_s: float
) -> _Line:
    connection: Any = factory.make_connection()  # type: ignore[no-untyped-call]
    try:
        async with asyncio.timeout(timeout_s):
            await connection.connect()
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError) as error:
        if _refused(error) or _refused(error.__cause__):
            raise StoreAuthError(
                f"Redis refused the user name or password in the URL ({error})."
            ) from None
        reason = str(error).rstrip(".")
        raise StoreUnavailableError(
            f"Cannot connect to Redis at {_where(factory)}: {reason}. Is it running, and is the "
            "URL right?"
        ) from None
    except redis.exceptions.RedisError as error:
        raise _reply_error(str(error)) from None
    return _Line(connection, owner)


def _refused(error: BaseException | None) -> bool:
    return isinstance(error, redis.exceptions.AuthenticationError) or "NOAUTH" in str(error)


def _where(factory: redis.asyncio.ConnectionPool) -> str:
    options = factory.connection_kwargs
    return str(options.get("path") or f"{options.get('host')}:{options.get('port')}")


class _Line(asyncio.Protocol):
    """One connection: commands out, replies in the same order."""

    def __init__(self, connection: Any, owner: RedisPipelines | None) -> None:
        self._owner = owner
        self._pending: deque[tuple[asyncio.Future[list[Reply]], int]] = deque()
        self._replies: list[Reply] = []
        self._reader = hiredis.Reader(
            protocolError=StoreError,
            replyError=_reply_error,
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
        """Write ``count`` packed commands; the future brings their replies, or a ``_SilentError``
        where they had better be sent ``again`` elsewhere."""
        waiter: asyncio.Future[list[Reply]] = self._loop.create_future()
        if self._transport.is_closing():
            self.drop()
            waiter.set_exception(StoreUnavailableError(_LOST))
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
                waiter.set_exception(error(_LOST))

    def _look_soon(self, owner: RedisPipelines) -> None:
        """Look now and then whether anything comes, for as long as something is awaited."""
        if self._look is not None:
            self._look.cancel()
        pause_s = owner.patience_s(doubtful=self._doubtful) / _LOOKS
        self._look_due = time.monotonic() + pause_s * 1.5
        self._look = self._loop.call_later(pause_s, self._look_at, owner)

    def _look_at(self, owner: RedisPipelines) -> None:
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


_NOT_ENOUGH = object()
_pack = cast("Callable[[Command], bytes]", hiredis.pack_command)
_PING = _pack(("PING",))


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
                faults.append((place, StoreError(f"Redis takes no such command: {error!r}")))
        return b"".join(packed), faults


class _SilentError(StoreUnavailableError):
    """Nothing came where something should have."""


class _ReadOnlyError(StoreUnavailableError):
    """A replica refused a write: the connection leads to a demoted master."""


def _reply_error(message: str) -> StoreError:
    """The error that an error reply stands for."""
    kind = message.split(" ", 1)[0]
    if kind in {"NOAUTH", "WRONGPASS"}:
        return StoreAuthError(
            f"Redis refused the credentials: {message}. Check the URL's user and password."
        )
    if kind == "NOPERM":
        return StoreAuthError(
            f"Redis refused the permission: {message}. The user needs, on the cache's keys, "
            f"{' '.join(NEEDED_COMMANDS)}."
        )
    if kind == "READONLY":
        return _ReadOnlyError("Redis is a read-only replica; give the URL of the master.")
    if kind in _CANNOT_SERVE:
        return StoreUnavailableError(f"Redis cannot serve yet: {message}")
    if kind in _CANNOT_KEEP:
        return StoreFullError(f"Redis keeps nothing new: {message}")
    if "unknown command" in message.lower() and "ft." in message.lower():
        return SearchModuleMissingError(
            "This Redis has no Search module. Use Redis 8, Redis Stack or Redis Cloud, or the "
            'embedded one: pip install "semcache-async[embedded]" and give no URL.'
        )
    return StoreError(f"Redis answered: {message}")


_CANNOT_SERVE = {"LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY"}
_CANNOT_KEEP = {"OOM", "MISCONF", "NOREPLICAS"}
