"""The calibration curve, in a terminal and as a PNG."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semcache_async.tune.calibrate import Calibration, Point
from semcache_async.tune.pairs import CalibrationError

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["need_matplotlib", "save_curve", "table"]

_STEPS, _BAR = 15, 30
_INK, _FAINT, _LINE, _BAND, _MARK = "#1e293b", "#64748b", "#2563eb", "#bfdbfe", "#059669"


def table(calibration: Calibration) -> Table:
    """Precision and recall by distance, or score, with the recommended one marked."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    kind, option = _named(calibration)
    for name in (kind, "pairs", "precision", "at least", "recall"):
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("")
    floor = _floor(calibration)
    for point in _rows(calibration):
        chosen = point.at == calibration.at
        made.add_row(
            f"{point.at:.3f}",
            f"{point.pairs:,.0f}",
            f"{point.precision:.3f}",
            f"{point.precision_low:.3f}",
            f"{point.recall:.3f}",
            _bar(point, floor, calibration.target) + (f"  <- {option}" if chosen else ""),
            style="bold green" if chosen else "",
        )
    return made


def _rows(calibration: Calibration) -> Iterator[Point]:
    """Some, and the recommended one."""
    every = max(1, len(calibration.curve) // _STEPS)
    for place, point in enumerate(calibration.curve, start=1):
        if point.pairs and (place % every == 0 or point.at == calibration.at):
            yield point


def _named(calibration: Calibration) -> tuple[str, str]:
    """What is calibrated, and by which option."""
    by_score = any(point.score is not None for point in calibration.curve)
    return ("score", "min_score") if by_score else ("distance", "max_distance")


def _floor(calibration: Calibration) -> float:
    worst = min((p.precision_low for p in _rows(calibration)), default=0.0)
    return min(int(worst * 10.0) / 10.0, calibration.target - 0.1)


def _bar(point: Point, floor: float, target: float) -> str:
    """The precision as a bar from ``floor`` to 1, its bound in full, the target as a mark."""

    def place(share: float) -> int:
        return max(0, round(_BAR * (share - floor) / (1.0 - floor)))

    cells = ["█"] * place(point.precision_low)
    cells += ["▒"] * (place(point.precision) - len(cells))
    cells += [" "] * (_BAR - len(cells))
    cells[min(_BAR - 1, place(target))] = "│"
    return "".join(cells)


def need_matplotlib() -> Any:
    """``matplotlib``, or ``CalibrationError`` naming the extra that has it."""
    try:
        return importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise CalibrationError(
            "The curve as PNG needs matplotlib, which is not installed: "
            "pip install 'semcache-async[load]'."
        ) from error


def save_curve(calibration: Calibration, path: Path) -> None:
    """Precision with its bound, and recall, by distance. Raises ``CalibrationError``."""
    figure = need_matplotlib().Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    points = [point for point in calibration.curve if point.pairs]
    x = [point.at for point in points]
    kind, option = _named(calibration)
    low = [point.precision_low for point in points]
    axes.fill_between(x, low, [p.precision for p in points], color=_BAND, linewidth=0)
    axes.plot(x, [p.precision for p in points], color=_LINE, label="precision")
    axes.plot(x, low, color=_LINE, linewidth=0.8, linestyle="--", label="its lower bound")
    axes.plot(x, [p.recall for p in points], color=_FAINT, linewidth=1.2, label="recall")
    axes.axhline(calibration.target, color=_INK, linewidth=0.8, linestyle=":", label="target")
    if calibration.at is not None:
        axes.axvline(calibration.at, color=_MARK, label=f"{option} {calibration.at:.3g}")
    axes.set(xlabel=kind, ylim=(0.0, 1.02), xlim=(0.0, None))
    axes.set_title(f"{calibration.pairs:,} pairs: {_short(calibration)}", fontsize=9, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    try:
        figure.savefig(path, dpi=140, format="png")
    except OSError as error:
        raise CalibrationError(f"{path} cannot be written: {error}.") from error


def _short(calibration: Calibration) -> str:
    return calibration.explain().partition(";")[0]
