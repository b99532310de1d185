"""One process of the service: opened, listening, drained."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import msgspec
from aiohttp import web

from semcache_async.cache import SemanticCache
from semcache_async.errors import ConfigError
from semcache_async.serve.app import break_off, make_app, make_runner
from semcache_async.serve.journal import open_journal
from semcache_async.serve.keys import KeyRing
from semcache_async.serve.metrics.counters import Layout
from semcache_async.serve.metrics.metrics import Metrics
from semcache_async.serve.metrics.shared_rows import SharedRows
from semcache_async.serve.process.logs import quiet_logger
from semcache_async.serve.service import Service
from semcache_async.serve.settings import Settings
from semcache_async.serve.upstream.judge import judge_of
from semcache_async.serve.upstream.routing import Upstreams, open_upstreams
from semcache_async.shell import in_background

if TYPE_CHECKING:
    from semcache_async.protocols import Embedder
    from semcache_async.serve.telemetry import Telemetry

__all__ = ["Part", "Ready", "bind", "listening", "open_service", "serve_part"]

_PUBLISH_S = 0.25
_POLL_S = 0.01
_LAST_WORDS_S = 1.0
"""For what was told to break off."""
_LINGER_S = 1.0
"""For the rest of a body that was refused, so that its sender reads why."""
_BACKLOG = 1_024


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What a process says once it listens."""

    port: int
    redis: str
    embedder: str


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one process of the service needs to know besides the settings."""

    redis_url: str | None
    upstream_url: str | None
    """Of the models that no table of the settings names; None: they are served by nobody."""
    port: int
    threads: int | None = None
    """CPUs for the model; None for all."""
    row: int = 0
    rows: int = 1
    rows_fd: int = -1
    """Of the file of the shared rows; -1 for memory of this process alone."""

    @property
    def alone(self) -> bool:
        """No other process shares the port."""
        return self.rows == 1


@asynccontextmanager
async def open_service(
    settings: Settings, part: Part, *, embedder: Embedder | None = None
) -> AsyncIterator[Service]:
    """Everything that the handlers share, for as long as the ``async with`` lasts."""
    keys = KeyRing.of(settings)
    width = Layout(settings.upstream_names, settings.cache.model_names).width
    rows = SharedRows(width, row=part.row, rows=part.rows, fd=part.rows_fd)
    metrics = Metrics(settings, rows)
    async with AsyncExitStack() as stack:
        if embedder is None and settings.remote is not None:
            from semcache_async.embed import open_embedder

            embedder = await stack.enter_async_context(open_embedder(settings.remote))
        verifier = None
        if (named := settings.verifier) is not None:
            from semcache_async.embed import load_verifier

            verifier = await anyio.to_thread.run_sync(
                lambda: load_verifier(named, threads=part.threads)
            )
        upstreams = await stack.enter_async_context(
            open_upstreams(part.upstream_url, settings, counts=metrics)
        )
        cache = await stack.enter_async_context(
            SemanticCache.open(
                part.redis_url,
                config=settings.cache,
                embedder=embedder,
                judge=judge_of(settings, upstreams),
                verifier=verifier,
                load=partial(_load, threads=part.threads),
            )
        )
        journal = await stack.enter_async_context(
            open_journal(
                cache,
                keep=settings.review_keep,
                fraction=settings.review_fraction,
                metrics=metrics,
            )
        )
        metrics.watch(cache)
        telemetry = None
        if settings.otel:
            numbers = metrics if part.row == 0 else None
            telemetry = await stack.enter_async_context(_telemetry(cache, upstreams, numbers))
        await stack.enter_async_context(in_background(_publish(metrics)))
        yield Service(
            cache=cache,
            settings=settings,
            keys=keys,
            upstreams=upstreams,
            metrics=metrics,
            journal=journal,
            telemetry=telemetry,
        )
        metrics.publish()


@asynccontextmanager
async def _telemetry(
    cache: SemanticCache, upstreams: Upstreams, numbers: Metrics | None
) -> AsyncIterator[Telemetry]:
    async with AsyncExitStack() as stack:
        try:
            from semcache_async.serve.telemetry import open_telemetry

            opened = open_telemetry(cache, upstreams, numbers)
            telemetry = await stack.enter_async_context(opened)
        except ImportError as error:
            raise ConfigError(
                f"otel needs {error.name}, which is not here: pip install 'semcache-async[otel]'."
            ) from error
        except ValueError as error:
            raise ConfigError(
                f"OpenTelemetry does not take its variables OTEL_*: {error}"
            ) from error
        yield telemetry


def _load(model: str | None, *, threads: int | None) -> Embedder:
    from semcache_async.embed import load_embedder

    return load_embedder(model, threads=threads)


@asynccontextmanager
async def listening(service: Service, sock: socket.socket) -> AsyncIterator[None]:
    """Answer requests; on leaving, let those under way finish: no new ones are taken, and what
    takes longer than ``drain_timeout_s`` is told that it breaks off."""
    settings = service.settings
    app = make_app(service)
    runner = make_runner(
        app,
        access_log=None,
        keepalive_timeout=settings.keepalive_timeout_s,
        lingering_time=_LINGER_S,
        logger=quiet_logger(),
        shutdown_timeout=_LAST_WORDS_S,
    )
    await runner.setup()
    try:
        site = web.SockSite(runner, sock, backlog=_BACKLOG)
        await site.start()
        try:
            yield
        finally:
            service.draining = True
            await site.stop()
            await _drain(app, service)
    finally:
        await runner.cleanup()


async def _drain(app: web.Application, service: Service) -> None:
    def busy() -> bool:
        return bool(service.metrics.under_way or service.cache.stats().flights)

    with anyio.move_on_after(service.settings.drain_timeout_s):
        while busy():  # noqa: ASYNC110 - handlers and flights have no event in common
            await asyncio.sleep(_POLL_S)
    if break_off(app):
        with anyio.move_on_after(_LAST_WORDS_S):
            while service.metrics.under_way:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)


async def serve_part(
    settings: Settings, part: Part, stop: asyncio.Event, ready: Callable[[Ready], None]
) -> None:
    """Serve until ``stop``."""
    with bind(settings.host, part.port, shared=not part.alone) as sock:
        async with open_service(settings, part) as service, listening(service, sock):
            gc.collect()
            gc.freeze()  # what is there now stays: it need not be looked through again and again
            ready(
                Ready(
                    port=sock.getsockname()[1],
                    redis=_without_password(service.cache.redis_url or ""),
                    embedder=service.cache.stats().embedder,
                )
            )
            await stop.wait()


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A TCP socket that is bound but does not listen yet. Raises ``ConfigError``."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(address)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --host or --port."
        ) from error
    return sock


async def _publish(metrics: Metrics) -> None:
    while True:
        metrics.publish()
        await asyncio.sleep(_PUBLISH_S)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
