"""The figures as Markdown, JSON and PNG."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality.figures import Share
from benchmarks.quality.run import GUARDED, Found, Plan

__all__ = ["as_json", "as_markdown", "write"]


def write(found: Found, plan: Plan, about: str, folder: Path) -> list[Path]:
    """``quality.md``, ``quality.json`` and ``quality.png`` in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [folder / f"quality.{suffix}" for suffix in ("md", "json", "png")]
    made[0].write_text(as_markdown(found, plan, about))
    made[1].write_text(json.dumps(as_json(found, plan, about), indent=1, allow_nan=False) + "\n")
    _draw(found, made[2])
    return made


def as_markdown(found: Found, plan: Plan, about: str) -> str:
    """The report for people."""
    return "\n".join(_lines(found, plan, about)) + "\n"


def _lines(found: Found, plan: Plan, about: str) -> Iterator[str]:
    areas = found.areas()
    yield from ("# What is served, and how much of it is wrong", "", about, "")
    yield (
        f"Replays: {plan.requests:,} requests at most, {plan.orders} orders, one request after "
        "another, stored on a miss; the judge knows the intents. Intervals: Wilson, 95 %. Exact "
        "repeats are not counted as hits. Same vectors for every row."
    )
    for name, rows in found.replays.items():
        yield from ("", f"## Replay: {name}", "", f"{found.about[name]}.", "")
        reached = areas.get(name, 0.0)
        yield f"P-CHR AUC (mean precision over the hit ratios up to distance .30): {reached:.3f}."
        yield ""
        yield from _table(
            ("row", "semantic hits", "of any order", "wrong of the hits"),
            [
                (
                    row,
                    str(figures.hits),
                    f"{figures.spread[0]:.1%} to {figures.spread[1]:.1%}",
                    str(figures.wrong),
                )
                for row, figures in rows.items()
            ],
        )
    yield from ("", "## Promise and outcome", "")
    yield "Mean shortfall of the precision below the target, over the replays with any hit."
    yield ""
    yield from _table(
        ("row", "target", "shortfall"),
        [
            (row, f"{target:g}", "-" if gap is None else f"{gap:.4f}")
            for row, target in found.targets.items()
            for gap in [found.calibration_error(row)]
        ],
    )
    for name, line in found.explained.items():
        yield f"- {name}: {line}"
    for name, pairs in found.pairs.items():
        yield from ("", f"## Pairs: {name}", "", f"{found.about[name]}.", "")
        yield f"P-CHR AUC, each pair as one request: {areas.get(name, 0):.3f}."
        yield ""
        yield from _table(
            ("row", "served of the right ones", "served of the wrong ones"),
            [(row, str(figures.right), str(figures.wrong)) for row, figures in pairs.items()],
        )
        yield from _kinds(found, name)
    yield from _guards(found)
    if found.skipped:
        yield from ("", "## Left out", "")
        yield from (f"- {name}: {why}" for name, why in found.skipped.items())


def _kinds(found: Found, name: str) -> Iterator[str]:
    """By kind, for the cache's own rows: served of the wrong / of the right ones."""
    rows = {row: f for row, f in found.pairs[name].items() if row.startswith("cache,")}
    kinds = sorted({kind for figures in rows.values() for kind in figures.by_kind})
    if not kinds:
        return
    yield from ("", "Served by kind, of the wrong ones / of the right ones:", "")

    def cell(shares: tuple[Share, Share]) -> str:
        right, wrong = shares
        return f"{wrong.part}/{wrong.whole}, {right.part}/{right.whole}"

    yield from _table(
        ("kind", *rows),
        [(kind, *(cell(figures.by_kind[kind]) for figures in rows.values())) for kind in kinds],
    )


def _guards(found: Found) -> Iterator[str]:
    if not found.guards:
        return
    yield from ("", "## By guard", "")
    yield (
        f"Which guard is the first to refuse a pair within {GUARDED:g}: of the wrong ones / of the "
        "right ones."
    )
    yield ""
    names = list(dict.fromkeys(name for guards in found.guards.values() for name in guards))

    def cell(guards: dict[str, tuple[Share, Share]], name: str) -> str:
        shares = guards.get(name)
        if shares is None:
            return "-"
        return " / ".join(f"{share.part} of {share.whole}" for share in shares)

    yield from _table(
        ("guard", *found.guards),
        [(name, *(cell(guards, name) for guards in found.guards.values())) for name in names],
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def as_json(found: Found, plan: Plan, about: str) -> dict[str, Any]:
    """The report for programs."""
    return {
        "about": about,
        "requests": plan.requests,
        "orders": plan.orders,
        "seconds": round(found.seconds, 1),
        "p_chr_auc": found.areas(),
        "replays": {
            name: {
                row: {
                    "requests": f.requests,
                    "exact": f.exact,
                    "hits": _share(f.hits),
                    "wrong": _share(f.wrong),
                    "spread": f.spread,
                }
                for row, f in rows.items()
            }
            for name, rows in found.replays.items()
        },
        "pairs": {
            name: {
                row: {
                    "right": _share(f.right),
                    "wrong": _share(f.wrong),
                    "by_kind": {
                        kind: {"right": _share(right), "wrong": _share(wrong)}
                        for kind, (right, wrong) in f.by_kind.items()
                    },
                }
                for row, f in rows.items()
            }
            for name, rows in found.pairs.items()
        },
        "shortfall": {row: found.calibration_error(row) for row in found.targets},
        "learnt": found.explained,
        "curves": {
            name: [list(point) for point in points[:: max(1, len(points) // 200)]]
            for name, points in found.curves.items()
        },
        "skipped": found.skipped,
    }


def _share(share: Share) -> dict[str, Any]:
    low, high = share.interval
    return {
        "part": share.part,
        "of": share.whole,
        "share": share.value,
        "low": round(low, 5),
        "high": round(high, 5),
    }


def _draw(found: Found, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, points in found.curves.items():
        axes = left if name in found.replays else right
        ordered = sorted(points, key=lambda point: point.hit_ratio)
        kept = [p for p in ordered if len(ordered) < 50 or p.hit_ratio > 0.005]
        axes.plot(
            [p.hit_ratio for p in kept],
            [p.precision for p in kept],
            ".-" if len(kept) < 50 else "-",
            label=f"{name}, any fixed distance",
        )
    for number, rows in enumerate(found.replays.values()):
        for row, figures in rows.items():
            wrong, hits = figures.wrong.value, figures.hits.value
            if row not in found.targets or wrong is None or hits is None:
                continue
            left.plot(hits, 1.0 - wrong, "*", color=f"C{number}", markersize=9)
            left.annotate(f"{found.targets[row]:g}", (hits, 1.0 - wrong), fontsize=7)
    left.set_title("Replays; *: the cache, by target_precision", fontsize=9)
    right.set_title("Pairs", fontsize=9)
    for axes in (left, right):
        axes.set(xlabel="hit ratio", ylabel="precision of the hits", xlim=(0.0, None))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=7)
    figure.savefig(path, dpi=130)
