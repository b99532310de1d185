"""``semcache serve`` as processes: this one alone, or a parent of several that share its port."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial

import anyio
import anyio.to_thread
import msgspec

from semcache_async.errors import SemcacheError
from semcache_async.serve.keys import KeyRing
from semcache_async.serve.metrics.counters import Layout
from semcache_async.serve.metrics.shared_rows import SharedRows, shared_file
from semcache_async.serve.process.server import Part, Ready, bind, serve_part
from semcache_async.serve.process.worker import Assignment, encode_assignment
from semcache_async.serve.settings import Settings
from semcache_async.shell import until_told

__all__ = ["serve"]

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.1, 10.0
"""Before a dead worker is replaced; twice as long after each death."""
_LIVED_S = 30.0
"""A worker that lived this long starts the pauses anew."""
_START_S = 600.0
"""What a worker may take to start."""
_SLACK_S = 10.0
"""What a worker may take to end, beyond ``drain_timeout_s``."""
_LOOPBACK = ("127.", "::1", "localhost")


class WorkerError(SemcacheError):
    """A worker ended before it was ready; it has said why."""


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; a second one, or one before it serves, ends at once."""
    stop, ready = asyncio.Event(), asyncio.Event()
    with until_told(stop, ready):
        _warn_if_open(settings)
        async with AsyncExitStack() as stack:
            upstream_url = settings.upstream_url
            if settings.simulate_llm:
                from semcache_async.simulator import simulated

                upstream_url = await stack.enter_async_context(simulated())
            part = Part(redis_url=settings.redis_url, upstream_url=upstream_url, port=settings.port)

            def announce(what: Ready) -> None:
                ready.set()
                _announce(settings, what)

            if settings.workers == 1:
                await serve_part(settings, part, stop, announce)
            else:
                await _serve_many(settings, part, stop, announce)


def _announce(settings: Settings, ready: Ready) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    facts = [
        f"Redis {ready.redis}",
        f"embedder {ready.embedder}",
        f"upstream {_upstreams(settings)}",
    ]
    if others := settings.cache.model_names[1:]:
        facts.append(f"being loaded: {', '.join(others)}")
    if settings.workers > 1:
        facts.append(f"{settings.workers} workers")
    print(  # noqa: T201 - the one line that a person waits for
        f"semcache serves http://{host}:{ready.port} ({', '.join(facts)})",
        file=sys.stderr,
        flush=True,
    )


def _upstreams(settings: Settings) -> str:
    if settings.simulate_llm:
        return "simulated"
    urls = [table.url for table in settings.upstreams]
    return ", ".join([*urls, *([settings.upstream_url] if settings.upstream_url else ())])


def _warn_if_open(settings: Settings) -> None:
    is_open = settings.api_keys_file is None and not settings.pass_keys
    if is_open and not settings.host.startswith(_LOOPBACK):
        _log.warning(
            "NO API KEYS: everybody who reaches %s:%s may ask, see and delete everything, and "
            "spend the upstream's key. Set --api-keys-file.",
            settings.host,
            settings.port,
        )


# -- the parent


async def _serve_many(
    settings: Settings, part: Part, stop: asyncio.Event, announce: Callable[[Ready], None]
) -> None:
    """Hold what the workers share (Redis, the port, the numbers), and keep them alive."""
    from semcache_async.embed import pull_model
    from semcache_async.embed.runtimes.encoders import usable_cpus
    from semcache_async.store import redis_at

    KeyRing.of(settings)  # a mistake there is said once
    if settings.remote is None and settings.cache.model is None:
        await anyio.to_thread.run_sync(pull_model)
    rows = settings.workers
    layout = Layout(settings.upstream_names, settings.cache.model_names)
    async with AsyncExitStack() as stack:
        port = stack.enter_context(_reserved(settings.host, settings.port)).getsockname()[1]
        redis_url = await stack.enter_async_context(redis_at(settings.redis_url))
        rows_fd = stack.enter_context(shared_file(rows, layout.width))
        assignments = [
            Assignment(
                settings,
                msgspec.structs.replace(
                    part,
                    redis_url=redis_url,
                    port=port,
                    threads=max(1, usable_cpus() // rows),
                    row=row,
                    rows=rows,
                    rows_fd=rows_fd,
                ),
            )
            for row in range(rows)
        ]
        numbers = SharedRows(layout.width, rows=rows, fd=rows_fd)
        workers = [
            _Worker(assignment, partial(numbers.of, cell=layout.alive))
            for assignment in assignments
        ]
        try:
            async with anyio.create_task_group() as group:
                first, *others = workers
                ready = await first.start()  # what is built on first need is built once
                await asyncio.gather(*(worker.start() for worker in others))
                announce(ready)
                for worker in workers:
                    group.start_soon(worker.keep_alive)
                    group.start_soon(worker.watch)
                await stop.wait()
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await asyncio.gather(*(worker.end() for worker in workers))


@contextmanager
def _reserved(host: str, port: int) -> Iterator[socket.socket]:
    """A port that workers can share and nobody else has."""
    with bind(host, port) as alone:
        port = alone.getsockname()[1]
    with bind(host, port, shared=True) as sock:
        yield sock


class _Worker:
    """One place for a worker: the process in it, and its successors."""

    def __init__(self, assignment: Assignment, seen_at: Callable[[int], float]) -> None:
        """``seen_at``: when the worker of that row last said that it lives."""
        self._assignment = assignment
        self._seen_at = seen_at
        self._process: Process | None = None
        self._serves = False

    async def start(self) -> Ready:
        """Start a process and wait until it serves. Raises ``WorkerError``."""
        self._serves = False
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "semcache_async.serve.process.worker"),
            stdin=PIPE,
            stdout=PIPE,
            pass_fds=(self._assignment.part.rows_fd,),
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(ConnectionError):
            process.stdin.write(encode_assignment(self._assignment))
            await process.stdin.drain()
        try:
            async with asyncio.timeout(_START_S):
                line = await process.stdout.readline()
        except TimeoutError:
            process.kill()
            line = b""
        if not line:
            raise WorkerError(f"A worker ended with exit code {await process.wait()}.")
        self._serves = True
        return msgspec.json.decode(line, type=Ready)

    async def keep_alive(self) -> None:
        """Replace the process whenever it dies. Returns never."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE_S
        while True:
            assert self._process is not None
            began = loop.time()
            code = await self._process.wait()
            pause = _FIRST_PAUSE_S if loop.time() - began > _LIVED_S else pause
            _log.error("Worker %d died (%d); starting another.", self._assignment.part.row, code)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE_S)
            with suppress(WorkerError):
                await self.start()

    async def watch(self) -> None:
        """Kill a process that hangs, for ``keep_alive`` to replace. Returns never."""
        limit_s, row = self._assignment.settings.worker_timeout_s, self._assignment.part.row
        tick_s = limit_s / 4
        while True:
            began = time.monotonic()
            await asyncio.sleep(tick_s)
            now = time.monotonic()
            if not self._serves or now - began > 2 * tick_s:
                continue  # it is starting; or all of us were stopped, and nobody had a chance
            silent_s = now - self._seen_at(row)
            if silent_s > limit_s and self._process is not None:
                _log.error("Worker %d has been silent for %.0f s; it is killed.", row, silent_s)
                self._serves = False
                with suppress(ProcessLookupError):
                    self._process.kill()

    async def end(self) -> None:
        """Tell it to drain, and wait until it is gone."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(self._assignment.settings.drain_timeout_s + _SLACK_S):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
