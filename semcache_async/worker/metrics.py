"""What a worker has done and how far behind it is: a log line, and metrics for Prometheus."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from semcache_async.errors import ConfigError, StoreError
from semcache_async.worker.consumer import Consumer, Counts
from semcache_async.worker.stream import Lag

__all__ = ["Watch", "exposed"]

_log = logging.getLogger("semcache_async.worker")

_LOOK_S = 5.0
_LOOKS_A_LINE = 12
_OUTCOMES = ("applied", "ignored", "dead", "lost")


class Watch:
    """Looks at the consumers now and then."""

    def __init__(self, consumers: Sequence[Consumer]) -> None:
        self.consumers = consumers
        self.lags: dict[str, Lag] = {}
        """What was seen last, by stream; nothing of one that cannot be asked."""
        self._told: dict[str, Counts] = {}

    async def run(self) -> None:
        """Look, and log what is new. Ends never."""
        while True:
            for _ in range(_LOOKS_A_LINE):
                await self.look()
                await asyncio.sleep(_LOOK_S)
            self.tell()

    async def look(self) -> None:
        for consumer in self.consumers:
            try:
                self.lags[consumer.stream.name] = await consumer.stream.lag()
            except (StoreError, OSError):  # the consumer says so
                self.lags.pop(consumer.stream.name, None)

    def tell(self) -> None:
        """A line for each stream of which there is news, or which is not read to its end."""
        for consumer in self.consumers:
            name, counts = consumer.stream.name, consumer.counts
            lag = self.lags.get(name)
            behind = lag is None or lag.lag != 0 or lag.pending
            if behind or counts != self._told.get(name, Counts()):
                _log.info("Events of %s since the start: %s. %s", name, _said(counts), _behind(lag))
            self._told[name] = Counts(**asdict(counts))


@contextmanager
def exposed(watch: Watch, host: str, port: int) -> Iterator[int]:
    """Metrics at ``http://host:port/metrics`` for as long as this lasts; the port that it is."""
    registry = CollectorRegistry()
    registry.register(_Collector(watch))
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise ConfigError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --metrics-port."
        ) from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Collector(Collector):
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        events = CounterMetricFamily(
            "semcache_worker_events", "Events by outcome.", labels=("stream", "outcome")
        )
        removed = CounterMetricFamily(
            "semcache_worker_removed_entries", "Entries deleted.", labels=("stream",)
        )
        failures = CounterMetricFamily(
            "semcache_worker_failures", "Attempts that failed.", labels=("stream",)
        )
        for consumer in self._watch.consumers:
            name, counts = consumer.stream.name, asdict(consumer.counts)
            for outcome in _OUTCOMES:
                events.add_metric((name, outcome), counts[outcome])
            removed.add_metric((name,), counts["removed"])
            failures.add_metric((name,), counts["failures"])
        yield from (events, removed, failures)
        for field, meaning in (
            ("lag", "Events that no consumer of the group has been given yet."),
            ("pending", "Events that were given out and not acknowledged yet."),
            ("oldest_pending_s", "Seconds since the oldest of them was given out last."),
            ("dead", "Events put aside."),
        ):
            name = f"semcache_worker_{field.replace('_s', '_seconds')}"
            gauge = GaugeMetricFamily(name, meaning, labels=("stream",))
            for stream, lag in list(self._watch.lags.items()):
                value = getattr(lag, field)
                if value is not None:
                    gauge.add_metric((stream,), value)
            yield gauge


def _said(counts: Counts) -> str:
    return ", ".join(f"{count} {name}" for name, count in asdict(counts).items())


def _behind(lag: Lag | None) -> str:
    if lag is None:
        return "How far behind it is cannot be told."
    return (
        f"{'?' if lag.lag is None else lag.lag} to be given out, {lag.pending} pending, the oldest "
        f"for {lag.oldest_pending_s:.0f} s."
    )
