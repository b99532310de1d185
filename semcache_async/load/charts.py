"""The report's charts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from semcache_async.load.drawing import COLOURS, INKS, Chart, legend
from semcache_async.load.extra import need
from semcache_async.load.figures import Group, Span
from semcache_async.load.histogram import Histogram

__all__ = [
    "SOURCE_COLOURS",
    "charts",
    "focus_of",
    "latency_by_load",
    "percentile_curves",
    "throughput",
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


def charts(groups: Sequence[Group]) -> list[Chart]:
    """Those that the results have figures for."""
    focus = focus_of(groups)
    found = [
        Chart(
            f"Latency by source, {focus.label}",
            "Each curve: the share of requests that were answered within a time.",
            lambda axes: percentile_curves(axes, _source_lines(focus)),
        )
    ]
    if len(groups) > 1:
        lines = [
            (group.label, COLOURS[number % len(COLOURS)][0], group.all)
            for number, group in enumerate(groups)
        ]
        found.append(
            Chart(
                "Latency of all requests, load by load",
                "All sources together, repeats together.",
                lambda axes: percentile_curves(axes, lines),
            )
        )
    if _sweeps(groups):
        found += _sweep_charts(groups)
    return [
        *found,
        Chart(
            "Event loop lag",
            "How late timers fire in the driver's event loop, which a target in process shares.",
            lambda axes: percentile_curves(axes, _lag_lines(groups)),
        ),
    ]


# -- percentile curves


def focus_of(groups: Sequence[Group]) -> Group:
    """The first name's highest load that it kept up with."""
    own = [group for group in groups if group.name == groups[0].name]
    return next((group for group in reversed(own) if group.kept_up), own[0])


def _source_lines(group: Group) -> list[tuple[str, str, Histogram]]:
    lines = {**group.by_source, "all": group.all}
    if len(lines) == 2:
        del lines["all"]
    return [(name, COLOURS[SOURCE_COLOURS[name]][0], times) for name, times in lines.items()]


def _lag_lines(groups: Sequence[Group]) -> list[tuple[str, str, Histogram]]:
    return [
        (group.label, COLOURS[number % len(COLOURS)][0], group.times("lag"))
        for number, group in enumerate(groups)
    ]


def percentile_curves(axes: Any, lines: Sequence[tuple[str, str, Histogram]]) -> None:
    """A curve for each label, colour and histogram, by nines."""
    most = max([10.0, *(float(len(times)) for _, _, times in lines)])
    for label, colour, times in lines:
        if len(times):
            nines = np.geomspace(1.0, max(2.0, len(times)), _POINTS)
            ms = np.array(times.percentiles((100.0 - 100.0 / nines).tolist())) * 1_000
            dashed = "--" if label == "all" else "-"
            axes.plot(nines, np.maximum(_LOWEST_MS, ms), dashed, color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlim=(1.0, most), ylabel="ms", xlabel="percentile")
    axes.set_xticks([x for _, x in _NINES if x <= most], [n for n, x in _NINES if x <= most])
    _whole_decades(axes)
    legend(axes)


# -- sweeps


def _sweeps(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Names with several loads."""
    found: dict[str, list[Group]] = {}
    for group in groups:
        found.setdefault(group.name, []).append(group)
    return {name: own for name, own in found.items() if len(own) > 1}


def _sweep_charts(groups: Sequence[Group]) -> Iterator[Chart]:
    sweeps = _sweeps(groups)
    opened = {name: [g for g in own if g.is_open] for name, own in sweeps.items()}
    opened = {name: own for name, own in opened.items() if len(own) > 1}
    spread = "Medians over repeats; bars are their range."
    if opened:
        yield Chart(
            "Latency of lookups against offered load",
            f"What waited for no LLM: p50 dashed, p99 solid. {spread}",
            lambda axes: latency_by_load(axes, opened),
        )
        yield Chart(
            "Answered against offered load",
            f"Below the diagonal: saturated. {spread}",
            lambda axes: _answered_by_load(axes, opened),
        )
    yield Chart(
        "Throughput against p99 of lookups",
        "Right and low is better; where a curve turns up, more load only waits longer.",
        lambda axes: throughput(axes, sweeps),
    )


def latency_by_load(axes: Any, sweeps: dict[str, list[Group]]) -> None:
    """p50 and p99 of lookups against the offered rate, by name."""
    for number, (name, own) in enumerate(sweeps.items()):
        for q, style in ((50.0, "o--"), (99.0, "o-")):
            spans = [
                (g.offered.median, s) for g in own if (s := g.lookup_percentile(q)) is not None
            ]
            _line(axes, spans, style, number, f"{name}, p{q:g}", 1_000.0)
    axes.set(yscale="log", xlabel="offered requests/s", ylabel="ms")
    _from_zero(axes)


def _answered_by_load(axes: Any, sweeps: dict[str, list[Group]]) -> None:
    top = 1.05 * max(group.offered.high for own in sweeps.values() for group in own)
    axes.plot([0, top], [0, top], color=INKS["faint"][0], linewidth=0.8, linestyle=":")
    for number, (name, own) in enumerate(sweeps.items()):
        _line(axes, [(g.offered.median, g.achieved) for g in own], "o-", number, name, 1.0)
    axes.set(xlabel="offered requests/s", ylabel="answered/s", xlim=(0, top), ylim=(0, top))
    legend(axes)


def throughput(axes: Any, sweeps: dict[str, list[Group]]) -> None:
    """p99 of lookups against the achieved rate, by name."""
    for number, (name, own) in enumerate(sweeps.items()):
        spans = [
            (g.achieved.median, s) for g in own if (s := g.lookup_percentile(99.0)) is not None
        ]
        _line(axes, spans, "o-", number, name, 1_000.0)
    axes.set(yscale="log", xlabel="answered/s", ylabel="p99 ms")
    _from_zero(axes)


def _line(
    axes: Any,
    spans: Sequence[tuple[float, Span]],
    style: str,
    number: int,
    label: str,
    unit: float,
) -> None:
    colour = COLOURS[number % len(COLOURS)][0]
    x = [place for place, _ in spans]
    y = [span.median * unit for _, span in spans]
    axes.plot(x, y, style, color=colour, label=label)
    axes.vlines(
        x, [s.low * unit for _, s in spans], [s.high * unit for _, s in spans], color=colour
    )


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
