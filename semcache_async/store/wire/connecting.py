"""Opening connections with redis-py, which knows URLs, TLS and the handshake."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from semcache_async.errors import StoreAuthError, StoreUnavailableError
from semcache_async.store.wire.address import read_url, unreadable
from semcache_async.store.wire.line import Line, Lines
from semcache_async.store.wire.replies import reply_error

__all__ = ["connect", "connected", "connection_pool"]


def connection_pool(url: str, timeout_s: float) -> redis.asyncio.ConnectionPool:
    """Makes connections for ``url``; raises ``ConfigError`` where it cannot be read."""
    read_url(url)
    try:
        pool = redis.asyncio.ConnectionPool.from_url(
            url,
            protocol=3,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, AttributeError, redis.exceptions.RedisError):
        raise unreadable() from None
    return pool


async def connect(
    factory: redis.asyncio.ConnectionPool,
    owner: Lines | None,
    timeout_s: float,
    *,
    master: bool = False,
) -> Line:
    """A new connection, which belongs to ``owner``, to a ``master`` where that is asked for. Raises
    ``StoreUnavailableError`` or ``StoreAuthError``."""
    connection, said = await connected(factory, timeout_s, *(("HELLO",) if master else ()))
    if master and said.get(b"role") != b"master":
        await connection.disconnect(nowait=True)
        raise StoreUnavailableError(f"Redis at {_where(factory)} is a replica")
    return Line(connection, owner)


async def connected(
    factory: redis.asyncio.ConnectionPool, timeout_s: float, *question: str
) -> tuple[Any, Any]:
    """A new connection of redis-py's, and what is answered there to a command, if there is one.
    Raises as ``connect`` does."""
    connection: Any = factory.make_connection()  # type: ignore[no-untyped-call]
    said: Any = None
    task = asyncio.current_task()
    cancelled = 0 if task is None else task.cancelling()
    try:
        async with asyncio.timeout(timeout_s):
            await connection.connect()
            if question:
                await connection.send_command(*question)
                said = await connection.read_response()
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError) as error:
        if _refused(error) or _refused(error.__cause__):
            raise StoreAuthError("Redis refused the user name or password in the URL.") from None
        reason = str(error).rstrip(".") or f"no answer within {timeout_s:g} s"
        advice = _TLS_ADVICE if _of_tls(factory, error) else "Is it running, and is the URL right?"
        raise StoreUnavailableError(
            f"Cannot connect to Redis at {_where(factory)}: {reason}. {advice}"
        ) from None
    except redis.exceptions.RedisError as error:
        raise reply_error(str(error)) from None
    if task is not None and task.cancelling() > cancelled:
        await connection.disconnect(nowait=True)
        raise asyncio.CancelledError  # which redis-py loses in its handshake
    return connection, said


_TLS_ADVICE = (
    "Does the server speak TLS? Name in the URL what it takes: ?ssl_ca_certs=FILE, the authority "
    "that signed its certificate, unless the system knows it; &ssl_certfile=FILE&ssl_keyfile=FILE, "
    "a certificate of your own, where it asks for one. The host in the URL has to be one that its "
    "certificate is for."
)


def _of_tls(factory: redis.asyncio.ConnectionPool, error: BaseException | None) -> bool:
    """May the failure be about certificates? Some servers say so by closing the connection."""
    if not issubclass(factory.connection_class, redis.asyncio.SSLConnection):
        return False
    while error is not None:
        if isinstance(error, ConnectionRefusedError | socket.gaierror | TimeoutError):
            return False
        error = error.__cause__ or error.__context__
    return True


def _refused(error: BaseException | None) -> bool:
    return isinstance(error, redis.exceptions.AuthenticationError) or "NOAUTH" in str(error)


def _where(factory: redis.asyncio.ConnectionPool) -> str:
    options = factory.connection_kwargs
    return str(options.get("path") or f"{options.get('host')}:{options.get('port') or 6379}")
