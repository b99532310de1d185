"""Evidence in buckets."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semcache_async.bounds.histogram import BUCKETS, PERIOD_S, WIDTH, Histogram, Sample, periods

samples = st.lists(
    st.builds(Sample, st.floats(0, 0.3), st.booleans(), st.sampled_from([1.0, 0.5, 3.0])),
    max_size=60,
)


@settings(deadline=None)
@given(samples, st.integers(0, BUCKETS - 1))
def test_counts_at_an_edge_are_those_at_or_below_it(found: list[Sample], place: int) -> None:
    histogram = Histogram.of(found)
    edge = histogram.edges()[place]
    within = [s for s in found if s.distance <= edge + 1e-9]
    assert sum(histogram.right[: place + 1]) == sum(s.weight for s in within if s.right)
    assert sum(histogram.wrong[: place + 1]) == sum(s.weight for s in within if not s.right)


@settings(deadline=None)
@given(samples)
def test_a_hash_in_redis_carries_it(found: list[Sample]) -> None:
    histogram = Histogram.of(found)
    again = Histogram.of_fields(histogram.fields())
    assert (again.right, again.wrong, again.squares) == (
        histogram.right,
        histogram.wrong,
        histogram.squares,
    )


def test_foreign_fields_are_passed_over() -> None:
    fields = {"r0": 2.0, "w999": 1.0, "x1": 1.0, "r": 1.0, "w1": math.nan, "r2": -1.0, "r²": 1.0}
    histogram = Histogram.of_fields(fields)
    assert histogram.fields() == {"r0": 2.0}


@pytest.mark.parametrize(
    ("distance", "weight"),
    [(math.nan, 1.0), (0.301, 1.0), (-0.1, 1.0), (0.1, 0.0), (0.1, math.inf), (0.1, math.nan)],
)
def test_what_is_no_sample_is_not_counted(distance: float, weight: float) -> None:
    histogram = Histogram()
    assert not histogram.add(distance, True, weight)
    assert histogram.fields() == {}


def test_edges() -> None:
    histogram = Histogram()
    assert histogram.bucket(0.0) == histogram.bucket(WIDTH) == histogram.bucket(-1e-7) == 0
    assert histogram.bucket(WIDTH + 1e-5) == 1
    assert histogram.bucket(WIDTH * BUCKETS) == BUCKETS - 1
    assert histogram.edges()[-1] == pytest.approx(0.3)


def test_unequal_weights_say_less_and_faded_ones_too() -> None:
    equal = Histogram.of(Sample(0.1, True) for _ in range(100))
    uneven = Histogram.of([Sample(0.1, True)] * 50 + [Sample(0.1, True, 50.0)])
    assert equal.total == 100.0
    assert uneven.total < 10.0
    assert equal.faded(0.5).total == 50.0
    assert (equal + equal).total == 200.0
    with pytest.raises(ValueError, match="other buckets"):
        equal + Histogram(buckets=3)


def test_evidence_fades_by_half_each_period_and_without_a_step() -> None:
    start = 700 * PERIOD_S
    for at in (start, start + 0.25 * PERIOD_S, start + 0.999 * PERIOD_S):
        (now, one), (before, two), (_, three), (oldest, _) = periods(at)
        assert (now, before, oldest) == (700, 699, 697)
        assert one == 1.0
        assert two == pytest.approx(0.5 ** (at / PERIOD_S - 700))
        assert three == pytest.approx(two / 2.0)
    after = dict(periods(start + PERIOD_S))
    for number, weight in periods(start + PERIOD_S * (1.0 - 1e-9))[:-1]:
        assert after[number] == pytest.approx(weight)


def test_a_clock_that_jumped_leaves_nothing_behind_that_is_heavier() -> None:
    far = {number for number, _ in periods(10_000 * PERIOD_S)}
    back = dict(periods(700 * PERIOD_S))
    assert far.isdisjoint(back)
    assert max(back.values()) == 1.0
