"""What the service counts: cheap to note, summed over all its processes, zeros from the start."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from semcache_async.cache import SemanticCache
from semcache_async.serve.board import Board, Cells
from semcache_async.serve.settings import Settings
from semcache_async.types import Source, Timings

__all__ = ["COUNTERS", "GAUGES", "STAGES", "STATUSES", "Histogram", "Metrics"]

COUNTERS = (
    *("exact", "semantic", "shared", "generated", "bypassed", "shed", "failed", "cancelled"),
    *("llm_calls", "llm_errors", "not_stored", "lookups", "lookup_hits"),
    *("store_errors", "embed_errors", "lookup_timeouts"),
    *("embedded_texts", "embed_batches", "embed_remembered"),
    *("exact_batches", "search_batches", "searches"),
)
"""Fields of the cache's ``Stats`` that only grow."""
GAUGES = ("flights", "waiting", "queued", "connections")
"""Fields of ``Stats`` that come and go."""
STAGES = ("exact", "embed", "search", "generate")
STATUSES = (400, 401, 403, 404, 405, 408, 413, 415, 424, 429, 500, 502, 503, 504)
"""HTTP errors counted by status; any other counts as 500."""

_STEPS = (
    *(1.0, 1.12, 1.25, 1.4, 1.6, 1.8, 2.0, 2.24, 2.5, 2.8),
    *(3.15, 3.55, 4.0, 4.5, 5.0, 5.6, 6.3, 7.1, 8.0, 9.0),
)
BOUNDS = [step * 10.0**decade for decade in range(-5, 3) for step in _STEPS]
"""Upper bounds in seconds of a histogram's buckets, 10 us to 900 s; one more has the rest."""
_SUM = len(BOUNDS) + 1
_HISTOGRAM = _SUM + 1
_PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


class _Layout:
    """Where each number is in a row."""

    def __init__(self) -> None:
        self.width = 0
        self.counters = self._take(len(COUNTERS))
        self.fill = self._take(1)
        """The sum of the fills of all packs."""
        self.gauges = self._take(len(GAUGES))
        self.under_way = self._take(1)
        self.saved = self._take(2)
        self.errors = {status: self._take(1) for status in STATUSES}
        self.sources = {source: self._take(_HISTOGRAM) for source in Source}
        self.stages = {stage: self._take(_HISTOGRAM) for stage in STAGES}

    def _take(self, cells: int) -> int:
        start = self.width
        self.width += cells
        return start


_AT = _Layout()
WIDTH = _AT.width
"""Numbers in one process's row."""


class Histogram:
    """Counts by ``BOUNDS``, and the sum, of one moment."""

    def __init__(self, cells: Sequence[float]) -> None:
        self.counts = cells[:_SUM]
        self.sum = cells[_SUM]
        self.count = sum(self.counts)

    def quantile(self, q: float) -> float:
        """Seconds, interpolated within a bucket (they are 11 to 14 % wide); 0.0 of nothing."""
        wanted, below = q * self.count, 0.0
        for n, count in enumerate(self.counts):
            if count and below + count >= wanted:
                low = BOUNDS[n - 1] if n else 0.0
                high = BOUNDS[min(n, len(BOUNDS) - 1)]
                return low + (high - low) * (wanted - below) / count
            below += count
        return 0.0


class Metrics:
    """One process's numbers, and the sums of all processes'."""

    def __init__(self, settings: Settings | None = None, board: Board | None = None) -> None:
        settings = settings or Settings()
        self.board = board or Board(WIDTH)
        self._mine = self.board.mine
        self._prices = (
            settings.usd_per_million_tokens_in / 1e6,
            settings.usd_per_million_tokens_out / 1e6,
        )
        self._cache: SemanticCache | None = None
        self.under_way = 0
        """Requests this process is answering; the app keeps it."""
        # What a worker that died in this one's place had counted stays counted.
        self._before = list(self._mine[: _AT.gauges])
        for cell in range(_AT.gauges, _AT.saved):
            self._mine[cell] = 0.0

    def watch(self, cache: SemanticCache) -> None:
        """Count what ``cache`` counts."""
        self._cache = cache

    # -- noting

    def answered(
        self,
        source: Source,
        timings: Timings,
        *,
        saved_prompt_tokens: int = 0,
        saved_completion_tokens: int = 0,
    ) -> None:
        """One request was answered; the tokens are those that its LLM call would have cost."""
        mine = self._mine
        _observe(mine, _AT.sources[source], timings.total_s)
        stages = _AT.stages
        if timings.exact_s:
            _observe(mine, stages["exact"], timings.exact_s)
        if timings.embed_s:
            _observe(mine, stages["embed"], timings.embed_s)
        if timings.search_s:
            _observe(mine, stages["search"], timings.search_s)
        if timings.generate_s:
            _observe(mine, stages["generate"], timings.generate_s)
        if saved_prompt_tokens or saved_completion_tokens:
            mine[_AT.saved] += saved_prompt_tokens
            mine[_AT.saved + 1] += saved_completion_tokens

    def http_error(self, status: int) -> None:
        """A request was answered with an error."""
        self._mine[_AT.errors.get(status, _AT.errors[500])] += 1

    def publish(self) -> None:
        """Let the other processes see what this one's cache has counted."""
        mine = self._mine
        mine[_AT.under_way] = self.under_way
        if self._cache is None:
            return
        stats = self._cache.stats()
        for n, name in enumerate(COUNTERS):
            mine[n] = self._before[n] + stats[name]
        mine[_AT.fill] = self._before[_AT.fill] + stats.embed_fill * stats.embed_batches
        for n, name in enumerate(GAUGES, _AT.gauges):
            mine[n] = stats[name]

    # -- reading, over all processes

    def counts(self) -> dict[str, float]:
        """``COUNTERS``, ``GAUGES``, ``fill`` and ``under_way``."""
        self.publish()
        names = (*COUNTERS, "fill", *GAUGES, "under_way")
        return dict(zip(names, self.board.totals(0, len(names)), strict=True))

    def saved(self) -> tuple[float, float, float]:
        """Prompt tokens, completion tokens, and US dollars that they would have cost."""
        prompt, completion = self.board.totals(_AT.saved, _AT.saved + 2)
        return prompt, completion, prompt * self._prices[0] + completion * self._prices[1]

    def errors(self) -> dict[int, float]:
        """HTTP errors by status."""
        return {status: self.board.total(cell) for status, cell in _AT.errors.items()}

    def by_source(self) -> dict[str, Histogram]:
        """Seconds of whole requests."""
        return {str(source): self._histogram(at) for source, at in _AT.sources.items()}

    def by_stage(self) -> dict[str, Histogram]:
        """Seconds that requests waited in each stage that they went through."""
        return {stage: self._histogram(at) for stage, at in _AT.stages.items()}

    def summary(self) -> dict[str, Any]:
        """What ``GET /semantic-cache/metrics`` tells. ``hits`` are answers from the cache, exact
        or semantic; ``misses`` those that waited for an LLM call, their own or another's."""
        counts = {name: int(n) for name, n in self.counts().items() if name != "fill"}
        fill = self.board.total(_AT.fill)
        hits = counts["exact"] + counts["semantic"]
        misses = counts["shared"] + counts["generated"]
        others = counts["bypassed"] + counts["shed"] + counts["failed"]
        prompt, completion, usd = self.saved()
        return {
            "requests": hits + misses + others,
            "hits": hits,
            "misses": misses,
            "hit_rate": hits / (hits + misses) if hits + misses else 0.0,
            **counts,
            "embed_fill": fill / counts["embed_batches"] if counts["embed_batches"] else 0.0,
            "embedder": "" if self._cache is None else self._cache.stats().embedder,
            "workers": len(self.board),
            "http_errors": {str(status): int(n) for status, n in self.errors().items() if n},
            "saved": {
                "tokens": int(prompt + completion),
                "prompt_tokens": int(prompt),
                "completion_tokens": int(completion),
                "usd": round(usd, 6),
            },
            "latency_ms": {source: _percentiles(h) for source, h in self.by_source().items()},
            "stage_ms": {stage: _percentiles(h) for stage, h in self.by_stage().items()},
        }

    def _histogram(self, at: int) -> Histogram:
        return Histogram(self.board.totals(at, at + _HISTOGRAM))


def _observe(mine: Cells, at: int, seconds: float) -> None:
    mine[at + bisect_left(BOUNDS, seconds)] += 1.0
    mine[at + _SUM] += seconds


def _percentiles(histogram: Histogram) -> dict[str, float]:
    shown = {name: round(histogram.quantile(q) * 1e3, 3) for name, q in _PERCENTILES.items()}
    return {**shown, "count": int(histogram.count)}
