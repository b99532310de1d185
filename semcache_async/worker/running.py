"""``semcache worker``: a consumer for each stream, until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import anyio
import msgspec

from semcache_async.config import CacheConfig
from semcache_async.shell import until_told
from semcache_async.store import redis_at
from semcache_async.store.wire import redis_pipelines
from semcache_async.worker.consumer import Consumer
from semcache_async.worker.purging import open_purger
from semcache_async.worker.rules import read_rules
from semcache_async.worker.stream import EventStream, Lag

__all__ = ["WorkerOptions", "status", "work"]

_log = logging.getLogger("semcache_async.worker")


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told."""

    redis_url: str
    """Of the cache."""
    stream_url: str | None = None
    """Of the Redis that has the streams; None: the cache's."""
    streams: tuple[str, ...] = ()
    """Names; none: the cache's name and ``:events``."""
    group: str | None = None
    """None: the cache's name."""
    consumer: str | None = None
    """None: the host's name."""
    rules: Path | None = None
    claim_after_s: float = 60.0
    delete: bool = False
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None

    def streams_of(self, config: CacheConfig) -> list[str]:
        return list(dict.fromkeys(self.streams or (f"{config.name}:events",)))


async def work(options: WorkerOptions, config: CacheConfig) -> None:
    """Consume until SIGTERM or SIGINT. Raises a ``SemcacheError`` for what is wrong from the start
    on."""
    stop, ready = asyncio.Event(), asyncio.Event()
    rules = None if options.rules is None else read_rules(options.rules)
    with until_told(stop, ready):
        async with (
            open_purger(options.redis_url, config) as (cache_url, purger),
            _streams(options, config, cache_url) as streams,
        ):
            for stream in streams:
                await stream.prepare()
            consumers = [Consumer(stream, purger, rules) for stream in streams]
            with ExitStack() as stack:
                from semcache_async.worker.metrics import Watch, exposed

                watch = Watch(consumers)
                if options.metrics_port is not None:
                    port = stack.enter_context(
                        exposed(watch, options.metrics_host, options.metrics_port)
                    )
                    _log.info("Metrics are at http://%s:%d/metrics", options.metrics_host, port)
                ready.set()
                names = ", ".join(stream.name for stream in streams)
                _log.info("This worker consumes %s.", names)
                async with anyio.create_task_group() as watching:
                    watching.start_soon(watch.run)
                    async with anyio.create_task_group() as group:
                        for consumer in consumers:
                            group.start_soon(consumer.run, stop)
                    watching.cancel_scope.cancel()
                watch.tell()


async def status(options: WorkerOptions, config: CacheConfig) -> list[Lag]:
    """How far behind the group is, of each stream. Raises a ``StoreError``."""
    async with _streams(options, config, options.redis_url) as streams:
        return [await stream.lag() for stream in streams]


@asynccontextmanager
async def _streams(
    options: WorkerOptions, config: CacheConfig, cache_url: str
) -> AsyncIterator[list[EventStream]]:
    async with (
        redis_at(options.stream_url or cache_url) as url,
        redis_pipelines(url, connections=2, timeout_s=config.store_timeout_s) as pipelines,
    ):
        yield [
            EventStream(
                pipelines,
                name,
                options.group or config.name,
                options.consumer or socket.gethostname(),
                claim_after_s=options.claim_after_s,
                delete=options.delete,
            )
            for name in options.streams_of(config)
        ]
