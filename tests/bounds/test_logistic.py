"""Curves, and one entry's rule."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semcache_async.bounds.histogram import Sample
from semcache_async.bounds.logistic import WRONG_AT, Curve, Row, fit, sigmoid
from semcache_async.bounds.per_entry import (
    FEWEST,
    MARGIN,
    explore_chance,
    learn,
    reach_after,
    serves,
)
from tests.helpers import calls


def likelihood(rows: list[Row], start: float, fall: float) -> float:
    known = [Row(0.0, 0.98, 0.02), Row(WRONG_AT, 0.02, 0.98), *rows]
    return sum(
        right * math.log(sigmoid(start - fall * d)) + wrong * math.log(sigmoid(fall * d - start))
        for d, right, wrong in known
    )


def test_the_fit_is_the_most_probable_curve() -> None:
    rows = [Row(0.05, 40, 2), Row(0.1, 35, 9), Row(0.2, 10, 30)]
    found = fit(rows)
    best = likelihood(rows, found.start, found.fall)
    for start, fall in ((0.05, 0.0), (-0.05, 0.0), (0.0, 0.5), (0.0, -0.5)):
        assert likelihood(rows, found.start + start, found.fall + fall) < best


def test_the_fit_finds_the_curve_that_samples_came_from() -> None:
    draw = random.Random(3)
    counts: dict[float, list[float]] = {}
    for _ in range(4_000):
        distance = round(draw.random() * 0.3, 2)
        right = draw.random() < sigmoid(5.0 - 30.0 * distance)
        counts.setdefault(distance, [0.0, 0.0])[not right] += 1
    found = fit(Row(d, right, wrong) for d, (right, wrong) in counts.items())
    assert found.start == pytest.approx(5.0, abs=4 * math.sqrt(found.var_start))
    assert found.fall == pytest.approx(30.0, abs=4 * math.sqrt(found.var_fall))
    assert found.spread(0.15) < 0.1


rows = st.lists(
    st.builds(Row, st.floats(0, 0.3), st.floats(0, 200), st.floats(0, 200)), max_size=12
)


@settings(deadline=None)
@given(rows)
def test_any_samples_have_a_falling_curve(found: list[Row]) -> None:
    curve = fit(found)
    assert all(map(math.isfinite, curve))
    assert curve.fall >= 0.0
    assert curve.var_start >= 0.0
    assert curve.var_fall >= 0.0
    assert 0.0 <= curve.right(0.1) <= curve.right(0.05) <= 1.0
    assert 0.0 <= curve.reach(0.9, 0.25) <= 0.25 + 1e-9


def test_few_verdicts_explore() -> None:
    few = [Sample(0.05, True)] * (FEWEST - 1)
    assert learn(few) is None
    assert explore_chance(None, 0.0, 0.05) == 1.0
    assert not serves(None, 0.0, 0.05, 0.999)


def test_the_rule_bounds_wrong_answers_among_all_requests() -> None:
    """Entries of many kinds, 60 requests each: at most the stated share gets a wrong answer."""
    draw = random.Random(11)
    for allowed in (0.02, 0.1):
        wrong = served = asked = 0
        for entry in range(30):
            middle, width = ((0.2, 0.02), (0.12, 0.03), (0.05, 0.01))[entry % 3]
            verdicts: list[Sample] = []
            curve = None
            for _ in range(60):
                distance = 0.25 * draw.random() ** 0.7
                right = draw.random() < sigmoid((middle - distance) / width)
                asked += 1
                if serves(curve, distance, allowed, draw.random()):
                    served += 1
                    wrong += not right
                else:
                    verdicts.append(Sample(distance, right))
                    curve = learn(verdicts)
        assert wrong / asked <= allowed
        assert served > 0


@given(
    st.floats(-5, 20), st.floats(0, 100), st.floats(0, 0.3), st.floats(0.001, 0.5), st.floats(0, 1)
)
def test_exploring_is_a_probability(
    start: float, fall: float, distance: float, allowed: float, var: float
) -> None:
    curve = Curve(start, fall, var, var, 0.0)
    chance = explore_chance(curve, distance, allowed)
    assert 0.0 <= chance <= 1.0
    assert explore_chance(curve, distance, allowed / 2) >= chance
    vaguer = curve._replace(var_start=var + 1.0)
    assert explore_chance(vaguer, distance, allowed) >= chance - 1e-12 or chance > 0.9


def test_few_verdicts_teach_nothing() -> None:
    assert learn([Sample(0.05, True)]) is None


def test_a_wrong_verdict_shrinks_an_entry_at_once() -> None:
    verdicts = [Sample(0.12, True), Sample(0.09, False), Sample(0.2, False)]
    assert reach_after(verdicts) == pytest.approx(0.09 - MARGIN)
    assert reach_after(verdicts, 0.05) == 0.05
    assert reach_after([]) == math.inf
    assert reach_after([Sample(0.0, False)]) < 0.0


def test_a_decision_is_cheap() -> None:
    """Counted in calls rather than in seconds: no fit, ten sigmoids at most."""
    curve = Curve(8.0, 40.0, 0.1, 0.1, 0.0)
    assert calls(lambda: serves(curve, 0.1, 0.02, 0.5)) < 60
