"""Which distance a scope serves at, and why: its own evidence, that of like scopes, or the default.

    learned   the scope's own evidence: the largest distance whose bound meets the target
    pooled    too little of it: what the evidence of like scopes gives, an estimate
    default   too little of either: the static distance, which nothing speaks against so far
    cut       the default, shortened to where the scope's fitted curve expects the target to be met
    stopped   no distance is expected to meet it: nothing is served by meaning

Costs a millisecond or two: run it when evidence has come in, never on the lookup path.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from semcache_async.bounds.histogram import Counts, Histogram
from semcache_async.bounds.intervals import beta_below, chance
from semcache_async.bounds.logistic import Curve, Row, fit
from semcache_async.bounds.precision import Promise, promise

__all__ = ["ENOUGH", "Choice", "Origin", "Outcome", "choose", "curve_of", "refuted"]

ENOUGH = 40
"""Samples from which on the fitted curve may cut the default."""
_DOUBT = 0.1
_NONE = Counts(0.0, 0.0)
_DOUBTFUL = 0.025
"""How improbable an outcome is that speaks for or against a promise."""


class Origin(StrEnum):
    """What a distance rests on."""

    LEARNED = "learned"
    POOLED = "pooled"
    DEFAULT = "default"
    CUT = "cut"
    STOPPED = "stopped"


class Outcome(StrEnum):
    """What became of the target among the hits that were audited, by an exact test."""

    KEPT = "kept"
    OPEN = "open"
    """They are too few to say."""
    BROKEN = "broken"


@dataclass(frozen=True)
class Choice:
    """The distance a scope serves at. ``promise`` is what its own evidence supports, or, where
    ``origin`` is pooled, that of like scopes."""

    max_distance: float | None
    """None: nothing is served by meaning."""
    origin: Origin
    promise: Promise
    audited: Counts = _NONE
    """Hits of the scope that were judged afterwards, drawn at random; older ones count less."""

    @cached_property
    def outcome(self) -> Outcome:
        """The promise held against ``audited``."""
        counts, target = self.audited, self.promise.target
        if chance(counts.right, counts.wrong, target) <= _DOUBTFUL:
            return Outcome.KEPT
        broken = counts.wrong > 1.0 and 1.0 - _more(counts, target) <= _DOUBTFUL
        return Outcome.BROKEN if broken else Outcome.OPEN

    def explain(self) -> str:
        """One line for people."""
        target = f"{self.promise.target:.3f}".lstrip("0")
        match self.origin:
            case Origin.LEARNED | Origin.POOLED:
                return self.promise.explain()
            case Origin.DEFAULT:
                return (
                    f"{self.max_distance:.4g}, the default: what was seen neither proves nor "
                    f"refutes {target} so far"
                )
            case Origin.CUT:
                return (
                    f"{self.max_distance:.4g}, cut from the default: what was seen farther out "
                    f"lets expect less than {target} beyond; an estimate"
                )
            case Origin.STOPPED:
                return f"nothing by meaning: no distance is expected to reach {target}"


def choose(
    own: Histogram,
    like: Histogram | None = None,
    *,
    target: float,
    default: float,
    ceiling: float,
) -> Choice:
    """The distance for a scope with evidence ``own``, among scopes whose pooled evidence is
    ``like``."""
    start = min(default, ceiling)
    learned = promise(own, target=target, careful=False)
    fallback = _unproven(own, target=target, default=start)
    if learned.max_distance is not None:
        proven = min(learned.max_distance, ceiling)
        if proven >= (fallback or 0.0):
            return Choice(proven, Origin.LEARNED, learned)
    elif like is not None:
        pooled = promise(like, target=target, careful=False, pooled=True)
        if pooled.max_distance is not None:
            reach = min(pooled.max_distance, ceiling, curve_reach(own, target, ceiling))
            if reach > (fallback or 0.0) and not refuted(own, reach, target):
                return Choice(reach, Origin.POOLED, pooled)
    if fallback is None:
        return Choice(None, Origin.STOPPED, learned)
    return Choice(fallback, Origin.DEFAULT if fallback >= start else Origin.CUT, learned)


def _unproven(own: Histogram, *, target: float, default: float) -> float | None:
    """How far the default may be served without proof; None for not at all."""
    reach = min(default, curve_reach(own, target, default))
    while reach > 0.0 and refuted(own, reach, target):
        reach = round(reach - own.width, 9)
    return reach if reach > 0.0 else None


def curve_reach(own: Histogram, target: float, limit: float) -> float:
    """Up to ``limit``, where the fitted curve expects the target to be met; ``limit`` itself with
    too few samples for a curve."""
    return limit if own.total < ENOUGH else curve_of(own).reach(target, limit)


def curve_of(histogram: Histogram) -> Curve:
    """The logistic curve through a histogram."""
    rows = (
        Row(histogram.width * (place + 0.5), right, wrong)
        for place, (right, wrong) in enumerate(zip(histogram.right, histogram.wrong, strict=True))
        if right or wrong
    )
    return fit(rows)


def refuted(own: Histogram, distance: float, target: float) -> bool:
    """Is the precision at or below ``distance`` likely under ``target`` (one-sided, 10 %)?"""
    counts = _at(own, distance)
    return counts.wrong >= 1.0 and 1.0 - _more(counts, target) <= _DOUBT


def _more(counts: Counts, target: float) -> float:
    """How probable more right ones than these are at ``target``."""
    return beta_below(target, counts.right + 1.0, counts.wrong)


def _at(own: Histogram, distance: float) -> Counts:
    place = own.bucket(distance)
    return own.cumulated()[-1 if place is None else place]
