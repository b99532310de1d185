"""Times in an HdrHistogram: 1 us to 10 min at 3 significant digits, mergeable, encodable."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semcache_async.load.extra import need

__all__ = ["HIGHEST_S", "Histogram"]

HIGHEST_S = 600.0
"""Longer times count as this."""
_HIGHEST_US = int(HIGHEST_S * 1e6)
_DIGITS = 3
_HELD_BACK = 4_096
"""Times recorded at once: a list append each, then one pass of numpy."""


class Histogram:
    """A wrapper around ``hdrh``'s: the same buckets and the same encoding, recorded in bulk."""

    def __init__(self, seconds: Iterable[float] = ()) -> None:
        self._hdr = _new()
        self._counts = _view(self._hdr)
        self._waiting = array("d", seconds)

    def record(self, seconds: float) -> None:
        """One more time; below 1 us counts as 1 us."""
        self._waiting.append(seconds)
        if len(self._waiting) >= _HELD_BACK:
            self._flush()

    def add(self, other: Histogram) -> None:
        """All of ``other``'s times too."""
        other._flush()
        self._flush()
        self._hdr.add(other._hdr)

    def encode(self) -> str:
        """HdrHistogram's own format (V2, compressed, base64), as its tools in other languages
        read it."""
        self._flush()
        encoded: bytes = self._hdr.encode()
        return encoded.decode("ascii")

    @classmethod
    def decode(cls, encoded: str) -> Histogram:
        """The histogram that ``encode`` wrote."""
        return cls.merged([encoded])

    @classmethod
    def merged(cls, encoded: Iterable[str]) -> Histogram:
        """One of all times in several."""
        made = cls()
        for one in encoded:
            made._hdr.decode_and_add(one.encode("ascii"))
        return made

    def __len__(self) -> int:
        self._flush()
        return int(self._hdr.get_total_count())

    def percentile(self, q: float) -> float | None:
        """Seconds; None without times."""
        return self.percentiles([q])[0] if len(self) else None

    def percentiles(self, qs: Sequence[float]) -> list[float]:
        """Seconds at each ``q`` in 0..100; nothing recorded counts as 0."""
        total = len(self)
        if not total:
            return [0.0] * len(qs)
        ranks = np.maximum(1, np.floor(np.asarray(qs) * total / 100.0 + 0.5))
        places = np.searchsorted(np.cumsum(self._counts), ranks)
        highest = [self._hdr.get_highest_equivalent_value(int(v)) for v in _values()[places]]
        return [value / 1e6 for value in highest]

    @property
    def max(self) -> float:
        """Seconds."""
        return self.percentiles([100.0])[0]

    def _flush(self) -> None:
        if not self._waiting:
            return
        seconds = np.frombuffer(self._waiting)
        us = np.clip(seconds * 1e6, 1.0, _HIGHEST_US).astype(np.int64)
        self._waiting = array("d")
        self._counts += np.bincount(_places(us, self._hdr), minlength=len(self._counts))
        self._hdr.total_count += len(us)
        self._hdr.min_value = min(self._hdr.min_value, int(np.min(us)))
        self._hdr.max_value = max(self._hdr.max_value, int(np.max(us)))


def _new() -> Any:
    return need("hdrh.histogram").HdrHistogram(1, _HIGHEST_US, _DIGITS)


def _view(hdr: Any) -> NDArray[np.int64]:
    return np.frombuffer(hdr.counts, np.int64)


def _places(us: NDArray[np.int64], hdr: Any) -> NDArray[np.int64]:
    """``HdrHistogram._counts_index_for`` of many values."""
    half = hdr.sub_bucket_half_count_magnitude
    bits = np.frexp((us | hdr.sub_bucket_mask).astype(np.float64))[1]
    bucket = bits.astype(np.int64) - (half + 1)
    place: NDArray[np.int64] = ((bucket + 1) << half) + (us >> bucket) - hdr.sub_bucket_half_count
    return place


@cache
def _values() -> NDArray[np.int64]:
    """The value, in microseconds, that each place stands for."""
    hdr = _new()
    return np.array([hdr.get_value_from_index(place) for place in range(len(hdr.counts))])
