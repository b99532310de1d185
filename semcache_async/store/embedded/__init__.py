"""A real Redis with Search from installed packages, on a private Unix socket.

Users of one directory share one server, across tasks and processes, without a daemon to manage:
``_guard.py`` owns the server, and ends with its last user. Its head names the lock files.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from anyio import CancelScope, sleep, to_thread

from semcache_async.errors import EmbeddedRedisError
from semcache_async.store.embedded._place import URL_HINT, Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

__all__ = ["embedded_redis"]

_log = logging.getLogger(__name__)

_JOIN_S = 15.0
"""How long to wait for a guard that is ending, before its successor is started."""
_START_S = 10.0
"""How long a server may be silent; one that says that it is loading may take longer."""
_END_S = 5.0
"""How long the last user waits for the guard to have gone."""
_POLL_S = 0.02
_WATCH_S = 1.0
_WATCH_MAX_S = 30.0


@asynccontextmanager
async def embedded_redis(directory: Path | None = None) -> AsyncIterator[str]:
    """Use the embedded Redis: gives a URL that ``redis.asyncio.from_url`` takes.

    Without ``directory`` the server is this caller's own and leaves nothing behind. With one, its
    data is kept there, whoever names the same directory shares the server, and the last one to
    leave ends it. A server that dies comes back at the same URL within seconds, with its data
    where ``directory`` is given and empty where not.

    Raises ``EmbeddedRedisError`` where the packages are missing, the directory cannot be used, or
    the server does not start.
    """
    place = Place(directory)
    try:
        try:
            url = await _start(place)
        except OSError as error:
            raise EmbeddedRedisError(
                f"The embedded Redis cannot be set up: {error}. Name a directory on a local disk "
                f"that you own and may write to, or {URL_HINT}."
            ) from error
        watcher = asyncio.create_task(_watch(place), name="semcache embedded redis watcher")
        try:
            yield url
        finally:
            watcher.cancel()
    finally:
        try:
            with CancelScope(shield=True):
                await _end(place)
        finally:
            place.close()


async def _start(place: Place) -> str:
    await to_thread.run_sync(place.open)
    deadline = time.monotonic() + _JOIN_S
    while not await to_thread.run_sync(place.join):
        if time.monotonic() > deadline:
            why = f"the one before is still shutting down after {_JOIN_S:.0f} s"
            raise await to_thread.run_sync(place.failure, why)
        await sleep(_POLL_S)
    deadline = time.monotonic() + _START_S
    guards = 0
    while True:
        guards += await to_thread.run_sync(place.tend)
        if guards > 2:  # the second allows for one that somebody killed
            raise await to_thread.run_sync(place.failure, "redis-server ended at once")
        answer = await to_thread.run_sync(place.ping)
        if answer.startswith(b"+PONG"):
            return place.url()
        if answer.startswith(b"-LOADING"):
            deadline = time.monotonic() + _START_S
        if time.monotonic() > deadline:
            why = f"no answer within {_START_S:.0f} s"
            raise await to_thread.run_sync(place.failure, why)
        await sleep(_POLL_S)


async def _watch(place: Place) -> None:
    """Start a new guard where the old one was killed."""
    pause = _WATCH_S
    while True:
        await sleep(pause)
        try:
            started = await to_thread.run_sync(place.tend)
        except (OSError, EmbeddedRedisError) as error:
            _log.warning("Cannot look after the embedded Redis in %s: %s", place.home, error)
            started = True
        else:
            if started:
                _log.warning("The embedded Redis in %s had gone; started it again.", place.home)
        pause = min(pause * 2, _WATCH_MAX_S) if started else _WATCH_S


async def _end(place: Place) -> None:
    await to_thread.run_sync(place.leave)
    deadline = time.monotonic() + _END_S
    while time.monotonic() < deadline:
        if await to_thread.run_sync(place.is_settled) and await to_thread.run_sync(place.sweep):
            return
        await sleep(_POLL_S)
    await to_thread.run_sync(place.sweep)
