"""The largest distance at which a wanted precision can be promised.

The promise is about the precision *of what would be served*: the share of right ones among all
samples at or below a distance. To try many distances and keep the largest that passes is to look
many times: with Wilson's bound at 95 %, one such promise in three fails where the precision runs
flat just below the target, and one in twenty where it falls through it (``python -m
benchmarks.quality.promise``). So the distances are tested in a fixed order, the smallest first, and
each start of a walk spends its own part of what may fail; a distance that passes hands its part on
to the next, one that fails loses it (the fallback procedure of Wiens, 2003). The chance that any
distance is promised wrongly is then at most ``1 - confidence``, for precision curves of any shape,
given that the samples are independent and from the traffic that the promise is for.

Evidence of a cache's own traffic has more near misses than hits, since misses are all judged and
hits seldom. Counted alike, they make the precision look lower than it is as long as it falls with
distance: the promise errs on the safe side. Where traps lie nearest, it does not. And each promise
is one look at one time: of many over months, the stated share may fail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from semcache_async.bounds.histogram import Counts, Histogram
from semcache_async.bounds.intervals import chance, exact_low

__all__ = ["STARTS", "Promise", "needed", "promise"]

STARTS = (0.03, 0.05, 0.07, 0.1, 0.13, 0.16, 0.2, 0.25)
"""Distances at which a walk starts. Where all evidence lies far out, the first walks fail for lack
of it; were the starts to depend on the counts, one more wrong sample could widen the promise."""


@dataclass(frozen=True)
class Promise:
    """What may be served, and what that rests on."""

    max_distance: float | None
    """The largest distance that keeps the promise; None where no distance does."""
    target: float
    confidence: float
    samples: float
    """The effective number of samples at or below ``max_distance``; of all without one."""
    precision: float
    """The share of right ones among them."""
    precision_low: float
    """What the true share is at least, with ``confidence`` that allows for every distance tried."""
    pooled: bool = False
    """From like scopes: an estimate for this one, no promise."""

    def explain(self) -> str:
        """One line for people."""
        likely = f"{self.confidence * 100:g} %"
        if self.max_distance is None:
            return (
                f"no distance: {self.samples:,.0f} samples (precision {_share(self.precision)}) do "
                f"not support {_share(self.target)} with {likely}"
            )
        text = (
            f"{self.max_distance:.4g}, from {self.samples:,.0f} samples, precision "
            f"{_share(self.precision)}, at least {_share(self.precision_low)} with {likely}"
        )
        return f"{text}; an estimate, pooled from like scopes" if self.pooled else text


def promise(
    histogram: Histogram,
    *,
    target: float,
    confidence: float = 0.95,
    careful: bool = True,
    starts: Sequence[float] = STARTS,
    pooled: bool = False,
) -> Promise:
    """The largest edge of ``histogram`` at which the precision of what would be served is at least
    ``target``, and no farther out than a right sample was seen. One more wrong sample never widens
    it, nor does a higher target or confidence.

    Without ``careful`` each distance is tested as if it were the only one: quicker to learn, with
    a bound that holds for any one distance, and less often for the largest of many that passed.
    ``starts``: where walks begin; they must not have been chosen by these samples' labels.
    """
    check_share("target", target)
    check_share("confidence", confidence)
    alpha = 1.0 - confidence
    edges, counts = histogram.edges(), histogram.cumulated()
    parts = _parts(edges, alpha, starts) if careful else [alpha] * len(edges)
    held, level = 0.0, alpha
    best: int | None = None
    seen: int | None = None
    for place, (found, part) in enumerate(zip(counts, parts, strict=True)):
        held = min(alpha, held + part)
        seen = place if histogram.right[place] else seen
        if held and _passes(found, target, held):
            if seen is not None:
                best, level = seen, held
        else:
            held = 0.0
    found = counts[-1 if best is None else best]
    return Promise(
        max_distance=None if best is None else edges[best],
        target=target,
        confidence=confidence,
        samples=found.total,
        precision=found.precision,
        precision_low=exact_low(found.right, found.wrong, 1.0 - level),
        pooled=pooled,
    )


def needed(target: float, confidence: float = 0.95) -> int:
    """How many samples without one wrong among them make the first promise possible."""
    return math.ceil(math.log((1.0 - confidence) / len(STARTS)) / math.log(target))


def check_share(name: str, value: float) -> None:
    """Over 0 and below 1."""
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name}={value!r}: must lie between 0 and 1.")


def _parts(edges: list[float], alpha: float, starts: Sequence[float]) -> list[float]:
    """What may fail, by edge: an equal part where a walk starts, nothing elsewhere."""
    starts = [start for start in starts if start <= edges[-1] + 1e-9] or [edges[-1]]
    parts = [0.0] * len(edges)
    for start in starts:
        parts[next(i for i, edge in enumerate(edges) if edge >= start - 1e-9)] += alpha / len(
            starts
        )
    return parts


def _passes(counts: Counts, target: float, level: float) -> bool:
    return counts.precision > target and chance(counts.right, counts.wrong, target) <= level


def _share(value: float) -> str:
    return f"{value:.3f}".lstrip("0") or "0"
