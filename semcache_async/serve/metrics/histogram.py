"""Counts of durations, fine enough that their quantiles mean something."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from semcache_async.serve.metrics.shared_rows import Cells

__all__ = ["BOUNDS", "CELLS", "Histogram", "observe"]

_STEPS = (
    *(1.0, 1.12, 1.25, 1.4, 1.6, 1.8, 2.0, 2.24, 2.5, 2.8),
    *(3.15, 3.55, 4.0, 4.5, 5.0, 5.6, 6.3, 7.1, 8.0, 9.0),
)
BOUNDS = [step * 10.0**decade for decade in range(-5, 3) for step in _STEPS]
"""Upper bounds in seconds of a histogram's buckets, 10 us to 900 s; one more has the rest."""
_SUM = len(BOUNDS) + 1
CELLS = _SUM + 1
"""Numbers of one histogram in a row."""


class Histogram:
    """Counts by ``BOUNDS``, and the sum, of one moment."""

    def __init__(self, cells: Sequence[float]) -> None:
        self.counts = cells[:_SUM]
        self.sum = cells[_SUM]
        self.count = sum(self.counts)

    def quantile(self, q: float) -> float:
        """Seconds, interpolated within a bucket (they are 11 to 14 % wide); 0.0 of nothing."""
        wanted, below = q * self.count, 0.0
        for n, count in enumerate(self.counts):
            if count and below + count >= wanted:
                low = BOUNDS[n - 1] if n else 0.0
                high = BOUNDS[min(n, len(BOUNDS) - 1)]
                return low + (high - low) * (wanted - below) / count
            below += count
        return 0.0


def observe(cells: Cells, at: int, seconds: float) -> None:
    """Count ``seconds`` in the histogram that begins at ``at``."""
    cells[at + bisect_left(BOUNDS, seconds)] += 1.0
    cells[at + _SUM] += seconds
