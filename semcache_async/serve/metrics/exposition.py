"""The metrics in Prometheus' words. Labels are few and fixed; none names a tenant."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from semcache_async import __version__
from semcache_async.serve.metrics.counters import (
    COUNTERS,
    GAUGES,
    INDEX_GAUGES,
    MODEL_COUNTERS,
    MODEL_GAUGES,
    OWN,
    RESULTS,
    Table,
)
from semcache_async.serve.metrics.histogram import BOUNDS, Histogram
from semcache_async.serve.metrics.metrics import Metrics
from semcache_async.types import ModelState

__all__ = ["expose", "families"]

_SHOWN = [
    *(step * 10.0**decade for decade in range(-4, 2) for step in (1.0, 2.5, 5.0)),
    *(100.0, 250.0, 500.0),
]
_BUCKETS = [(repr(bound), bisect_left(BOUNDS, bound * 0.999) + 1) for bound in _SHOWN]
"""Each bound, and how many of the fine buckets lie at or under it."""


def expose(metrics: Metrics, sizes: Sequence[ModelState] = ()) -> bytes:
    """The text format, version 0.0.4; ``sizes`` of the models' indexes."""
    registry = CollectorRegistry()
    registry.register(_Collector(metrics, sizes))
    return generate_latest(registry)


def families(metrics: Metrics) -> Iterator[Metric]:
    """The same as they are, without the sizes of indexes."""
    return _Collector(metrics, ()).collect()


class _Collector(Collector):
    def __init__(self, metrics: Metrics, sizes: Sequence[ModelState]) -> None:
        self._metrics = metrics
        self._sizes = sizes

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        metrics = self._metrics
        counts = metrics.counts()
        yield _counter(
            "requests", "Requests by result", "result", {name: counts[name] for name in RESULTS}
        )
        for counted in COUNTERS:
            if counted.name not in RESULTS:
                yield CounterMetricFamily(
                    f"semcache_{counted.name}", f"{counted.meaning}.", value=counts[counted.name]
                )
        for counted in GAUGES:
            yield GaugeMetricFamily(
                f"semcache_{counted.name}", f"{counted.meaning}.", value=counts[counted.name]
            )
        for family in OWN:
            yield _counter(family.name, family.meaning, family.label, metrics.own(family.name))
        for table in metrics.layout.tables:
            yield _table(table, metrics.table(table.name))
        models = metrics.models(self._sizes)
        for counted in (*MODEL_COUNTERS, *MODEL_GAUGES, *INDEX_GAUGES):
            kind = CounterMetricFamily if counted in MODEL_COUNTERS else GaugeMetricFamily
            name, meaning = f"semcache_model_{counted.name}", f"{counted.meaning}."
            of_each = kind(name, meaning, labels=("model",))
            for model, numbers in models.items():
                if counted.name in numbers:
                    of_each.add_metric((model,), numbers[counted.name])
            yield of_each
        yield CounterMetricFamily(
            "semcache_saved_usd",
            "Estimated price of the saved tokens in US dollars.",
            value=metrics.saved()[2],
        )
        target = GaugeMetricFamily(
            "semcache_target_precision",
            "The share of right ones among the semantic hits that is promised; nothing without.",
        )
        if metrics.target_precision is not None:
            target.add_metric((), metrics.target_precision)
        yield target
        wrong = GaugeMetricFamily(
            "semcache_wrong_hits",
            "Share of wrong ones among the semantic hits, as audits measure it, and its 95 % "
            "interval; nothing without audits.",
            labels=("bound",),
        )
        if (measured := metrics.wrong_hits(counts)) is not None:
            for bound in ("share", "low", "high"):
                wrong.add_metric((bound,), measured[bound])
        yield wrong
        for family in metrics.layout.durations_of:
            yield _histograms(
                family.name, family.meaning, family.label, metrics.durations(family.name)
            )
        yield GaugeMetricFamily(
            "semcache_workers", "Processes that share the port.", value=len(metrics.rows)
        )
        build = GaugeMetricFamily("semcache_build", "Always 1.", labels=("version",))
        build.add_metric((__version__,), 1)
        yield build


def _counter(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(f"semcache_{name}", f"{text}.", labels=(label,))
    for value, count in values.items():
        family.add_metric((value,), count)
    return family


def _table(table: Table, values: Mapping[str, Mapping[str, float]]) -> Metric:
    family = CounterMetricFamily(f"semcache_{table.name}", f"{table.meaning}.", labels=table.labels)
    for row, numbers in values.items():
        for column, count in numbers.items():
            family.add_metric((row, column), count)
    return family


def _histograms(name: str, text: str, label: str, values: Mapping[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(f"semcache_{name}", f"{text}.", labels=(label,))
    for value, histogram in values.items():
        buckets = [(bound, sum(histogram.counts[:end])) for bound, end in _BUCKETS]
        family.add_metric((value,), [*buckets, ("+Inf", histogram.count)], histogram.sum)
    return family
