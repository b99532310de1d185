"""Promises: what they rest on, and how often they fail."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semcache_async.bounds.histogram import Histogram, Sample
from semcache_async.bounds.precision import STARTS, Promise, needed, promise

EDGES = np.arange(1, 126) * 0.002
NEAR = EDGES - 0.001


def promise_of(samples: list[Sample], *, target: float) -> Promise:
    return promise(Histogram.of(samples), target=target)


def drawn(
    random: np.random.Generator, shares: np.ndarray, precision: np.ndarray, count: int
) -> Histogram:
    """So many samples of a curve."""
    total = random.multinomial(count, shares)
    wrong = random.binomial(total, 1.0 - precision)
    made = Histogram(buckets=len(EDGES))
    made.right = (total - wrong).astype(float).tolist()
    made.wrong = wrong.astype(float).tolist()
    made.squares = total.astype(float).tolist()
    return made


def curves(target: float) -> dict[str, np.ndarray]:
    bad = 1.0 - target
    return {
        "flat, a hair below": np.full(125, target - 1e-9),
        "falling": np.clip(1.0 - bad * NEAR / 0.06, 0.0, 1.0),
        "logistic": 1.0 / (1.0 + np.exp((NEAR - 0.16) / 0.015)),
        "a step": np.where(NEAR < 0.1, 1.0 - 0.3 * bad, 0.8),
        "traps near": np.where(NEAR < 0.04, 1.0 - 4.0 * bad, 1.0 - 0.9 * bad),
    }


@pytest.mark.parametrize("target", [0.98, 0.9])
@pytest.mark.parametrize("name", list(curves(0.9)))
def test_the_promise_fails_no_more_often_than_stated(target: float, name: str) -> None:
    """120 draws of each size: at 5 %, 6 are expected to fail at most; 12 would be 1 in 70."""
    random = np.random.default_rng(5)
    shares = NEAR**1.5 / np.sum(NEAR**1.5)
    precision = curves(target)[name]
    true = np.cumsum(precision * shares) / np.cumsum(shares)
    for count in (400, 4_000):
        failed = 0
        for _ in range(120):
            made = promise(drawn(random, shares, precision, count), target=target).max_distance
            failed += made is not None and true[round(made / 0.002) - 1] < target
        assert failed <= 12, (name, count, failed)


def test_without_care_it_fails_far_more_often() -> None:
    """The search over distances is what ``careful`` allows for."""
    random = np.random.default_rng(5)
    shares = NEAR**1.5 / np.sum(NEAR**1.5)
    precision = curves(0.9)["flat, a hair below"]
    failed = sum(
        promise(drawn(random, shares, precision, 4_000), target=0.9, careful=False).max_distance
        is not None
        for _ in range(100)
    )
    assert 18 <= failed <= 50


def test_it_explains_itself() -> None:
    near = [Sample(0.118, n % 64 != 0) for n in range(431)]
    made = promise_of(near, target=0.96)
    assert made.explain() == ("0.118, from 431 samples, precision .984, at least .967 with 95 %")
    nothing = promise_of(near, target=0.99)
    assert nothing.max_distance is None
    assert nothing.explain() == (
        "no distance: 431 samples (precision .984) do not support .990 with 95 %"
    )


def test_no_samples_no_promise() -> None:
    made = promise(Histogram(), target=0.98)
    assert (made.max_distance, made.samples, made.precision_low) == (None, 0.0, 0.0)


def test_what_is_needed_is_enough() -> None:
    for target in (0.9, 0.95, 0.98):
        count = needed(target)
        enough = [Sample(STARTS[0], True)] * count
        assert promise_of(enough, target=target).max_distance is not None
        assert promise_of(enough[: count // 2], target=target).max_distance is None
    with pytest.raises(ValueError, match="between 0 and 1"):
        promise(Histogram(), target=1.0)


many = st.lists(
    st.tuples(st.floats(0.0, 0.25), st.booleans(), st.integers(1, 400)), min_size=1, max_size=12
)


def spread(groups: list[tuple[float, bool, int]]) -> Histogram:
    histogram = Histogram()
    for distance, right, count in groups:
        for _ in range(count if right else count // 40 + 1):
            histogram.add(distance, right)
    return histogram


@settings(max_examples=60, deadline=None)
@given(many, st.floats(0.0, 0.25), st.booleans())
def test_a_wrong_sample_never_widens_it_and_higher_aims_neither(
    groups: list[tuple[float, bool, int]], distance: float, careful: bool
) -> None:
    histogram = spread(groups)
    before = promise(histogram, target=0.9, careful=careful)
    assert before.precision_low <= before.precision
    if before.max_distance is not None:
        assert before.precision_low >= 0.9
    reach = before.max_distance or 0.0
    assert (promise(histogram, target=0.95, careful=careful).max_distance or 0.0) <= reach
    stricter = promise(histogram, target=0.9, confidence=0.99, careful=careful)
    assert (stricter.max_distance or 0.0) <= reach
    histogram.add(distance, False)
    assert (promise(histogram, target=0.9, careful=careful).max_distance or 0.0) <= reach
