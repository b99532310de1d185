"""LLM calls where many ask the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.bench.figures import Found
from benchmarks.bench.record import Row
from benchmarks.bench.report.curves import place
from semcache_async.load.measured.cells import milliseconds, spanned
from semcache_async.load.measured.figures import Span
from semcache_async.load.measured.histogram import Histogram
from semcache_async.load.reports.drawing import COLOURS, INKS, Chart, legend
from semcache_async.load.reports.report import Chapter, Table

__all__ = ["chapter"]


def chapter(found: Found) -> Chapter:
    lead = "How often the LLM is asked where many ask the same, in other words, at once."
    record = found.records["intents"]
    chart = Chart(
        "LLM calls per intent",
        "Dotted: one call. Low is better.",
        lambda axes: _bars(axes, record["turns"]),
    )
    return Chapter("LLM calls", lead, [chart], list(_tables(record)))


def _tables(record: Row) -> Iterator[Table]:
    for scenario, labels in record["turns"].items():
        rows = [
            [
                label,
                _spread(turns, lambda turn: turn["llm_calls"], "{:.0f}".format),
                _spread(turns, lambda turn: turn["llm_calls"] / turn["intents"], "{:.2f}".format),
                *(_spread(turns, _percentile(q), milliseconds) for q in (50.0, 99.0)),
                f"{sum(t['other_intent'] for t in turns)} of {sum(t['requests'] for t in turns)}",
                f"{sum(len(t['failures']) for t in turns)}",
            ]
            for label, turns in labels.items()
        ]
        heads = ("LLM calls", "an intent", "p50 ms", "p99 ms", "of another intent", "failed")
        said = record["scenarios"][scenario]
        yield Table(f"{scenario.capitalize()}: {said}", ("", *heads), rows)


def _spread(
    turns: Sequence[Row], measure: Callable[[Row], float], show: Callable[[float], str]
) -> str:
    return spanned(Span.of(list(map(measure, turns))), show)


def _percentile(q: float) -> Callable[[Row], float]:
    return lambda turn: Histogram.decode(turn["latency"]).percentile(q) or 0.0


def _bars(axes: Any, turns: dict[str, dict[str, list[Row]]]) -> None:
    """LLM calls per intent, by scenario and contender."""
    labels = list(dict.fromkeys(label for rows in turns.values() for label in rows))
    wide = 0.8 / max(1, len(labels))
    for number, label in enumerate(labels):
        spans = [
            [r["llm_calls"] / r["intents"] for r in rows.get(label, ())] for rows in turns.values()
        ]
        places = np.arange(len(turns)) + (number - (len(labels) - 1) / 2) * wide
        heights = [float(np.median(span)) if span else 0.0 for span in spans]
        axes.bar(places, heights, wide * 0.9, color=COLOURS[place(label)][0], label=label)
    axes.axhline(1.0, color=INKS["faint"][0], linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(turns)), list(turns))
    axes.set(ylabel="LLM calls per intent")
    axes.grid(axis="x", visible=False)
    legend(axes)
