"""Opening connections with redis-py, which knows URLs, TLS and the handshake."""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from semcache_async.errors import StoreAuthError, StoreUnavailableError
from semcache_async.store.address import check_url, unreadable
from semcache_async.store.line import Line, Lines
from semcache_async.store.replies import reply_error

__all__ = ["connect", "connection_pool"]


def connection_pool(url: str, timeout_s: float) -> redis.asyncio.ConnectionPool:
    """Makes connections for ``url``; raises ``ConfigError`` where it cannot be read."""
    check_url(url)
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
    except (ValueError, TypeError, AttributeError):
        raise unreadable() from None
    return pool


async def connect(
    factory: redis.asyncio.ConnectionPool, owner: Lines | None, timeout_s: float
) -> Line:
    """A new connection, which belongs to ``owner``. Raises ``StoreUnavailableError`` or
    ``StoreAuthError``."""
    connection: Any = factory.make_connection()  # type: ignore[no-untyped-call]
    task = asyncio.current_task()
    cancelled = 0 if task is None else task.cancelling()
    try:
        async with asyncio.timeout(timeout_s):
            await connection.connect()
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError) as error:
        if _refused(error) or _refused(error.__cause__):
            raise StoreAuthError("Redis refused the user name or password in the URL.") from None
        reason = str(error).rstrip(".")
        raise StoreUnavailableError(
            f"Cannot connect to Redis at {_where(factory)}: {reason}. Is it running, and is the "
            "URL right?"
        ) from None
    except redis.exceptions.RedisError as error:
        raise reply_error(str(error)) from None
    if task is not None and task.cancelling() > cancelled:
        await connection.disconnect(nowait=True)
        raise asyncio.CancelledError  # which redis-py loses in its handshake
    return Line(connection, owner)


def _refused(error: BaseException | None) -> bool:
    return isinstance(error, redis.exceptions.AuthenticationError) or "NOAUTH" in str(error)


def _where(factory: redis.asyncio.ConnectionPool) -> str:
    options = factory.connection_kwargs
    return str(options.get("path") or f"{options.get('host')}:{options.get('port')}")
