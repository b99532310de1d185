"""From labelled pairs to the distance, or a verifier's score, that keeps a promise, once.

A third of the pairs, drawn by hash, says where to start: at the distance where the target is met
most clearly. The promise is made by the rest alone, which had no part in that: the start is tested,
and each larger distance as long as the one before passed. Neither the choice nor the walk makes the
bound optimistic (a fixed sequence of tests fails no more often than one).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semcache_async.bounds.histogram import Counts, Histogram
from semcache_async.bounds.intervals import exact_low
from semcache_async.bounds.precision import Promise, check_share, promise
from semcache_async.tune.pairs import CalibrationError, Pair, halves, tidy_pairs

__all__ = [
    "CEILING",
    "Calibration",
    "Embed",
    "Point",
    "Score",
    "calibrate_pairs",
    "clearest",
    "distances",
]

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Unit vectors of texts: ``Embedder.embed`` where it is a plain method."""
Score = Callable[[Sequence[tuple[str, str]]], NDArray[np.float32]]
"""``Verifier.score`` where it is a plain method."""

CEILING = 0.3
"""Larger distances are never recommended."""
_WIDTH = 0.002
_START_SHARE = 1.0 / 3.0
_AT_ONCE = 1_024


@dataclass(frozen=True)
class Point:
    """What the pairs say of one distance: those at or below it; or, with a verifier, of one
    score within that distance: those at or over it."""

    distance: float
    pairs: float
    precision: float
    precision_low: float
    """One-sided bound for this distance alone."""
    recall: float
    score: float | None = None

    @property
    def at(self) -> float:
        """What is calibrated."""
        return self.distance if self.score is None else self.score


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The recommended distance and what speaks for it; with a verifier, the score recommended for
    what lies within that distance, and "at or below" means "at or over" it."""

    max_distance: float | None
    """None where the pairs cannot support the promise."""
    target: float
    confidence: float
    precision: float
    """Share of right pairs at or below ``max_distance``, in the part that made the promise; without
    one, of all pairs up to the ceiling."""
    precision_low: float
    recall: float
    """Share of the right pairs that lie at or below ``max_distance``."""
    pairs: int
    """Pairs used."""
    promised_on: float
    """Effective number of pairs at or below ``max_distance`` in the part that made the promise."""
    identical: int = 0
    repeated: int = 0
    contradicted: int = 0
    too_long: int = 0
    curve: tuple[Point, ...] = field(default=(), repr=False)
    min_score: float | None = None
    """None without a verifier, too."""
    scopes: dict[str, Calibration] = field(default_factory=dict)

    @property
    def enough(self) -> bool:
        """Do the pairs support the promise?"""
        return self.max_distance is not None

    @property
    def at(self) -> float | None:
        """What is calibrated, where it could be."""
        return self.max_distance if self.min_score is None else self.min_score

    def explain(self) -> str:
        """One line for people."""
        found = Promise(
            self.at,
            self.target,
            self.confidence,
            self.promised_on,
            self.precision,
            self.precision_low,
        )
        if self.enough:
            return found.explain()
        return f"{found.explain()}; label more pairs that lie near, or ask for less"

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        made = asdict(self) | {"enough": self.enough}
        made["scopes"] = {name: scope.as_json() for name, scope in self.scopes.items()}
        return made


def calibrate_pairs(
    pairs: Sequence[Pair],
    embed: Embed,
    *,
    target: float = 0.98,
    confidence: float = 0.95,
    by_scope: bool = False,
    too_long: Callable[[str], bool] | None = None,
    score: Score | None = None,
    max_distance: float = CEILING,
) -> Calibration:
    """The largest distance at which ``target`` of the pairs at or below it are right; with the
    ``score`` of a verifier, the smallest one that does so within ``max_distance``.

    ``too_long``: prompts that the model does not read; their pairs are left out. ``by_scope``
    calibrates each scope of the file by itself, too.
    """
    check_share("target", target)
    check_share("confidence", confidence)
    tidied = tidy_pairs(pairs)
    long = too_long or (lambda _text: False)
    kept = [pair for pair in tidied.kept if not (long(pair.text_a) or long(pair.text_b))]
    far = distances(kept, embed)
    reach = None
    if score is not None:
        far, reach = _lacking(kept, far <= max_distance, score), max_distance
    every = _calibrate(kept, far, target, confidence, reach)
    scopes = {}
    for name in sorted({pair.scope for pair in kept}) if by_scope else ():
        own = [place for place, pair in enumerate(kept) if pair.scope == name]
        chosen = [kept[place] for place in own]
        scopes[name] = _calibrate(chosen, far[own], target, confidence, reach)
    return replace(
        every,
        identical=tidied.identical,
        repeated=tidied.repeated,
        contradicted=tidied.contradicted,
        too_long=len(tidied.kept) - len(kept),
        scopes=scopes,
    )


def distances(pairs: Sequence[Pair], embed: Embed) -> NDArray[np.float64]:
    """The cosine distance of each pair; each text is embedded once."""
    every = (text for pair in pairs for text in (pair.text_a, pair.text_b))
    rows = {text: row for row, text in enumerate(dict.fromkeys(every))}
    texts = list(rows)
    if not texts:
        return np.empty(0)
    parts = [embed(texts[at : at + _AT_ONCE]) for at in range(0, len(texts), _AT_ONCE)]
    vectors = np.concatenate(parts)
    if vectors.shape[0] != len(texts) or not np.isfinite(vectors).all():
        raise CalibrationError("The embedder gave vectors that make no sense.")
    one = vectors[[rows[pair.text_a] for pair in pairs]]
    other = vectors[[rows[pair.text_b] for pair in pairs]]
    far = 1.0 - np.einsum("nd,nd->n", one, other, dtype=np.float64)
    return np.asarray(np.maximum(0.0, far), np.float64)


def _lacking(pairs: Sequence[Pair], near: NDArray[np.bool_], score: Score) -> NDArray[np.float64]:
    """The root of what each pair's score lacks of 1, since models crowd theirs there; infinite for
    one that is not near, or has no score."""
    places = np.flatnonzero(near).tolist()
    lacking = np.full(len(pairs), np.inf)
    for at in range(0, len(places), _AT_ONCE):
        some = places[at : at + _AT_ONCE]
        scores = np.asarray(score([(pairs[n].text_a, pairs[n].text_b) for n in some]), np.float64)
        if scores.shape != (len(some),):
            raise CalibrationError("The verifier gave scores that make no sense.")
        valid = (scores >= 0.0) & (scores <= 1.0)
        lacking[some] = np.where(valid, np.sqrt(1.0 - np.where(valid, scores, 0.0)), np.inf)
    return lacking


def _calibrate(
    pairs: Sequence[Pair],
    far: NDArray[np.float64],
    target: float,
    confidence: float,
    reach: float | None,
) -> Calibration:
    """``reach``: within what distance ``far`` tells of scores; None: it is the distance."""
    scale = len(pairs) / sum(pair.weight for pair in pairs) if pairs else 1.0
    buckets = round((CEILING if reach is None else 1.0) / _WIDTH)
    parts = [Histogram(width=_WIDTH, buckets=buckets) for _ in range(2)]
    for pair, distance, first in zip(pairs, far.tolist(), halves(pairs, _START_SHARE), strict=True):
        parts[not first].add(distance, pair.right, pair.weight * scale)
    start = clearest(parts[0], target)
    made = promise(parts[1], target=target, confidence=confidence, starts=(start,))
    whole = parts[0] + parts[1]
    right = sum(pair.weight for pair in pairs if pair.right) * scale
    curve = tuple(_points(whole, right, confidence))
    reached = [point.recall for point in curve if point.distance == made.max_distance]
    found = Calibration(
        max_distance=made.max_distance,
        target=target,
        confidence=confidence,
        precision=made.precision,
        precision_low=made.precision_low,
        recall=reached[0] if reached else 0.0,
        pairs=len(pairs),
        promised_on=made.samples,
        curve=curve,
    )
    if reach is None:
        return found
    curve = tuple(replace(one, distance=reach, score=_score(one.distance)) for one in curve)
    if made.max_distance is None:
        return replace(found, curve=curve)
    return replace(found, curve=curve, max_distance=reach, min_score=_score(made.max_distance))


def _score(lacking: float) -> float:
    return round(1.0 - lacking * lacking, 9)


def clearest(histogram: Histogram, target: float) -> float:
    """The edge at which the precision exceeds the target by most standard errors."""

    def clarity(counts: Counts) -> float:
        smoothed = (counts.right + target) / (counts.total + 1.0)
        return (smoothed - target) * math.sqrt(counts.total)

    found = [clarity(counts) for counts in histogram.cumulated()]
    return histogram.edges()[max(range(len(found)), key=lambda place: found[place])]


def _points(histogram: Histogram, right: float, confidence: float) -> list[Point]:
    reached = np.cumsum(histogram.right)
    return [
        Point(
            edge,
            round(counts.total, 3),
            counts.precision,
            exact_low(counts.right, counts.wrong, confidence) if counts.total else 0.0,
            float(reached[place]) / right if right else 0.0,
        )
        for place, (edge, counts) in enumerate(
            zip(histogram.edges(), histogram.cumulated(), strict=True)
        )
    ]
