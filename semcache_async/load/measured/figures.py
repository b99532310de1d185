"""Figures of repeated runs: medians, their spread, and what that makes of a difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from statistics import median
from typing import NamedTuple

from semcache_async.load.asking.targets import LOOKUPS, SOURCES
from semcache_async.load.measured.histogram import Histogram
from semcache_async.load.measured.result import Result, merge_rounds

__all__ = [
    *("HITS", "METRICS", "Comparison", "Group", "Span", "compare", "focus_of", "grouped"),
    *("noise_floor", "trusted"),
]

HITS = ("exact", "semantic", "hit")
"""Sources that are a stored answer."""

KEPT_UP = 0.95
"""Share of the offered rate from which a target kept up."""
LATE_S = 0.005
"""p99 of the driver's own lateness from which its figures are in doubt."""


class Span(NamedTuple):
    """Median and range over repeats."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Span:
        return cls(median(values), min(values), max(values))

    @property
    def spread(self) -> float:
        """Range over median."""
        return (self.high - self.low) / self.median if self.median else 0.0


def trusted(times: Histogram, q: float) -> float | None:
    """The percentile in seconds; None where at least one time in expectation would not be beyond
    it."""
    return times.percentile(q) if len(times) * (100.0 - q) >= 100.0 else None


class Group:
    """The repeats of one name and load."""

    def __init__(self, results: Sequence[Result]) -> None:
        self.results = results
        self.name, self.load = results[0].name, results[0].load
        self.merged = merge_rounds(results)
        self.all = self.merged.answers()
        self._each = [result.answers() for result in results]
        self._lookups = [result.answers(LOOKUPS) for result in results]

    @property
    def label(self) -> str:
        return f"{self.name} at {self.load}" if self.is_open else f"{self.name}, {self.load}"

    @property
    def is_open(self) -> bool:
        return self.merged.callers is None

    @cached_property
    def by_source(self) -> dict[str, Histogram]:
        """In the order of ``SOURCES``."""
        latency = self.merged.latency
        return {name: Histogram.decode(latency[name]) for name in SOURCES if name in latency}

    @cached_property
    def offered(self) -> Span:
        return Span.of([result.offered for result in self.results])

    @cached_property
    def achieved(self) -> Span:
        return Span.of([result.achieved for result in self.results])

    @property
    def kept_up(self) -> bool:
        """Answered or refused in time; the closed loop always does."""
        refused = sum(self.merged.errors.values()) / self.merged.duration_s
        ended = self.achieved.median + refused
        return not self.is_open or ended >= KEPT_UP * self.offered.median

    @property
    def calls_per_intent(self) -> float | None:
        calls, intents = self.merged.llm_calls, self.merged.intents
        return None if calls is None or not intents else calls / intents

    def percentile(self, q: float) -> Span | None:
        """Seconds; None where a run is too short to have it."""
        return _span(self._each, q)

    def lookup_percentile(self, q: float) -> Span | None:
        """The same of what waited for no LLM."""
        return _span(self._lookups, q)

    def times(self, which: str) -> Histogram:
        """``service``, ``lateness``, ``lag`` or ``first_token`` of all repeats."""
        return Histogram.decode(getattr(self.merged, which))


def _span(runs: Sequence[Histogram], q: float) -> Span | None:
    values = [value for times in runs if (value := trusted(times, q)) is not None]
    return Span.of(values) if len(values) == len(runs) else None


def grouped(results: Sequence[Result]) -> list[Group]:
    """By name and load: names as they come, loads from low to high."""
    found: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        found.setdefault((result.name, result.load), []).append(result)
    names = list(dict.fromkeys(result.name for result in results))

    def rank(group: Group) -> tuple[int, float, float]:
        first = group.results[0]
        return names.index(group.name), first.target_rate or 0.0, first.callers or 0

    return sorted((Group(runs) for runs in found.values()), key=rank)


def focus_of(groups: Sequence[Group]) -> Group:
    """The first name's highest load that it kept up with."""
    own = [group for group in groups if group.name == groups[0].name]
    return next((group for group in reversed(own) if group.kept_up), own[0])


# -- what a difference means

METRICS: dict[str, Callable[[Group], Span | None]] = {
    "lookup p50": lambda group: group.lookup_percentile(50.0),
    "lookup p99": lambda group: group.lookup_percentile(99.0),
    "p50": lambda group: group.percentile(50.0),
    "p99": lambda group: group.percentile(99.0),
    "answers/s": lambda group: group.achieved,
}


def noise_floor(groups: Sequence[Group]) -> dict[str, float]:
    """For each metric, by how much identical runs differed at most, relative to their median.
    Empty without repeats: then nothing is known about noise."""
    repeated = [group for group in groups if len(group.results) > 1]
    floor = {}
    for name, measure in METRICS.items():
        spreads = [span.spread for group in repeated if (span := measure(group)) is not None]
        if spreads:
            floor[name] = max(spreads)
    return floor


class Comparison(NamedTuple):
    """One metric of two names at one load."""

    load: str
    name: str
    baseline: str
    metric: str
    ratio: float
    """Of the medians, ``name`` over ``baseline``."""
    beyond_noise: bool | None
    """None where the noise is not known."""


def compare(groups: Sequence[Group]) -> Iterator[Comparison]:
    """Every name with the first one, load by load."""
    floor = noise_floor(groups)
    first = {group.load: group for group in groups if group.name == groups[0].name}
    for group in groups[1:]:
        baseline = first.get(group.load)
        if baseline is None or baseline.name == group.name:
            continue
        for name, measure in METRICS.items():
            ours, theirs = measure(group), measure(baseline)
            if ours is not None and theirs is not None and theirs.median and ours.median:
                ratio = ours.median / theirs.median
                differs = max(ratio, 1.0 / ratio) - 1.0 > floor[name] if name in floor else None
                yield Comparison(group.load, group.name, baseline.name, name, ratio, differs)
