"""Costs of the two ways to search a scope, fitted to what was measured, and what choosing costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.scale_measure import NEIGHBOURS, Row
from semcache_async.store.entries import knn

__all__ = ["Costs", "fit_costs", "planner_costs", "regret"]

BATCH = 40


class Costs(NamedTuple):
    """Milliseconds, as in ``store/knn.py``."""

    compare: float
    """Per entry compared."""
    walk: float
    """Of a walk, over what a comparison with nothing costs."""
    walk_batch: float
    """Per further batch."""

    def picks(self, row: Row) -> str:
        """``batches`` or ``adhoc``."""
        walk = self.walk + self.walk_batch * _batches(row)
        return "batches" if walk < self.compare * row["entries"] else "adhoc"


def planner_costs() -> Costs:
    """What the planner assumes."""
    return Costs(knn._COMPARE_MS, knn._WALK_MS, knn._WALK_BATCH_MS)


def fit_costs(rows: Sequence[Row]) -> Costs:
    """Least relative squares over scopes that share an index and hold ten times what is asked for:
    a walk that exhausts a smaller one ends sooner. One scope that is the whole index is read in the
    order of memory, at a third of the cost per entry, and is not close to decide."""
    rows = [row for row in rows if 10 * NEIGHBOURS <= row["entries"] < row["total"]]
    fixed, compare = _line([row["entries"] for row in rows], [_ms(row, "adhoc") for row in rows])
    walk, batch = _line([_batches(row) for row in rows], [_ms(row, "batches") for row in rows])
    return Costs(compare, walk - fixed, batch)


def regret(rows: Sequence[Row], picks: Callable[[Row], str]) -> tuple[float, float]:
    """How many times as long the picks take as the best of both: geometric mean and worst."""
    ratios = [_ms(row, picks(row)) / min(_ms(row, "adhoc"), _ms(row, "batches")) for row in rows]
    return float(np.exp(np.mean(np.log(ratios)))), max(ratios)


def _batches(row: Row) -> float:
    return float(NEIGHBOURS * row["total"] / (row["entries"] * BATCH))


def _ms(row: Row, way: str) -> float:
    return float(row["ways"][way]["ms"])


def _line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    weights = 1 / np.array(y)
    columns = np.stack([weights, np.array(x) * weights], axis=1)
    intercept, slope = np.linalg.lstsq(columns, np.ones(len(y)), rcond=None)[0]
    return float(intercept), float(slope)
