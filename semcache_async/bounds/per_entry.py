"""One entry's own reach: the mode ``verified``, and what a wrong verdict does at once.

The rule is vCache's (arXiv 2502.03771). From an entry's few verdicts a logistic curve of
correctness against distance is fitted with its uncertainty. A request is then explored (the LLM is
asked, and the answer becomes a verdict) with the probability that keeps the chance of a wrong
answer at ``max_wrong``, and served otherwise.

Holds: of *all requests that this entry is nearest to*, explored ones included, at most
``max_wrong`` get a wrong answer. That is no bound on the share of wrong ones among the hits.
Assumes: verdicts are right, independent and made under the same conditions as the request, and
correctness falls with distance as a logistic curve does, whose fit is as uncertain as its
information says (which few samples only approximate).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import NormalDist

from semcache_async.bounds.histogram import Sample
from semcache_async.bounds.logistic import Curve, Row, fit, sigmoid

__all__ = ["FEWEST", "MARGIN", "explore_chance", "learn", "reach_after", "serves"]

FEWEST = 6
"""Verdicts below which everything is explored, as in the paper."""
MARGIN = 1e-3
"""A wrong verdict's distance less this is what an entry still reaches: more than the rounding of
any stored vector."""

_DOUBTS = tuple(
    (1.0 - doubt, NormalDist().inv_cdf(1.0 - doubt))
    for doubt in (3e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.04, 0.08, 0.15, 0.25)
)
"""Chances that the fit is farther off than its spread allows for, and how many spreads that is."""


def learn(samples: Sequence[Sample]) -> Curve | None:
    """The curve of one entry, to be kept with it; None with too few verdicts."""
    if len(samples) < FEWEST:
        return None
    return fit(Row(s.distance, s.weight * s.right, s.weight * (not s.right)) for s in samples)


def explore_chance(curve: Curve | None, distance: float, max_wrong: float) -> float:
    """The probability with which a request at ``distance`` must ask the LLM."""
    if curve is None:
        return 1.0
    middle, spread = curve.start - curve.fall * distance, curve.spread(distance)
    surest = max(sure * sigmoid(middle - z * spread) for sure, z in _DOUBTS)
    wrong = 1.0 - surest
    return 0.0 if wrong <= max_wrong else 1.0 - max_wrong / wrong


def serves(curve: Curve | None, distance: float, max_wrong: float, draw: float) -> bool:
    """May the entry's answer be served? ``draw``: a fresh uniform number in 0..1."""
    return draw >= explore_chance(curve, distance, max_wrong)


def reach_after(samples: Iterable[Sample], reach: float = math.inf) -> float:
    """An entry's reach after verdicts: below the nearest wrong one. Negative where the entry is to
    be served for its own wording alone."""
    return min([reach, *(sample.distance - MARGIN for sample in samples if not sample.right)])
