"""Counting: cheap to note, summed over all the service's processes, zeros from the start."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from semcache_async.bounds.intervals import measured
from semcache_async.cache import SemanticCache
from semcache_async.serve.bypass import Bypass
from semcache_async.serve.metrics import savings
from semcache_async.serve.metrics.counters import (
    COUNTERS,
    GAUGES,
    INDEX_GAUGES,
    MODEL_COUNTERS,
    OWN,
    RESULTS,
    STATUSES,
    Layout,
)
from semcache_async.serve.metrics.histogram import CELLS, Histogram, observe
from semcache_async.serve.metrics.shared_rows import SharedRows
from semcache_async.serve.settings import Settings
from semcache_async.types import ModelState, Source, Timings

__all__ = ["Metrics"]

_AVOIDED = (Source.EXACT, Source.SEMANTIC, Source.SHARED)
_HITS = (Source.EXACT, Source.SEMANTIC)
_PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
_KNOWN = frozenset(STATUSES)


class Metrics:
    """One process's numbers, and the sums of all processes'."""

    def __init__(self, settings: Settings | None = None, rows: SharedRows | None = None) -> None:
        settings = settings or Settings()
        self.layout = at = Layout(settings.upstream_names, settings.cache.model_names)
        self.rows = rows or SharedRows(at.width)
        self._whole = {source: at.durations["request_seconds", source.value] for source in Source}
        self._stages = [
            (f"{stage}_s", cell)
            for (name, stage), cell in at.durations.items()
            if name == "stage_seconds"
        ]
        self._values = {family.name: family.values for family in (*OWN, *at.durations_of)}
        self._mine = self.rows.mine
        self._prices = (
            settings.usd_per_million_tokens_in / 1e6,
            settings.usd_per_million_tokens_out / 1e6,
        )
        self.target_precision = settings.cache.target_precision
        self._cache: SemanticCache | None = None
        self.under_way = 0
        """Requests this process is answering; the middleware keeps it."""
        # What a worker that died in this one's place had counted stays counted.
        self._before = list(self._mine[: at.gauges])
        self._before_of = {
            (model, counted.name): self._mine[at.of_models[model, counted.name]]
            for model in at.models
            for counted in MODEL_COUNTERS
        }
        gauges = range(at.gauges, at.gauges + len(GAUGES))
        of_models = (cell for key, cell in at.of_models.items() if key not in self._before_of)
        for cell in (*gauges, *of_models):
            self._mine[cell] = 0.0
        self._spent = self._so_far()

    def watch(self, cache: SemanticCache) -> None:
        """Count what ``cache`` counts."""
        self._cache = cache

    # -- noting

    def count(self, name: str, *labels: str, number: float = 1.0) -> None:
        """Add to the number of a family with that name and label, or of a table with both."""
        self._mine[self.layout.numbers[name, *labels]] += number

    def observe(self, name: str, label: str, seconds: float) -> None:
        """Count a duration of a family of histograms."""
        observe(self._mine, self.layout.durations[name, label], seconds)

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
        observe(mine, self._whole[source], timings.total_s)
        for name, at in self._stages:
            if seconds := getattr(timings, name):
                observe(mine, at, seconds)
        if saved_prompt_tokens or saved_completion_tokens:
            self.count("saved_tokens", "prompt", number=saved_prompt_tokens)
            self.count("saved_tokens", "completion", number=saved_completion_tokens)

    def bypassed(self, reason: Bypass) -> None:
        """One request was answered without the cache."""
        self.count("bypass_reasons", reason.value)

    def http_error(self, status: int) -> None:
        """A request was answered with an error."""
        self.count("http_errors", str(status if status in _KNOWN else 500))

    def publish(self) -> None:
        """Let the other processes see what this one's cache has counted, and that it lives."""
        mine = self._mine
        values: dict[str, float] = {"under_way": self.under_way}
        if self._cache is not None:
            stats = self._cache.stats()
            values |= stats
            values["embed_pack_fill"] = stats.embed_fill * stats.embed_batches
            for cell, counted in enumerate(COUNTERS):
                mine[cell] = self._before[cell] + values[counted.name]
            states = {state.name: state for state in self._cache.models()}
            for (model, name), cell in self.layout.of_models.items():
                if model in states:
                    before = self._before_of.get((model, name), 0.0)
                    mine[cell] = before + getattr(states[model], name)
        for cell, counted in enumerate(GAUGES, self.layout.gauges):
            mine[cell] = values.get(counted.name, 0.0)
        self._note_savings()
        mine[self.layout.alive] = time.monotonic()

    def _so_far(self) -> dict[str, float]:
        """What this row has of what savings are made from."""
        mine, at = self._mine, self.layout
        cells = {counted.name: cell for cell, counted in enumerate(COUNTERS)}
        tokens = [mine[at.numbers["saved_tokens", kind]] for kind in ("prompt", "completion")]
        found = {
            "avoided": sum(mine[cells[source.value]] for source in _AVOIDED),
            "llm_calls": mine[cells["llm_calls"]],
            "tokens": sum(tokens),
            "usd": self._usd(*tokens),
        }
        for source in _HITS:
            told = Histogram(mine[self._whole[source] : self._whole[source] + CELLS])
            found |= {f"{source.value} hits": told.count, f"{source.value} took": told.sum}
        return found

    def _note_savings(self) -> None:
        now, mine = self._so_far(), self._mine
        new = {name: number - self._spent[name] for name, number in now.items()}
        self._spent = now
        if not any(new.values()):
            return
        at = self._whole[Source.GENERATED]
        made = Histogram(mine[at : at + CELLS])
        seconds = 0.0
        for source in _HITS:
            waited = new[f"{source.value} hits"] * made.sum / (made.count or 1.0)
            spared = max(0.0, waited - new[f"{source.value} took"])
            self.count("saved_seconds", source.value, number=spared)
            seconds += spared
        amounts = [(new | {"seconds": seconds})[name] for name in savings.COLUMNS]
        savings.note(mine, self.layout.savings, _minute(), amounts)

    # -- reading, over all processes

    def counts(self) -> dict[str, float]:
        """``COUNTERS`` and ``GAUGES`` by name."""
        self.publish()
        counted = (*COUNTERS, *GAUGES)
        totals = self.rows.totals(0, len(counted))
        return {one.name: total for one, total in zip(counted, totals, strict=True)}

    def own(self, name: str) -> dict[str, float]:
        """A family of ``OWN`` by label."""
        at = self.layout.numbers
        return {value: self.rows.total(at[name, value]) for value in self._values[name]}

    def models(self, sizes: Sequence[ModelState] = ()) -> dict[str, dict[str, float]]:
        """Each model's numbers by name, with those of its index where ``sizes`` have them."""
        found: dict[str, dict[str, float]] = {model: {} for model in self.layout.models}
        for (model, name), cell in self.layout.of_models.items():
            found[model][name] = self.rows.total(cell)
        for state in sizes:
            for counted in INDEX_GAUGES:
                if (number := getattr(state, counted.name)) is not None:
                    found[state.name][counted.name] = number
        return found

    def table(self, name: str) -> dict[str, dict[str, float]]:
        """A table by row and column."""
        at = self.layout.numbers
        (table,) = (one for one in self.layout.tables if one.name == name)
        return {
            row: {column: self.rows.total(at[name, row, column]) for column in table.columns}
            for row in table.rows
        }

    def durations(self, name: str) -> dict[str, Histogram]:
        """A family of histograms by label."""
        found = {}
        for value in self._values[name]:
            at = self.layout.durations[name, value]
            found[value] = Histogram(self.rows.totals(at, at + CELLS))
        return found

    def saved(self) -> tuple[float, float, float]:
        """Prompt tokens, completion tokens, and US dollars that they would have cost."""
        prompt, completion = self.own("saved_tokens").values()
        return prompt, completion, self._usd(prompt, completion)

    def _usd(self, prompt: float, completion: float) -> float:
        return prompt * self._prices[0] + completion * self._prices[1]

    def savings(self) -> dict[str, list[float]]:
        """By minute, the last one under way, what ``savings.COLUMNS`` name."""
        self.publish()
        at = self.layout.savings
        return savings.last_hour(self.rows.parts(at, at + savings.CELLS), _minute())

    @staticmethod
    def wrong_hits(counts: Mapping[str, float]) -> dict[str, float] | None:
        """Of ``counts``, the share of wrong ones among the semantic hits and its 95 % interval, as
        audits measure it; None without audits."""
        audited = int(counts["audited"])
        found = measured(int(counts["audited_wrong"]), audited)
        if found is None:
            return None
        share, low, high = found
        return {"share": share, "low": low, "high": high, "audited": audited}

    def summary(self, sizes: Sequence[ModelState] = ()) -> dict[str, Any]:
        """What ``GET /semantic-cache/metrics`` tells. ``hits`` are answers from the cache, exact
        or semantic; ``misses`` those that waited for an LLM call, their own or another's."""
        found = self.counts()
        fill, usd_embedded = found.pop("embed_pack_fill"), found.pop("embed_usd")
        counts = {name: int(number) for name, number in found.items()}
        hits = counts["exact"] + counts["semantic"]
        misses = counts["shared"] + counts["generated"]
        prompt, completion, usd = self.saved()
        return {
            "requests": sum(counts[name] for name in RESULTS),
            "hits": hits,
            "misses": misses,
            "hit_rate": hits / (hits + misses) if hits + misses else 0.0,
            **counts,
            "embed_fill": fill / counts["embed_batches"] if counts["embed_batches"] else 0.0,
            "embed_usd": round(usd_embedded, 6),
            "embedder": "" if self._cache is None else self._cache.stats().embedder,
            "workers": len(self.rows),
            "models": {
                model: {name: int(number) for name, number in numbers.items()}
                for model, numbers in self.models(sizes).items()
            },
            **{
                family.name: {value: int(n) for value, n in self.own(family.name).items() if n}
                for family in OWN
                if not family.name.startswith("saved_")
            },
            **{table.name: self._told(table.name) for table in self.layout.tables},
            "saved": {
                "tokens": int(prompt + completion),
                "prompt_tokens": int(prompt),
                "completion_tokens": int(completion),
                "usd": round(usd, 6),
                "seconds": round(sum(self.own("saved_seconds").values()), 3),
            },
            "target_precision": self.target_precision,
            "wrong_hits": self.wrong_hits(counts),
            "latency_ms": _percentiles(self.durations("request_seconds")),
            "stage_ms": _percentiles(self.durations("stage_seconds")),
            "first_byte_ms": _percentiles(self.durations("upstream_first_byte_seconds")),
        }

    def _told(self, name: str) -> dict[str, dict[str, int]]:
        """A table without its zeros."""
        return {
            row: {column: int(number) for column, number in numbers.items() if number}
            for row, numbers in self.table(name).items()
            if any(numbers.values())
        }


def _minute() -> int:
    return int(time.monotonic() // 60.0)


def _percentiles(histograms: dict[str, Histogram]) -> dict[str, dict[str, float]]:
    return {
        value: {
            **{name: round(histogram.quantile(q) * 1e3, 3) for name, q in _PERCENTILES.items()},
            "count": int(histogram.count),
        }
        for value, histogram in histograms.items()
    }
