"""What every command does around its own work."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeVar

import typer

from semcache_async.errors import SemcacheError

__all__ = ["in_background", "one_line_errors", "run", "until_told"]

T = TypeVar("T")


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Run it on an event loop, uvloop's where it is installed."""
    import anyio

    has_uvloop = importlib.util.find_spec("uvloop") is not None
    return anyio.run(work, backend_options={"use_uvloop": has_uvloop})


@contextmanager
def one_line_errors(debug: bool) -> Iterator[None]:
    """One line and exit code 1 for this package's errors, 130 for Ctrl-C; no traceback."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except (SemcacheError, BaseExceptionGroup) as error:
        own = _own_error(error)
        if own is None or debug:
            raise
        said = " ".join(str(own).split())
        page = "" if "semcache docs" in said or not own.docs else f" See: {own.docs}"
        typer.secho(said + page, fg="red", err=True)
        raise typer.Exit(1) from None


@contextmanager
def until_told(stop: asyncio.Event, ready: asyncio.Event) -> Iterator[None]:
    """SIGTERM, SIGINT and SIGHUP set ``stop``; a second one, or one before ``ready``, when nothing
    is under way that could finish, ends this process. Under ``nohup`` SIGHUP does nothing."""

    def on_signal(number: int) -> None:
        if stop.is_set() or not ready.is_set():
            os._exit(128 + number)
        stop.set()

    loop = asyncio.get_running_loop()
    signals = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


@asynccontextmanager
async def in_background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """``work`` goes on for as long as the block lasts."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _own_error(error: BaseException) -> SemcacheError | None:
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(_own_error, error.exceptions)), None)
    return error if isinstance(error, SemcacheError) else None
