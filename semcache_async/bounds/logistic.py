"""A logistic curve of correctness against distance: two parameters, fitted with their uncertainty.

Few samples, or samples that a line separates, have no finite maximum-likelihood fit, so the fit
starts from two mild beliefs, each worth one sample: at distance 0 an answer is right, at
``WRONG_AT`` it is wrong, both in ``SURE`` of all cases.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["SURE", "WRONG_AT", "Curve", "Row", "fit"]

WRONG_AT = 0.6
"""A distance at which nobody would expect the right answer (unrelated texts lie at .8 to 1.1)."""

SURE = 0.98

_STEPS, _CLOSE, _RIDGE = 60, 1e-9, 1e-6
_STEEPEST = 400.0
"""Nats per unit of distance; steeper curves are steps, which a float cannot tell apart."""


class Row(NamedTuple):
    """Samples at one distance."""

    distance: float
    right: float
    wrong: float


class Curve(NamedTuple):
    """``P(right) = 1 / (1 + exp(fall * distance - start))``, with the covariance of both."""

    start: float
    fall: float
    var_start: float
    var_fall: float
    covar: float

    def right(self, distance: float) -> float:
        """The estimated probability that an answer at ``distance`` is right."""
        return sigmoid(self.start - self.fall * distance)

    def spread(self, distance: float) -> float:
        """The standard error of ``start - fall * distance``."""
        variance = self.var_start - 2.0 * distance * self.covar + distance**2 * self.var_fall
        return math.sqrt(max(0.0, variance))

    def reach(self, target: float, limit: float, step: float = 0.002) -> float:
        """The largest multiple of ``step`` up to ``limit`` at which the estimated precision of
        everything at or below it, evenly spread, is at least ``target``; 0 where none is."""
        total, found = 0.0, 0.0
        for n in range(1, round(limit / step) + 1):
            total += self.right((n - 0.5) * step)
            if total / n >= target:
                found = n * step
        return round(found, 9)


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)) for any finite x."""
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    grown = math.exp(x)
    return grown / (1.0 + grown)


def fit(rows: Iterable[Row]) -> Curve:
    """The curve that makes the samples, and the two beliefs, most probable. It never rises."""
    known = [Row(0.0, SURE, 1.0 - SURE), Row(WRONG_AT, 1.0 - SURE, SURE), *rows]
    start, fall = _climb(known, 2.0, 10.0, level=False)
    if fall < 0.0:
        start, fall = _climb(known, 2.0, 0.0, level=True)
    aa, bb, ab = _information(known, start, fall)
    scale = aa * bb - ab * ab
    return Curve(start, fall, bb / scale, aa / scale, -ab / scale)


def _climb(rows: list[Row], start: float, fall: float, *, level: bool) -> tuple[float, float]:
    """Newton's steps uphill, halved where they would lead down."""
    height = _height(rows, start, fall)
    for _ in range(_STEPS):
        up = down = 0.0
        for distance, right, wrong in rows:
            p = sigmoid(start - fall * distance)
            slope = right * (1.0 - p) - wrong * p
            up += slope
            down -= slope * distance
        aa, bb, ab = _information(rows, start, fall)
        if level:
            move, turn = up / aa, 0.0
        else:
            scale = aa * bb - ab * ab
            move, turn = (bb * up - ab * down) / scale, (aa * down - ab * up) / scale
        pace = 1.0
        while pace > 1e-6:
            at, to = start + pace * move, min(_STEEPEST, fall + pace * turn)
            reached = _height(rows, at, to)
            if reached >= height:
                break
            pace /= 2.0
        else:
            break
        gained, height, start, fall = reached - height, reached, at, to
        if gained < _CLOSE:
            break
    return start, fall


def _height(rows: list[Row], start: float, fall: float) -> float:
    """The log-likelihood."""
    total = 0.0
    for distance, right, wrong in rows:
        x = start - fall * distance
        total -= right * _softplus(-x) + wrong * _softplus(x)
    return total


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _information(rows: list[Row], start: float, fall: float) -> tuple[float, float, float]:
    """Fisher's information of start and fall, and between both."""
    aa = bb = _RIDGE
    ab = 0.0
    for distance, right, wrong in rows:
        p = sigmoid(start - fall * distance)
        weight = (right + wrong) * p * (1.0 - p)
        aa += weight
        ab -= weight * distance
        bb += weight * distance * distance
    return aa, bb, ab
