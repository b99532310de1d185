"""Bounds of shares against published numbers and brute force."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semcache_async.bounds.intervals import beta_below, chance, exact_low, wilson


def tail(right: int, total: int, share: float) -> float:
    return sum(
        comb(total, n) * share**n * (1 - share) ** (total - n) for n in range(right, total + 1)
    )


def test_wilson_as_newcombe_prints_it() -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    for right, total, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(right, total) == pytest.approx((low, high), abs=5e-5)


def test_exact_bounds_as_tables_print_them() -> None:
    """Clopper and Pearson: all right is alpha ** (1 / n); 8 of 10 are 44.4 % with 97.5 %."""
    assert exact_low(10, 0, 0.95) == pytest.approx(0.05**0.1)
    assert exact_low(8, 2, 0.975) == pytest.approx(0.4439, abs=5e-5)
    assert exact_low(0, 5) == 0.0
    assert exact_low(0.0, 0.0) == 0.0


def test_wilson_is_too_sure_near_one() -> None:
    """Why promises are not made with it."""
    assert wilson(133, 133, 0.9)[0] > 0.98
    assert 0.98**133 > 0.065
    assert exact_low(133, 0, 0.95) < 0.98


def test_incomplete_beta() -> None:
    assert beta_below(0.5, 2.0, 2.0) == pytest.approx(0.5)
    assert beta_below(0.3, 1.0, 1.0) == pytest.approx(0.3)
    assert beta_below(0.2, 2.0, 1.0) == pytest.approx(0.04)
    assert (beta_below(-1.0, 2.0, 2.0), beta_below(2.0, 2.0, 2.0)) == (0.0, 1.0)


def test_a_million_samples() -> None:
    assert chance(981_000, 19_000, 0.98) < 1e-10
    assert chance(979_000, 21_000, 0.98) > 1 - 1e-10
    assert exact_low(980_000, 20_000) == pytest.approx(0.97977, abs=2e-5)


@settings(deadline=None)
@given(st.integers(1, 300), st.data(), st.floats(0.01, 0.99))
def test_the_tail_is_the_binomial_one(total: int, data: st.DataObject, share: float) -> None:
    right = data.draw(st.integers(0, total))
    expected = tail(right, total, share)
    assert chance(right, total - right, share) == pytest.approx(expected, abs=1e-11)


@settings(deadline=None)
@given(st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0.5, 0.999))
def test_bounds_lie_below_the_share(right: float, wrong: float, confidence: float) -> None:
    total = right + wrong
    one_sided, _ = wilson(right, total, 2.0 * confidence - 1.0)
    for low in (exact_low(right, wrong, confidence), one_sided):
        assert 0.0 <= low <= (right / total if total else 0.0) + 1e-9
