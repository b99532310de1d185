"""The metrics in Prometheus' words. Labels are few and fixed; none names a tenant."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from semcache_async import __version__
from semcache_async.serve.metrics import BOUNDS, Histogram, Metrics

__all__ = ["expose"]

_RESULTS = ("exact", "semantic", "shared", "generated", "bypassed", "shed", "failed")
_COUNTERS = {
    "cancelled": "Requests whose caller went away; also among the failed",
    "llm_calls": "LLM calls begun, bypassing ones included",
    "llm_errors": "LLM calls that failed",
    "not_stored": "Answers delivered but not stored",
    "lookups": "Lookups that never call the LLM",
    "lookup_hits": "Lookups that found an answer",
    "store_errors": "Store operations that failed",
    "embed_errors": "Prompts that could not be embedded",
    "lookup_timeouts": "Lookups that ran out of time and counted as misses",
    "embedded_texts": "Texts that the embedding model has run",
    "embed_batches": "Packs that the embedding model has run",
    "embed_remembered": "Texts whose vector was still in memory",
    "exact_batches": "Pipelines that exact lookups took",
    "search_batches": "Pipelines that searches took",
    "searches": "Semantic searches",
}
_GAUGES = {
    "flights": "LLM calls under way, storing included",
    "waiting": "Callers that wait for an LLM call",
    "queued": "Items that wait for a batch of any kind",
    "connections": "Open connections to Redis",
    "under_way": "HTTP requests being answered",
}
_SHOWN = [
    *(step * 10.0**decade for decade in range(-4, 2) for step in (1.0, 2.5, 5.0)),
    *(100.0, 250.0, 500.0),
]
_BUCKETS = [(repr(bound), bisect_left(BOUNDS, bound * 0.999) + 1) for bound in _SHOWN]
"""Each bound, and how many of the fine buckets lie at or under it."""


def expose(metrics: Metrics) -> bytes:
    """The text format, version 0.0.4."""
    registry = CollectorRegistry()
    registry.register(_Collector(metrics))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        metrics = self._metrics
        counts = metrics.counts()
        yield _counter(
            "requests", "Requests by result", "result", {name: counts[name] for name in _RESULTS}
        )
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(f"semcache_{name}", f"{text}.", value=counts[name])
        yield CounterMetricFamily(
            "semcache_embed_pack_fill",
            "Sum over packs of the share of their budget used; by embed_batches: the mean.",
            value=counts["fill"],
        )
        for name, text in _GAUGES.items():
            yield GaugeMetricFamily(f"semcache_{name}", f"{text}.", value=counts[name])
        prompt, completion, usd = metrics.saved()
        yield _counter(
            *("saved_tokens", "Tokens of LLM calls that hits saved", "kind"),
            {"prompt": prompt, "completion": completion},
        )
        yield CounterMetricFamily(
            "semcache_saved_usd", "Estimated price of the saved tokens in US dollars.", value=usd
        )
        yield _counter(
            *("http_errors", "Requests answered with an HTTP error", "status"),
            {str(status): n for status, n in metrics.errors().items()},
        )
        yield _histograms(
            "request_seconds", "Whole requests, by source", "source", metrics.by_source()
        )
        yield _histograms(
            "stage_seconds", "What requests waited in each stage", "stage", metrics.by_stage()
        )
        yield GaugeMetricFamily(
            "semcache_workers", "Processes that share the port.", value=len(metrics.board)
        )
        build = GaugeMetricFamily("semcache_build", "Always 1.", labels=("version",))
        build.add_metric((__version__,), 1)
        yield build


def _counter(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(f"semcache_{name}", f"{text}.", labels=(label,))
    for value, count in values.items():
        family.add_metric((value,), count)
    return family


def _histograms(name: str, text: str, label: str, values: Mapping[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(f"semcache_{name}", f"{text}.", labels=(label,))
    for value, histogram in values.items():
        buckets = [(bound, sum(histogram.counts[:end])) for bound, end in _BUCKETS]
        family.add_metric((value,), [*buckets, ("+Inf", histogram.count)], histogram.sum)
    return family
