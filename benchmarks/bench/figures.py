"""What the records say: groups of repeats, ratios of turns taken together, the noise floor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.bench.lookups import EQUAL, RIVAL
from benchmarks.bench.record import Row, read_records, read_results
from benchmarks.bench.sizes import AGAIN
from semcache_async.load.measured.figures import Group, Span, grouped, trusted
from semcache_async.load.measured.result import Result

__all__ = ["METRICS", "RESULTS", "Found", "floor_of", "ratio_of", "read_found", "verdict_of"]

RESULTS = Path(__file__).resolve().parents[1] / "results"

METRICS: dict[str, Callable[[Result], float | None]] = {
    "lookups/s": lambda result: result.achieved,
    "p50": lambda result: result.answers().percentile(50.0),
    "p99": lambda result: trusted(result.answers(), 99.0),
}


class Found:
    """All records of one comparison, as far as there are any."""

    def __init__(self, records: dict[str, Row], scale: Row | None = None) -> None:
        self.records, self.scale = records, scale or {}
        self.results = read_results(self.lookups) if self.lookups else []
        self.groups = grouped(self.results)
        self.embed = read_results(self.lookups, "embed") if self.lookups else []
        self.http = grouped(read_results(records["http"])) if "http" in records else []

    @property
    def lookups(self) -> Row:
        return self.records.get("lookups", {})

    @property
    def callers(self) -> int:
        return int(self.lookups.get("callers", 64))

    @cached_property
    def labels(self) -> list[str]:
        """Contenders that looked up, ours first."""
        return list(dict.fromkeys(result.name for result in self.results))

    @property
    def rivals(self) -> list[str]:
        """Ours, and those that are not ours."""
        return [name for name in self.labels if name == "ours" or not name.startswith("ours")]

    def group(self, label: str, callers: int) -> Group | None:
        """Lookups by so many callers."""
        return next((g for g in self.groups if is_of(g, label, callers)), None)

    def by_callers(self, label: str) -> list[Group]:
        return [g for g in self.groups if g.name == label and not g.is_open]

    def by_rate(self, label: str) -> list[Group]:
        return [g for g in self.groups if g.name == label and g.is_open]

    def equal(self) -> tuple[Group, Group] | None:
        """Ours and RedisVL's at the equal load."""
        theirs = {g.load: g for g in self.by_rate(RIVAL)}
        both = [(g, theirs[g.load]) for g in self.by_rate("ours") if g.load in theirs]
        capacity = self.group(RIVAL, self.callers)
        if not both or capacity is None:
            return None
        wanted = capacity.achieved.median * EQUAL
        return min(both, key=lambda pair: abs((pair[0].merged.target_rate or 0.0) - wanted))

    def embedding(self, label: str, callers: int) -> Span | None:
        """Embeddings a second by many callers; by one, seconds of the median one."""
        own = [r for r in self.embed if r.name == label and r.callers == callers]
        if not own:
            return None
        if callers == 1:
            return Span.of([r.answers().percentile(50.0) or 0.0 for r in own])
        return Span.of([r.achieved for r in own])

    def ratio(self, label: str, callers: int, metric: str) -> Span | None:
        """Ours over ``label``'s, turn by turn."""
        ours, theirs = self.group("ours", callers), self.group(label, callers)
        if ours is None or theirs is None:
            return None
        return ratio_of(ours.results, theirs.results, METRICS[metric])

    @cached_property
    def floor(self) -> dict[tuple[str, int], float]:
        """By metric and callers: by how much ours and ours again differed in any one round."""
        found = {
            (metric, callers): floor_of(self.ratio(AGAIN, callers, metric))
            for callers in (self.callers, 1)
            for metric in METRICS
        }
        return {key: floor for key, floor in found.items() if floor is not None}

    def verdict(self, span: Span | None, metric: str, callers: int) -> str:
        """What may be claimed of a ratio."""
        return verdict_of(span, self.floor.get((metric, callers)))

    def compared(self, key: str) -> Span | None:
        """The ratio of ``benchmarks.parts``."""
        row = self.part(key)
        if row is None:
            return None
        return Span.of([a / b for a, b in zip(row["ours"], row["theirs"], strict=True)])

    @property
    def bursts(self) -> dict[str, list[Row]]:
        """Turns of the burst of intents, by contender."""
        found: dict[str, list[Row]]
        found = self.records.get("intents", {}).get("turns", {}).get("burst", {})
        return found

    def part(self, key: str) -> Row | None:
        rows = self.records.get("parts", {}).get("compared", ())
        return next((row for row in rows if row["key"] == key), None)

    @property
    def embedder(self) -> Row | None:
        found: Row | None = self.records.get("embedder", {}).get("embedder")
        return found

    def tokens_per_s(self, way: str) -> float:
        """Of one CPU."""
        assert self.embedder is not None
        row = self.embedder["ways"][way]
        return float(self.embedder["tokens"] / np.median(row["seconds"]) / row["cpus"])

    @property
    def peak_texts_per_s(self) -> float:
        """Texts that all CPUs would embed at their whole measured peak."""
        assert self.embedder is not None
        one = self.embedder["flops_per_token"] * self.embedder["tokens"] / self.embedder["texts"]
        return float(self.embedder["cpus"] * self.embedder["peak_flops"] / one)

    def share_of_peak(self, way: str) -> float:
        assert self.embedder is not None
        flops = self.tokens_per_s(way) * self.embedder["flops_per_token"]
        return float(flops / self.embedder["peak_flops"])

    @property
    def best_padded(self) -> str:
        """The padded way with the most tokens a second of one CPU."""
        assert self.embedder is not None
        ways: list[str] = [name for name in self.embedder["ways"] if name.startswith("padded")]
        return max(ways, key=self.tokens_per_s)

    def packed_to_padded(self) -> Span | None:
        """Tokens a second of one CPU: packed over the best padded way, round by round."""
        if self.embedder is None:
            return None
        ways, best = self.embedder["ways"], self.best_padded
        packed = ways["packed, 1 CPU"]
        return Span.of(
            [
                b * ways[best]["cpus"] / (a * packed["cpus"])
                for a, b in zip(packed["seconds"], ways[best]["seconds"], strict=True)
            ]
        )


def is_of(group: Group, label: str, callers: int) -> bool:
    return group.name == label and group.merged.callers == callers


def ratio_of(
    ours: Sequence[Result], theirs: Sequence[Result], measure: Callable[[Result], float | None]
) -> Span | None:
    """Turn by turn; of the medians where one of them missed a turn; None without figures."""
    a = [value for result in ours if (value := measure(result))]
    b = [value for result in theirs if (value := measure(result))]
    if not a or not b:
        return None
    if len(a) != len(b):
        middle = float(np.median(a) / np.median(b))
        return Span(middle, middle, middle)
    return Span.of([x / y for x, y in zip(a, b, strict=True)])


def floor_of(span: Span | None) -> float | None:
    """The most that a ratio of the same to the same was off."""
    return None if span is None else max(span.high, 1.0 / span.low) - 1.0


def verdict_of(span: Span | None, floor: float | None) -> str:
    """What may be claimed of a ratio."""
    if span is None or floor is None:
        return "noise unknown"
    beyond = max(span.median, 1.0 / span.median) - 1.0 > floor
    return "differs" if beyond else "within noise"


def read_found(path: Path) -> Found:
    """From a ``bench.json``, and the scale study's own results."""
    return Found(read_records(path), read_records(RESULTS / "scale.json"))
