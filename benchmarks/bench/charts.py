"""The report's charts."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.bench.figures import Found
from benchmarks.bench.http import EXACT, REWORDED
from benchmarks.bench.lookups import RIVAL
from semcache_async.load.charts import latency_by_load, percentile_curves, throughput
from semcache_async.load.drawing import COLOURS, INKS, Chart, legend
from semcache_async.load.figures import Group
from semcache_async.load.histogram import Histogram

__all__ = [
    *("curves", "http_charts", "intents_chart", "lookup_charts", "offered_charts", "peak_chart"),
]

_PLACES = {
    "ours": 0,
    "redisvl-async": 1,
    "redisvl-threads": 2,
    "langchain-redis": 3,
    "gptcache": 4,
    "ours-flightless": 5,
    "ours-unpacked": 6,
    "ours-unpipelined": 7,
    "none": 8,
    f"ours, {EXACT}": 0,
    f"cachellm-proxy, {EXACT}": 1,
    f"ours, {REWORDED}": 4,
    f"cachellm-proxy, {REWORDED}": 5,
}
"""In ``COLOURS``; the first five as the load charts number them."""


def curves(groups: Sequence[Group]) -> list[tuple[str, str, Histogram]]:
    """Label, colour and all times of the repeats together, for percentile curves."""
    return [(group.name, _colour(group.name), group.all) for group in groups]


def lookup_charts(found: Found) -> Iterator[Chart]:
    many = found.callers

    def _at(callers: int) -> list[tuple[str, str, Histogram]]:
        groups = [found.group(name, callers) for name in found.rivals]
        return curves([group for group in groups if group])

    def _lags() -> list[tuple[str, str, Histogram]]:
        groups = [found.group(name, many) for name in found.rivals]
        return [(g.name, _colour(g.name), g.times("lag")) for g in groups if g]

    together = "Each curve merges the histograms of all rounds."
    yield Chart(
        f"Lookups by {many} callers", together, lambda axes: percentile_curves(axes, _at(many))
    )
    yield Chart("Lookups by one caller", together, lambda axes: percentile_curves(axes, _at(1)))
    sweeps = {name: found.by_callers(name) for name in found.rivals}
    sweeps = {name: own for name, own in sweeps.items() if len(own) > 1}
    if any(g.lookup_percentile(99.0) for own in sweeps.values() for g in own):
        counts = sorted({g.merged.callers or 0 for own in sweeps.values() for g in own})
        yield Chart(
            f"Throughput against p99, {counts[0]} to {counts[-1]} callers",
            "Right and low is better. A point for each number of callers, its bar the range over "
            "rounds; where a round had too few lookups for a p99, there is no point.",
            lambda axes: throughput(axes, sweeps),
        )
    yield Chart(
        f"Event loop lag, {many} callers",
        "How late timers fire in the event loop that asks and answers.",
        lambda axes: percentile_curves(axes, _lags()),
    )


def offered_charts(found: Found) -> Iterator[Chart]:
    sweeps = {name: found.by_rate(name) for name in ("ours", RIVAL)}
    sweeps = {name: own for name, own in sweeps.items() if own}
    if sweeps:
        yield Chart(
            "Latency against offered load",
            "Open loop, up to each one's measured capacity; from when a lookup was due. p50 "
            "dashed, p99 solid.",
            lambda axes: latency_by_load(axes, sweeps),
        )


def http_charts(found: Found) -> Iterator[Chart]:
    """By so many callers, then at equal load."""
    for title, is_open in ((f"Over HTTP, {found.callers} callers", False), ("At equal load", True)):
        lines = curves([group for group in found.http if group.is_open is is_open])
        if lines:
            note = "From when a request was due." if is_open else "From when it was sent."
            yield Chart(title, note, functools.partial(percentile_curves, lines=lines))


def intents_chart(turns: dict[str, dict[str, list[dict[str, Any]]]]) -> Chart:
    """LLM calls per intent, by scenario and contender."""
    labels = list(dict.fromkeys(label for rows in turns.values() for label in rows))
    wide = 0.8 / max(1, len(labels))

    def draw(axes: Any) -> None:
        for number, label in enumerate(labels):
            spans = [
                [row["llm_calls"] / row["intents"] for row in rows.get(label, ())]
                for rows in turns.values()
            ]
            places = np.arange(len(turns)) + (number - (len(labels) - 1) / 2) * wide
            heights = [float(np.median(span)) if span else 0.0 for span in spans]
            axes.bar(places, heights, wide * 0.9, color=_colour(label), label=label)
        axes.axhline(1.0, color=INKS["faint"][0], linewidth=0.8, linestyle=":")
        axes.set_xticks(range(len(turns)), list(turns))
        axes.set(ylabel="LLM calls per intent")
        axes.grid(axis="x", visible=False)
        legend(axes)

    return Chart("LLM calls per intent", "Dotted: one call. Low is better.", draw)


def peak_chart(found: Found) -> Chart:
    """Share of the matrix peak, by way of embedding."""
    assert found.embedder is not None
    ways = list(found.embedder["ways"])

    def draw(axes: Any) -> None:
        shares = [100.0 * found.share_of_peak(way) for way in ways]
        colours = [COLOURS[0 if way.startswith("packed") else 1][0] for way in ways]
        axes.barh(range(len(ways)), shares, 0.4, color=colours)
        for place, way in enumerate(ways):
            axes.text(0.0, place - 0.28, way, color=INKS["ink"][0], fontsize=9.0)
        axes.set_yticks([])
        axes.set_ylim(len(ways) - 0.6, -0.8)
        axes.set(xlabel="% of a CPU's measured float32 matrix peak")
        axes.grid(axis="y", visible=False)

    note = "Work of the model's linear layers over what the CPUs in use could do in that time."
    return Chart("Embedding: share of the matrix peak", note, draw)


def _colour(label: str) -> str:
    return COLOURS[_PLACES.get(label, 8)][0]
