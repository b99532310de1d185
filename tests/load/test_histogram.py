"""Against ``hdrh`` itself and against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from semcache_async.load import extra
from semcache_async.load.extra import LoadError
from semcache_async.load.measured.histogram import HIGHEST_S, Histogram

TIMES = st.lists(st.floats(0.0, 700.0), min_size=1, max_size=200)


@settings(max_examples=30, deadline=None)
@given(TIMES)
def test_it_records_as_hdrh_does(seconds: list[float]) -> None:
    reference = HdrHistogram(1, 600_000_000, 3)
    for one in seconds:
        reference.record_value(int(np.clip(one * 1e6, 1, HIGHEST_S * 1e6)))
    ours = Histogram(seconds)
    assert ours.encode() == reference.encode().decode()
    wanted = [0.0001, 50.0, 90.0, 99.0, 100.0]
    assert ours.percentiles(wanted) == [reference.get_value_at_percentile(q) / 1e6 for q in wanted]
    assert len(ours) == len(seconds)


@settings(max_examples=20, deadline=None)
@given(TIMES, TIMES)
def test_merged_histograms_equal_one(some: list[float], others: list[float]) -> None:
    one = Histogram(some + others)
    merged = Histogram.merged([Histogram(some).encode(), Histogram(others).encode()])
    added = Histogram(some)
    added.add(Histogram(others))
    assert merged.encode() == added.encode() == one.encode()
    assert Histogram.decode(one.encode()).max == one.max


def test_three_digits_over_nine_decades() -> None:
    random = np.random.default_rng(0)
    seconds = 10 ** random.uniform(-5.5, 2.7, 20_000)
    times = Histogram()
    for one in seconds.tolist():
        times.record(one)
    wanted = [1.0, 50.0, 99.0, 99.9]
    exact = np.percentile(seconds, wanted, method="inverted_cdf")
    assert times.percentiles(wanted) == pytest.approx(exact.tolist(), rel=2e-3, abs=1.5e-6)


def test_nothing_recorded() -> None:
    times = Histogram()
    assert (len(times), times.percentile(50.0), times.max) == (0, None, 0.0)
    assert len(Histogram.decode(times.encode())) == 0


def test_a_missing_package_is_one_sentence_with_the_extra() -> None:
    with pytest.raises(LoadError, match=r"^Load reports need no_such.*'semcache-async\[load\]'\.$"):
        extra.need("no_such.module")
