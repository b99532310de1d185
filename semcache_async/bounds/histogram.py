"""Evidence by distance: how many right and wrong samples lie in each bucket.

What processes share through Redis is three numbers a bucket, which only ever grow by increments, so
no process has to read before it writes. Evidence is kept by period and fades as periods pass
(``periods``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import NamedTuple

__all__ = ["BUCKETS", "WIDTH", "Counts", "PERIODS", "PERIOD_S", "Histogram", "Sample", "periods"]

WIDTH, BUCKETS = 0.002, 150
"""Bucket ``i`` holds the distances in (.002 i, .002 (i + 1)], the first one 0 too: up to .3."""

_MOST = 1e12
"""More samples than that are a mistake."""
PERIOD_S, PERIODS = 14 * 86_400.0, 4
"""Evidence is kept by periods of so many seconds, and so many of them are read."""


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
            if int(place) < len(part) and 0.0 < value <= _MOST:
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


def periods(at: float) -> list[tuple[int, float]]:
    """The periods that count at a time (Unix seconds), the latest first, and what a sample of each
    counts: 1 in the one under way, then half as much for each further one, without a step where one
    begins. A clock that jumps reaches other periods, and back again: none of them is heavier for
    it."""
    under_way, passed = divmod(at / PERIOD_S, 1.0)
    ages = [max(0.0, back - 1.0 + passed) if back else 0.0 for back in range(PERIODS)]
    return [(int(under_way) - back, 2.0**-age) for back, age in enumerate(ages)]
