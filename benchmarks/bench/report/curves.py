"""Who has which colour, and percentile curves of whole groups."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from benchmarks.bench.http import EXACT, REWORDED
from semcache_async.load.measured.figures import Group
from semcache_async.load.measured.histogram import Histogram
from semcache_async.load.reports.charts import percentile_curves
from semcache_async.load.reports.drawing import Chart

__all__ = ["curves_chart", "lines", "place"]

_PLACES = {
    "ours": 0,
    "redisvl-async": 1,
    "redisvl-threads": 2,
    "langchain-redis": 3,
    "gptcache": 4,
    "ours-flightless": 5,
    "ours-unpacked": 6,
    "ours-unpipelined": 7,
    "before": 1,
    "none": 8,
    f"ours, {EXACT}": 0,
    f"cachellm-proxy, {EXACT}": 1,
    f"ours, {REWORDED}": 4,
    f"cachellm-proxy, {REWORDED}": 5,
}


def place(label: str) -> int:
    """In the load charts' colours; the first five as those number them."""
    return _PLACES.get(label, 8)


def lines(groups: Iterable[Group | None]) -> list[tuple[str, int, Histogram]]:
    """Each group's times, the repeats together."""
    return [(group.name, place(group.name), group.all) for group in groups if group]


def curves_chart(title: str, note: str, curves: list[tuple[str, int, Histogram]]) -> Chart:
    """By nines."""
    return Chart(title, note, partial(percentile_curves, lines=curves))
