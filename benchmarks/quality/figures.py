"""Counting what rows served: rates with intervals, curves and their area, promise and outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from benchmarks.quality.rows import Outcome
from semcache_async.bounds.intervals import Interval, wilson
from semcache_async.text.guards import DOUBT, Kind, analyse, verdict
from semcache_async.tune.pairs import Pair

__all__ = [
    "CurvePoint",
    "PairFigures",
    "ReplayFigures",
    "Share",
    "area",
    "count_guards",
    "count_pairs",
    "count_replays",
    "pair_curve",
    "promise_gap",
]


class Share(NamedTuple):
    """So many of so many."""

    part: int
    whole: int

    @property
    def value(self) -> float | None:
        return self.part / self.whole if self.whole else None

    @property
    def interval(self) -> Interval:
        """Wilson's, 95 %."""
        return wilson(self.part, self.whole)

    def __str__(self) -> str:
        if not self.whole:
            return "-"
        low, high = self.interval
        return f"{100 * self.part / self.whole:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


@dataclass(frozen=True)
class ReplayFigures:
    """All orders and seeds of one replay together. Exact hits are not decided and not counted as
    semantic hits."""

    requests: int
    exact: int
    hits: Share
    """Semantic hits among the requests."""
    wrong: Share
    """Wrong ones among the semantic hits."""
    spread: Interval
    """The lowest and highest share of hits of any order."""


def count_replays(runs: Sequence[Sequence[Outcome]]) -> ReplayFigures:
    """The figures of a replay's orders."""
    every = [outcome for run in runs for outcome in run]
    semantic = [outcome for outcome in every if outcome.hit and not outcome.exact]
    shares = [sum(o.hit and not o.exact for o in run) / max(1, len(run)) for run in runs]
    return ReplayFigures(
        requests=len(every),
        exact=sum(outcome.exact for outcome in every),
        hits=Share(len(semantic), len(every)),
        wrong=Share(sum(not outcome.right for outcome in semantic), len(semantic)),
        spread=(min(shares, default=0.0), max(shares, default=0.0)),
    )


@dataclass(frozen=True)
class PairFigures:
    """What was served of pairs that one answer serves, and of others."""

    right: Share
    wrong: Share
    by_kind: dict[str, tuple[Share, Share]]
    """By kind: served of the right and of the wrong ones."""


def count_pairs(pairs: Sequence[Pair], served: Sequence[bool]) -> PairFigures:
    """The figures of a set of pairs."""
    both = list(zip(pairs, served, strict=True))

    def share(label: bool, kind: str | None = None) -> Share:
        chosen = [s for p, s in both if p.right is label and kind in (None, p.kind)]
        return Share(sum(chosen), len(chosen))

    kinds = sorted({pair.kind for pair in pairs} - {""})
    by_kind = {kind: (share(True, kind), share(False, kind)) for kind in kinds}
    return PairFigures(share(True), share(False), by_kind)


def count_guards(
    pairs: Sequence[Pair], distances: Sequence[float], reach: float
) -> dict[str, tuple[Share, Share]]:
    """Which guard is the first to speak against a pair within ``reach``: its share of the wrong
    pairs, and of the right ones."""
    near = [pair for pair, distance in zip(pairs, distances, strict=True) if distance <= reach]
    found: Counter[tuple[str, bool]] = Counter()
    for pair in near:
        said = verdict(analyse(pair.text_a), analyse(pair.text_b))
        if said.kind is not Kind.ACCEPT:
            found[said.guard or DOUBT, pair.right] += 1
    wrong, right = (sum(pair.right is label for pair in near) for label in (False, True))
    names = sorted({name for name, _ in found}, key=lambda name: -found[name, False])
    return {
        name: (Share(found[name, False], wrong), Share(found[name, True], right)) for name in names
    }


class CurvePoint(NamedTuple):
    """Precision of the hits at a share of hits."""

    distance: float
    hit_ratio: float
    precision: float


def pair_curve(distances: Sequence[float], rights: Sequence[bool]) -> list[CurvePoint]:
    """Each pair as a request: precision by hit ratio, from the nearest pair to all of them."""
    ranked = sorted(zip(distances, rights, strict=True))
    points: list[CurvePoint] = []
    right = 0
    for number, (distance, is_right) in enumerate(ranked, start=1):
        right += is_right
        point = CurvePoint(distance, number / len(ranked), right / number)
        if points and points[-1].distance == distance:
            points[-1] = point  # pairs of one distance are served together
        else:
            points.append(point)
    return points


def area(points: Iterable[CurvePoint]) -> float | None:
    """P-CHR AUC: the area under precision over the hit ratio, divided by the greatest hit ratio of
    the curve; so the mean precision over the hit ratios that it reaches."""
    ordered = sorted(points, key=lambda point: point.hit_ratio)
    if not ordered or ordered[-1].hit_ratio <= 0.0:
        return None
    first = CurvePoint(0.0, 0.0, ordered[0].precision)
    total = sum(
        (b.hit_ratio - a.hit_ratio) * (a.precision + b.precision) / 2.0
        for a, b in pairwise([first, *ordered])
    )
    return total / ordered[-1].hit_ratio


def promise_gap(target: float, figures: ReplayFigures) -> float | None:
    """By how much the precision fell short of the target; 0 where it did not, None without hits."""
    wrong = figures.wrong.value
    return None if wrong is None else max(0.0, target - (1.0 - wrong))
