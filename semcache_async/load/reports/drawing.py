"""From charts to files: SVG that follows the page's colours, and one PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from semcache_async.load.extra import need

__all__ = ["COLOURS", "INKS", "Chart", "colours", "legend", "save_png", "svg"]

COLOURS = (
    *(("#2563eb", "#60a5fa"), ("#d97706", "#fbbf24"), ("#059669", "#34d399")),
    *(("#9333ea", "#c084fc"), ("#0891b2", "#22d3ee"), ("#be185d", "#f472b6")),
    *(("#4d7c0f", "#a3e635"), ("#dc2626", "#f87171"), ("#78716c", "#a8a29e")),
)
"""On light and on dark ground."""
INKS = {
    "ink": ("#1e293b", "#e2e8f0"),
    "faint": ("#64748b", "#94a3b8"),
    "grid": ("#e2e8f1", "#2b3648"),
}

_SIZE = (5.4, 3.7)
_LEGEND_WIDTH, _LEGEND_LINE = 72, 8
"""Characters of a line of legend, and those that a sample of a curve takes."""
_STYLE = {
    "font.size": 10.0,
    "font.family": "sans-serif",
    "text.color": INKS["ink"][0],
    "axes.edgecolor": INKS["faint"][0],
    "axes.labelcolor": INKS["faint"][0],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.color": INKS["faint"][0],
    "ytick.color": INKS["faint"][0],
    "axes.grid": True,
    "grid.color": INKS["grid"][0],
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "legend.handlelength": 2.8,
    "lines.linewidth": 1.9,
    "lines.markersize": 5.0,
    "svg.fonttype": "none",
}


class Chart(NamedTuple):
    """What it shows, and how to draw it on matplotlib axes."""

    title: str
    note: str
    draw: Callable[[Any], None]


def colours(theme: int) -> dict[str, str]:
    """By the names that charts on a page call them: light is 0, dark is 1."""
    numbered = {f"c{number}": pair[theme] for number, pair in enumerate(COLOURS)}
    return {**numbered, **{name: pair[theme] for name, pair in INKS.items()}}


def legend(axes: Any) -> None:
    """Above the axes, where it hides nothing."""
    labels = axes.get_legend_handles_labels()[1]
    if labels:
        columns = max(1, min(len(labels), _LEGEND_WIDTH // (max(map(len, labels)) + _LEGEND_LINE)))
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=columns,
            borderaxespad=0.3,
            columnspacing=1.4,
        )


def svg(chart: Chart, key: str) -> str:
    """For a page that defines ``colours``; ``key`` keeps its ids apart."""
    with need("matplotlib").rc_context({**_STYLE, "svg.hashsalt": key}):
        figure = need("matplotlib.figure").Figure(figsize=_SIZE, layout="constrained")
        chart.draw(figure.subplots())
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return _inlined(file.getvalue(), chart.title, key)


def save_png(drawn: Sequence[Chart], path: Path) -> None:
    """All of them on one sheet."""
    columns = min(2, len(drawn))
    rows = -(-len(drawn) // columns)
    with need("matplotlib").rc_context({**_STYLE, "axes.titlesize": 10.5}):
        figure = need("matplotlib.figure").Figure(
            figsize=(_SIZE[0] * columns, (_SIZE[1] + 0.3) * rows), layout="constrained"
        )
        places = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes in places[len(drawn) :]:
            axes.set_axis_off()
        for axes, chart in zip(places, drawn, strict=False):
            chart.draw(axes)
            shown = axes.get_legend()
            above = 0.0 if shown is None else shown.get_window_extent().height * 72 / figure.dpi
            axes.set_title(chart.title, loc="left", color=INKS["ink"][0], pad=6.0 + above)
        figure.savefig(path, format="png", dpi=130, facecolor="white")


def _inlined(drawn: str, title: str, key: str) -> str:
    """As a part of an HTML page: no prologue, no foreign addresses, the page's colours and font."""
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r' xmlns(:\w+)?="[^"]*"', "", drawn)
    drawn = re.sub(r'(?<= id=")|(?<=url\(#)|(?<=href="#)', f"{key}-", drawn)
    drawn = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", drawn, count=1)
    drawn = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", drawn, count=1)
    drawn = re.sub(r"'[^']*', sans-serif|\bsans-serif\b", "inherit", drawn)
    for name, light in colours(0).items():
        drawn = drawn.replace(light, f"var(--{name})")
    return drawn.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
