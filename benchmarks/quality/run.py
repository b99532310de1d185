"""Every row on every set."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.quality.data import PairSet, Replay
from benchmarks.quality.figures import (
    CurvePoint,
    PairFigures,
    ReplayFigures,
    Share,
    area,
    count_guards,
    count_pairs,
    count_replays,
    pair_curve,
    promise_gap,
)
from benchmarks.quality.rows import CACHE_ROWS, PEERS, Cached, Row, Static, near
from benchmarks.quality.vectors import Remembered
from semcache_async.data import Question

__all__ = ["Found", "Plan", "make_rows", "run_all"]

GUARDED = 0.2
"""Pairs within this distance are what guards are counted on."""
SWEEP = (0.02, 0.04, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3)


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    requests: int = 4_000
    orders: int = 2
    """Orders of each replay, the file's own among them."""
    pairs: int = 3_000


@dataclass
class Found:
    """The figures, by set and row."""

    replays: dict[str, dict[str, ReplayFigures]] = field(default_factory=dict)
    targets: dict[str, float] = field(default_factory=dict)
    """Rows that promise a precision."""
    curves: dict[str, list[CurvePoint]] = field(default_factory=dict)
    pairs: dict[str, dict[str, PairFigures]] = field(default_factory=dict)
    guards: dict[str, dict[str, tuple[Share, Share]]] = field(default_factory=dict)
    """By guard and set of pairs: its share of the wrong ones, and of the right ones."""
    about: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    explained: dict[str, str] = field(default_factory=dict)
    """What a learning row came to, by set and row."""
    seconds: float = 0.0

    def areas(self) -> dict[str, float]:
        """P-CHR AUC by set."""
        made = {name: area(points) for name, points in self.curves.items()}
        return {name: value for name, value in made.items() if value is not None}

    def calibration_error(self, row: str) -> float | None:
        """The mean shortfall of a promising row over the replays in which it served anything."""
        gaps = [
            gap
            for rows in self.replays.values()
            if row in rows and (gap := promise_gap(self.targets[row], rows[row])) is not None
        ]
        return sum(gaps) / len(gaps) if gaps else None


def make_rows(embedder: Remembered, found: Found) -> list[Row]:
    """The cache's rows and the peers'."""
    rows: list[Row] = []
    for name, options, opened in CACHE_ROWS:
        learns = "target_precision" in options or "verified" in options
        row = Cached(name, embedder, options, opened, learns)
        if "target_precision" in options:
            found.targets[name] = options["target_precision"]
        rows.append(row)
    rows += [Static(name, embedder, distance) for name, distance in PEERS.items()]
    return rows


def run_all(
    plan: Plan,
    embedder: Remembered,
    replays: Iterable[Replay | tuple[str, str]],
    pair_sets: Iterable[PairSet | tuple[str, str]],
    say: Callable[[str], None] = lambda _line: None,
) -> Found:
    """Let every row decide on every set."""
    began = time.perf_counter()
    found = Found()
    rows = make_rows(embedder, found)
    for replay in replays:
        if isinstance(replay, Replay):
            say(f"replay {replay.name}")
            _replay(plan, embedder, rows, replay, found, say)
        else:
            found.skipped[replay[0]] = replay[1]
    for pairs in pair_sets:
        if isinstance(pairs, PairSet):
            say(f"pairs {pairs.name}")
            _pairs(plan, embedder, rows, pairs, found)
        else:
            found.skipped[pairs[0]] = pairs[1]
    found.seconds = time.perf_counter() - began
    return found


def _replay(
    plan: Plan,
    embedder: Remembered,
    rows: Sequence[Row],
    replay: Replay,
    found: Found,
    say: Callable[[str], None],
) -> None:
    orders = [replay.ordered(seed, plan.requests) for seed in range(plan.orders)]
    embedder.learn(question.text for order in orders for question in order)
    orders = [[q for q in order if embedder.readable_text(q.text)] for order in orders]
    found.about[replay.name] = replay.about
    own = found.replays.setdefault(replay.name, {})
    for row in rows:
        began = time.perf_counter()
        runs = [_done(row.replay(order, seed)) for seed, order in enumerate(orders)]
        own[row.name] = count_replays(runs)
        if isinstance(row, Cached) and row.explained[-1]:
            found.explained[f"{replay.name}: {row.name}"] = row.explained[-1]
        say(
            f"  {row.name}: hits {own[row.name].hits}, wrong {own[row.name].wrong}"
            f" [{time.perf_counter() - began:.1f} s]"
        )
    found.curves[replay.name] = [_swept(embedder, orders, distance) for distance in SWEEP]


def _swept(
    embedder: Remembered, orders: Sequence[Sequence[Question]], distance: float
) -> CurvePoint:
    row = Static("", embedder, distance)
    figures = count_replays([_done(row.replay(order, 0)) for order in orders])
    return CurvePoint(distance, figures.hits.value or 0.0, 1.0 - (figures.wrong.value or 0.0))


def _pairs(
    plan: Plan, embedder: Remembered, rows: Sequence[Row], pairs: PairSet, found: Found
) -> None:
    chosen = pairs.pairs[:: max(1, len(pairs.pairs) // plan.pairs)]
    embedder.learn(text for pair in chosen for text in (pair.text_a, pair.text_b))
    chosen = tuple(
        pair
        for pair in chosen
        if embedder.readable_text(pair.text_a) and embedder.readable_text(pair.text_b)
    )
    found.about[pairs.name] = pairs.about
    own = found.pairs.setdefault(pairs.name, {})
    for row in rows:
        if isinstance(row, Static) or (isinstance(row, Cached) and not row.learns):
            own[row.name] = count_pairs(chosen, _done(row.judge(chosen)))
    far = near(embedder, chosen)
    found.guards[pairs.name] = count_guards(chosen, far, GUARDED)
    found.curves[pairs.name] = pair_curve(far, [pair.right for pair in chosen])


def _done(work: Any) -> Any:
    return asyncio.run(work)
