"""When requests come: from a trace, or from a process as bursty as one (pure, seeded)."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semcache_async.load.extra import LoadError

__all__ = ["Times", "from_trace", "read_trace", "synthetic"]

_NATIVE_RATE = 5.53
"""Requests a second of the trace that the process was fitted to."""
_SLOW_VARIANCE, _SLOW_S = 0.052, 150.0
_FAST_VARIANCE = 0.017
"""Relative variance of the rate: a part that drifts over ``_SLOW_S``, one new each second."""


class Times(NamedTuple):
    """Seconds after the start, in order, and where they come from."""

    at_s: NDArray[np.float64]
    about: str


def read_trace(path: Path) -> NDArray[np.float64]:
    """The ``timestamp`` column (seconds) of a CSV file, gzipped or not, in order of time; raises
    ``LoadError`` where there is none."""
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
        times = [float(row["timestamp"]) for row in csv.DictReader(io.StringIO(text))]
    except KeyError:
        raise LoadError(f"{path} has no column named timestamp.") from None
    except (OSError, EOFError, ValueError) as error:
        raise LoadError(f"{path} cannot be read as a trace: {error}") from error
    if len(times) < 2 or max(times) <= min(times):
        raise LoadError(f"{path} holds no two arrivals at different times.")
    return np.sort(np.array(times)) - min(times)


def from_trace(path: Path, *, rate: float, seconds: float, seed: int) -> Times:
    """As many arrivals as ``rate`` brings in ``seconds``: a stretch of the trace from a place that
    ``seed`` picks, its gaps scaled to fit. It starts over where the trace ends."""
    times = read_trace(path)
    count = _count(rate, seconds)
    gaps = np.diff(times)
    start = int(np.random.default_rng(seed).integers(len(gaps)))
    stretch = np.cumsum(np.take(gaps, np.arange(start, start + count), mode="wrap"))
    native = count / stretch[-1] if stretch[-1] > 0 else rate
    about = (
        f"{path.name} ({len(times):,} arrivals; {count:,} of them from number {start + 1:,}, "
        f"in time {rate / native:.3g}x as fast)"
    )
    return Times(_fitted(stretch, seconds), about)


def synthetic(*, rate: float, seconds: float, seed: int) -> Times:
    """As many arrivals as ``rate`` brings in ``seconds``, as bursty as the Azure conversation
    trace of 2023, scaled in time as a stretch of that would be."""
    times = _native(_count(rate, seconds), np.random.default_rng(seed))
    about = (
        "a seeded Cox process fitted to the Azure LLM trace of 2023 (conversations: CV of gaps "
        f"1.1, variance/mean of counts 1.4, 3.9 and 16 in 1, 10 and 60 s; seed {seed}; in time "
        f"{rate / _NATIVE_RATE:.3g}x as fast)"
    )
    return Times(_fitted(times, seconds), about)


def _count(rate: float, seconds: float) -> int:
    return max(1, round(rate * seconds))


def _fitted(times: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
    """The last one due just before the end."""
    end = seconds * len(times) / (len(times) + 1)
    return times * (end / times[-1]) if times[-1] > 0 else times


def _native(count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Arrivals of a Poisson process whose rate itself varies, at the trace's own mean rate: unit
    exponential gaps, run through the inverse of the rate's integral."""
    due = np.cumsum(random.exponential(size=count))
    total, integral = 0.0, [0.0]
    rates = _rates(random)
    while total < due[-1]:
        total += next(rates)
        integral.append(total)
    return np.interp(due, integral, np.arange(len(integral)))


def _rates(random: np.random.Generator) -> Iterator[float]:
    """Rate in each second: a gamma AR(1) (Lewis, McKenzie and Hugus 1989) times gamma noise."""
    shape, keep = 1.0 / _SLOW_VARIANCE, float(np.exp(-1.0 / _SLOW_S))
    slow = random.gamma(shape) / shape
    while True:
        fast = random.gamma(1.0 / _FAST_VARIANCE) * _FAST_VARIANCE
        yield _NATIVE_RATE * slow * fast
        slow = slow * random.beta(shape * keep, shape * (1.0 - keep))
        slow += random.gamma(shape * (1.0 - keep)) / shape
