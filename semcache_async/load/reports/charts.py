"""Kinds of chart: each draws on matplotlib axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from semcache_async.load.asking.targets import SOURCES
from semcache_async.load.extra import need
from semcache_async.load.measured.figures import Group, Span
from semcache_async.load.measured.histogram import Histogram
from semcache_async.load.reports.drawing import COLOURS, INKS, legend

__all__ = [
    *("SOURCE_COLOURS", "answered_by_load", "bars_named", "latency_by_load", "percentile_curves"),
    *("source_shares", "throughput"),
]

SOURCE_COLOURS = {
    "exact": 0,
    "miss": 8,
    "semantic": 2,
    "hit": 6,
    "shared": 3,
    "generated": 1,
    "bypassed": 8,
    "unknown": 4,
    "error": 7,
    "all": 5,
}
"""Places in ``COLOURS``."""

_POINTS = 240
_LOWEST_MS = 0.01
"""Shorter times are drawn as this."""
_NINES = (("0", 1.0), ("50", 2.0), ("90", 10.0), ("99", 1e2), ("99.9", 1e3), ("99.99", 1e4))

Sweeps = Mapping[str, Sequence[Group]]
"""Several loads, by name."""


def percentile_curves(axes: Any, lines: Iterable[tuple[str, int, Histogram]]) -> None:
    """A curve for each label, place in ``COLOURS`` and histogram, by nines."""
    lines = list(lines)
    most = max([10.0, *(float(len(times)) for _, _, times in lines)])
    for label, place, times in lines:
        if len(times):
            nines = np.geomspace(1.0, max(2.0, len(times)), _POINTS)
            ms = np.array(times.percentiles((100.0 - 100.0 / nines).tolist())) * 1_000
            dashed = "--" if label == "all" else "-"
            colour = COLOURS[place % len(COLOURS)][0]
            axes.plot(nines, np.maximum(_LOWEST_MS, ms), dashed, color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlim=(1.0, most), ylabel="ms", xlabel="percentile")
    axes.set_xticks([x for _, x in _NINES if x <= most], [n for n, x in _NINES if x <= most])
    _whole_decades(axes)
    legend(axes)


def source_shares(axes: Any, groups: Sequence[Group]) -> None:
    """A bar for each load, cut by what answered."""
    places = range(len(groups))
    left = np.zeros(len(groups))
    for name in SOURCES:
        shares = np.array([len(g.by_source.get(name, ())) / max(1, len(g.all)) for g in groups])
        if shares.any():
            colour = COLOURS[SOURCE_COLOURS[name]][0]
            axes.barh(places, 100 * shares, 0.4, 100 * left, color=colour, label=name)
            left += shares
    axes.set(xlim=(0, 100), ylim=(len(groups) - 0.6, -0.8), xlabel="% of the requests")
    bars_named(axes, [group.label for group in groups])
    legend(axes)


def bars_named(axes: Any, names: Sequence[str]) -> None:
    """Names above horizontal bars, where they take no width."""
    for place, name in enumerate(names):
        axes.text(0.0, place - 0.28, name, color=INKS["ink"][0], fontsize=9.0)
    axes.set_yticks([])
    axes.grid(axis="y", visible=False)


def latency_by_load(axes: Any, sweeps: Sweeps) -> None:
    """p50 and p99 of lookups against the offered rate, by name."""
    for number, (name, own) in enumerate(sweeps.items()):
        for q, style in ((50.0, "o--"), (99.0, "o-")):
            points = [(g.offered.median, g.lookup_percentile(q)) for g in own]
            _line(axes, points, style, number, f"{name}, p{q:g}", 1_000.0)
    axes.set(yscale="log", xlabel="offered requests/s", ylabel="ms")
    _from_zero(axes)


def answered_by_load(axes: Any, sweeps: Sweeps) -> None:
    """The achieved rate against the offered one, by name."""
    top = 1.05 * max(group.offered.high for own in sweeps.values() for group in own)
    axes.plot([0, top], [0, top], color=INKS["faint"][0], linewidth=0.8, linestyle=":")
    for number, (name, own) in enumerate(sweeps.items()):
        _line(axes, [(g.offered.median, g.achieved) for g in own], "o-", number, name, 1.0)
    axes.set(xlabel="offered requests/s", ylabel="answered/s", xlim=(0, top), ylim=(0, top))
    legend(axes)


def throughput(axes: Any, sweeps: Sweeps) -> None:
    """p99 of lookups against the achieved rate, by name."""
    for number, (name, own) in enumerate(sweeps.items()):
        points = [(g.achieved.median, g.lookup_percentile(99.0)) for g in own]
        _line(axes, points, "o-", number, name, 1_000.0)
    axes.set(yscale="log", xlabel="answered/s", ylabel="p99 ms")
    _from_zero(axes)


def _line(
    axes: Any,
    points: Sequence[tuple[float, Span | None]],
    style: str,
    number: int,
    label: str,
    unit: float,
) -> None:
    colour = COLOURS[number % len(COLOURS)][0]
    found = [(x, span) for x, span in points if span is not None]
    if not found:
        return
    x = [place for place, _ in found]
    axes.plot(x, [s.median * unit for _, s in found], style, color=colour, label=label)
    low, high = ([getattr(s, end) * unit for _, s in found] for end in ("low", "high"))
    axes.vlines(x, low, high, color=colour)


def _from_zero(axes: Any) -> None:
    axes.set_xlim(left=0.0)
    _whole_decades(axes)
    legend(axes)


def _whole_decades(axes: Any) -> None:
    """At least one, with ticks such as 1,000 rather than 10^3."""
    if not np.isfinite(axes.dataLim.intervaly).all():
        return
    ticker = need("matplotlib.ticker")
    low, high = np.log10(np.maximum(_LOWEST_MS, axes.dataLim.intervaly))
    axes.set_ylim(10 ** np.floor(low + 0.02), 10 ** max(np.floor(low) + 1, np.ceil(high - 0.02)))
    steps = (1.0, 2.0, 5.0) if np.ceil(high) - np.floor(low) <= 2 else (1.0,)
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=steps))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: f"{y:,.12g}"))
    axes.minorticks_off()
