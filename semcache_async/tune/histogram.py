"""Evidence by distance: how many right and wrong samples lie in each bucket.

What processes share through Redis is three numbers a bucket, which only ever grow by increments, so
no process has to read before it writes. Fading is done forwards: a newer sample counts for more
(``growth``), and whoever reads divides by what a sample of now would count (``faded``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

__all__ = ["BUCKETS", "WIDTH", "Counts", "Histogram", "Sample", "growth", "pool"]

WIDTH, BUCKETS = 0.002, 128
"""Bucket ``i`` holds the distances in (.002 i, .002 (i + 1)], the first one 0 too: up to .256."""

_ERA = 256
"""Half-lives after which ``growth`` starts again from 1: far below what overflows."""


class Sample(NamedTuple):
    """One judged pair: would the neighbour's answer have been right?"""

    distance: float
    right: bool
    weight: float = 1.0


class Counts(NamedTuple):
    """Samples at or below some distance, as a number of equal ones."""

    right: float
    wrong: float

    @property
    def total(self) -> float:
        return self.right + self.wrong

    @property
    def precision(self) -> float:
        """The share of right ones; 0 without samples."""
        return self.right / self.total if self.total else 0.0


class Histogram:
    """Right and wrong by distance. Samples beyond the last edge are not kept."""

    __slots__ = ("right", "squares", "width", "wrong")

    def __init__(self, *, width: float = WIDTH, buckets: int = BUCKETS) -> None:
        self.width = width
        self.right = [0.0] * buckets
        self.wrong = [0.0] * buckets
        self.squares = [0.0] * buckets
        """Sums of squared weights: unequal weights say less than their sum."""

    @classmethod
    def of(
        cls, samples: Iterable[Sample], *, width: float = WIDTH, buckets: int = BUCKETS
    ) -> Histogram:
        """The samples' histogram."""
        made = cls(width=width, buckets=buckets)
        for sample in samples:
            made.add(*sample)
        return made

    @classmethod
    def of_fields(cls, fields: Mapping[str, float]) -> Histogram:
        """What ``fields`` gave; unknown names and numbers that make no sense are passed over."""
        made = cls()
        parts = {"r": made.right, "w": made.wrong, "s": made.squares}
        for name, value in fields.items():
            part, place = parts.get(name[:1]), name[1:]
            if part is None or not (place.isascii() and place.isdigit()):
                continue
            if int(place) < len(part) and math.isfinite(value) and value > 0.0:
                part[int(place)] = value
        return made

    def bucket(self, distance: float) -> int | None:
        """Which bucket a distance falls into; None beyond the last edge and for what is none."""
        if not -1e-3 <= distance <= self.width * len(self.right) + 1e-9:
            return None
        return max(0, math.ceil(distance / self.width - 1e-6) - 1)

    def add(self, distance: float, right: bool, weight: float = 1.0) -> bool:
        """Count one sample; False where it is beyond the last edge, or its weight is no finite
        number over 0."""
        place = self.bucket(distance)
        if place is None or not (0.0 < weight < math.inf):
            return False
        (self.right if right else self.wrong)[place] += weight
        self.squares[place] += weight * weight
        return True

    def fields(self) -> dict[str, float]:
        """What is not 0, by names such as ``r12``: a Redis hash, or increments of one."""
        parts = (("r", self.right), ("w", self.wrong), ("s", self.squares))
        return {f"{name}{i}": v for name, part in parts for i, v in enumerate(part) if v}

    def edges(self) -> list[float]:
        """The upper edge of each bucket: the distances that promises are made for."""
        return [round(self.width * (i + 1), 9) for i in range(len(self.right))]

    def cumulated(self) -> list[Counts]:
        """What is at or below each edge. Kish's effective number where weights differ, and never
        more than the sum of weights, so that faded evidence is weaker evidence."""
        found = []
        for right, wrong, squares in zip(
            accumulate(self.right), accumulate(self.wrong), accumulate(self.squares), strict=True
        ):
            total = right + wrong
            factor = min(1.0, total / squares) if squares > 0.0 else 1.0
            found.append(Counts(right * factor, wrong * factor))
        return found

    @property
    def total(self) -> float:
        """The effective number of samples."""
        return self.cumulated()[-1].total

    def faded(self, factor: float) -> Histogram:
        """Every weight times ``factor``."""
        made = Histogram(width=self.width, buckets=len(self.right))
        made.right = [value * factor for value in self.right]
        made.wrong = [value * factor for value in self.wrong]
        made.squares = [value * factor * factor for value in self.squares]
        return made

    def __add__(self, other: Histogram) -> Histogram:
        """Both together; they must have the same buckets."""
        if (self.width, len(self.right)) != (other.width, len(other.right)):
            raise ValueError("histograms of other buckets cannot be added")
        made = Histogram(width=self.width, buckets=len(self.right))
        made.right = [a + b for a, b in zip(self.right, other.right, strict=True)]
        made.wrong = [a + b for a, b in zip(self.wrong, other.wrong, strict=True)]
        made.squares = [a + b for a, b in zip(self.squares, other.squares, strict=True)]
        return made

    def __repr__(self) -> str:
        return f"<Histogram {self.total:.0f} samples, {sum(self.wrong):.0f} wrong>"


def pool(scopes: Sequence[Histogram]) -> Histogram:
    """Like scopes as one. None weighs more than all others together: one that floods evidence
    moves itself alone."""
    if not scopes:
        return Histogram()
    totals = [scope.total for scope in scopes]
    cap = sum(totals) - max(totals) if len(scopes) > 1 else totals[0]
    pooled = Histogram(width=scopes[0].width, buckets=len(scopes[0].right))
    for scope, total in zip(scopes, totals, strict=True):
        pooled += scope.faded(cap / total) if total > cap else scope
    return pooled


def growth(at: float, half_life_s: float) -> tuple[int, float]:
    """The era of a time and what a sample of that time weighs in it: twice as much each half-life.

    Evidence is kept by era. Read the last two: of ``now``'s ``(era, weight)``, the own era's sums
    fade by ``1 / weight``, those of the era before by ``1 / (weight * 2 ** 256)``, which is nothing
    unless the era is young. A clock that jumps back makes a sample older, never heavier.
    """
    lives = at / half_life_s
    era = math.floor(lives / _ERA)
    return era, 2.0 ** (lives - era * _ERA)
