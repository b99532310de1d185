"""Pipelines of commands to Redis: many commands, one write, replies in order.

redis-py connects (URL, TLS, AUTH, HELLO 3, SELECT); then its transport is handed to a protocol of
ours, which costs about 3 us a command where redis-py's own pipeline costs about 35
(docs/decisions.md). Replies are counted off in the order of their commands, so a waiter that left
never shifts another's reply; a connection that failed or timed out is dropped with all on it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, cast

import hiredis
import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from semcache_async.errors import (
    ConfigError,
    SearchModuleMissingError,
    StoreAuthError,
    StoreError,
    StoreUnavailableError,
)

__all__ = ["Command", "RedisPipelines", "redis_pipelines"]

Command: TypeAlias = tuple[str | bytes | int | float, ...]
Reply: TypeAlias = Any

_PULSE_S = 1.0
"""How often a listening connection is tried."""
_LOST = "The connection to Redis was lost; it is opened again at the next use."


class RedisPipelines:
    """Up to ``connections`` connections, opened when those open are busy, each carrying any
    number of pipelines at once."""

    def __init__(self, url: str, *, connections: int, timeout_s: float) -> None:
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
        except (ValueError, TypeError) as error:
            raise ConfigError(
                "The Redis URL cannot be read; give one such as redis://host:6379/0, "
                f"rediss://user:password@host:6379/0 or unix:///path/redis.sock ({error})."
            ) from None
        self._limit = connections
        self._timeout_s = timeout_s
        self._lines: list[_Line] = []
        self._opening: set[asyncio.Task[_Line]] = set()

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._lines)

    async def execute(self, commands: Sequence[Command]) -> list[Reply]:
        """A reply, or a ``StoreError``, for each command, in order.

        Raises ``StoreUnavailableError`` when the whole does not finish within the time limit, and
        ``StoreAuthError`` when connecting is refused.
        """
        if not commands:
            return []
        payload = b"".join([_pack(command) for command in commands])
        line: _Line | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                line = await self._line()
                replies = await line.send(payload, len(commands))
        except TimeoutError:
            if line is not None:
                line.drop()
            raise StoreUnavailableError(
                f"Redis did not answer within {self._timeout_s:g} s."
            ) from None
        if any(isinstance(reply, _ReadOnlyError) for reply in replies):
            line.drop()
        return replies

    async def aclose(self) -> None:
        """Drop every connection; what is under way fails."""
        for task in list(self._opening):
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for line in list(self._lines):
            line.drop()

    async def _line(self) -> _Line:
        while True:
            line = min(self._lines, key=_Line.load, default=None)
            if line is not None and line.load() == 0:
                return line
            if len(self._lines) + len(self._opening) < self._limit:
                return await asyncio.shield(self._open())
            if line is not None:
                return line
            await asyncio.wait(self._opening, return_when=asyncio.FIRST_COMPLETED)

    async def listen(self, command: Command, heard: Callable[[list[Any]], None]) -> None:
        """Send ``command`` on a connection of its own and pass what is pushed there to ``heard``.
        Returns never; raises a ``StoreError`` when it is refused or the connection is lost."""
        line = await _connect(self._factory, [], self._timeout_s)
        line.heard = heard
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

    def _open(self) -> asyncio.Task[_Line]:
        task = asyncio.create_task(_connect(self._factory, self._lines, self._timeout_s))
        self._opening.add(task)
        task.add_done_callback(self._opened)
        return task

    def _opened(self, task: asyncio.Task[_Line]) -> None:
        self._opening.discard(task)
        if not task.cancelled():
            task.exception()


@asynccontextmanager
async def redis_pipelines(
    url: str, *, connections: int, timeout_s: float
) -> AsyncIterator[RedisPipelines]:
    """``RedisPipelines`` that are closed at the end."""
    pipelines = RedisPipelines(url, connections=connections, timeout_s=timeout_s)
    try:
        yield pipelines
    finally:
        await pipelines.aclose()


async def _connect(
    factory: redis.asyncio.ConnectionPool, lines: list[_Line], timeout_s: float
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
    return _Line(connection, lines)


def _refused(error: BaseException | None) -> bool:
    return isinstance(error, redis.exceptions.AuthenticationError) or "NOAUTH" in str(error)


def _where(factory: redis.asyncio.ConnectionPool) -> str:
    options = factory.connection_kwargs
    return str(options.get("path") or f"{options.get('host')}:{options.get('port')}")


class _Line(asyncio.Protocol):
    """One connection: commands out, replies in the same order."""

    def __init__(self, connection: Any, lines: list[_Line]) -> None:
        self._lines = lines
        self._pending: deque[tuple[asyncio.Future[list[Reply]], int]] = deque()
        self._replies: list[Reply] = []
        self._reader = hiredis.Reader(
            protocolError=StoreError,
            replyError=_reply_error,
            notEnoughData=_NOT_ENOUGH,
        )
        self._loop = asyncio.get_running_loop()
        self._writer: asyncio.StreamWriter = connection._writer  # its end would close the transport
        self._transport = cast(asyncio.Transport, self._writer.transport)
        self._transport.set_protocol(self)
        connection._reader = connection._writer = None
        lines.append(self)
        self.heard: Callable[[list[Any]], None] | None = None
        """Takes what the server pushes."""

    def load(self) -> int:
        """Commands without a reply yet."""
        return sum(count for _, count in self._pending)

    def send(self, payload: bytes, count: int) -> asyncio.Future[list[Reply]]:
        """Write ``count`` packed commands; the future brings their replies."""
        waiter: asyncio.Future[list[Reply]] = self._loop.create_future()
        if self._transport.is_closing():
            self.drop()
            waiter.set_exception(StoreUnavailableError(_LOST))
            return waiter
        self._pending.append((waiter, count))
        self._transport.write(payload)
        return waiter

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        gets: Callable[[], Reply] = self._reader.gets
        try:
            while (reply := gets()) is not _NOT_ENOUGH:
                if isinstance(reply, hiredis.PushNotification):
                    if self.heard is not None:
                        self.heard(reply)
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

    def drop(self) -> None:
        """Close without waiting; whoever waits on this connection gets an error."""
        if self in self._lines:
            self._lines.remove(self)
        self._transport.abort()
        while self._pending:
            waiter, _ = self._pending.popleft()
            if not waiter.done():
                waiter.set_exception(StoreUnavailableError(_LOST))


_NOT_ENOUGH = object()
_pack = cast("Callable[[Command], bytes]", hiredis.pack_command)


class _ReadOnlyError(StoreUnavailableError):
    """A replica refused a write: the connection leads to a demoted master."""


def _reply_error(message: str) -> StoreError:
    """The error that an error reply stands for."""
    kind = message.split(" ", 1)[0]
    if kind in {"NOAUTH", "WRONGPASS", "NOPERM"}:
        return StoreAuthError(
            f"Redis refused the credentials or permissions: {message}. Check the URL's user and "
            "password, and that the user may run FT.*, HSET, HGET, PEXPIRE and UNLINK."
        )
    if kind == "READONLY":
        return _ReadOnlyError("Redis is a read-only replica; give the URL of the master.")
    if kind in {"LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY"}:
        return StoreUnavailableError(f"Redis cannot serve yet: {message}")
    if "unknown command" in message.lower() and "ft." in message.lower():
        return SearchModuleMissingError(
            "This Redis has no Search module. Use Redis 8, Redis Stack or Redis Cloud, or the "
            'embedded one: pip install "semcache-async[embedded]" and give no URL.'
        )
    return StoreError(f"Redis answered: {message}")
