"""Two checkouts of ours in one run, in turns: is this one slower than that one?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.bench.figures import METRICS, Found, floor_of, ratio_of, verdict_of
from benchmarks.bench.lookups import run_lookups
from benchmarks.bench.record import Row, read_results, this_machine
from benchmarks.bench.report.curves import curves_chart, lines
from benchmarks.bench.sizes import AGAIN, BEFORE, Sizes, against
from semcache_async.load.measured.cells import milliseconds, rate, spanned, times
from semcache_async.load.measured.figures import Span
from semcache_async.load.measured.machine import commit_of
from semcache_async.load.measured.result import Result
from semcache_async.load.reports.report import Chapter, Report, Table, write_report

__all__ = ["render", "run_against"]


async def run_against(sizes: Sizes, cached: Path, checkout: Path) -> Row:
    """The record."""
    kept: Row = {}
    await run_lookups(against(sizes), cached, kept.update, before=checkout)
    return {**kept, "commit": commit_of(checkout), "machine": msgspec.to_builtins(this_machine())}


def render(record: Row, directory: Path) -> Path:
    """``against.md``, ``against.png`` and ``against.json``; returns the first's path."""
    found = Found({"lookups": record})
    machine = this_machine()
    many = found.callers
    groups = [found.group(label, many) for label in (BEFORE, "ours", AGAIN)]
    exact = read_results(record, "exact")
    rows = [
        _row("lookups/s", many, found.results, "lookups/s"),
        _row("p50 ms", many, found.results, "p50"),
        _row("p99 ms", many, found.results, "p99"),
        _row("one lookup at rest: p50 ms", 1, found.results, "p50"),
        _row("exact hits/s", exact[0].callers if exact else 0, exact, "lookups/s"),
    ]
    table = Table(
        "Now to before",
        ("", "callers", "before", "now", "now to before", "noise floor", ""),
        rows,
        f"Medians over rounds; ratios of the turns of one round: median (and range). Noise floor: "
        f"the most that {AGAIN} differed from ours in any one round. No difference is claimed "
        "below it.",
    )
    report = Report(
        "semcache_async: before and now",
        f"Before: commit {record['commit']}. Now: {machine.commit}. {record['entries']:,} entries; "
        "each in a process of its own, in turns, one Redis; the same measuring code for both.",
        [Chapter("Lookups", "", [curves_chart(f"{many} callers", "", lines(groups))], [table])],
        warnings=[f"{label} was left out: {why}" for label, why in record["left_out"].items()],
        facts={"Measured on": list(machine.facts())},
    )
    return write_report(report, directory, "against", {"against.json": json.dumps(record)})


def _row(what: str, callers: int | None, results: Sequence[Result], metric: str) -> list[str]:
    measure = METRICS[metric]
    by = {
        label: [r for r in results if r.name == label and r.callers == callers]
        for label in (BEFORE, "ours", AGAIN)
    }
    ratio = ratio_of(by["ours"], by[BEFORE], measure)
    floor = floor_of(ratio_of(by["ours"], by[AGAIN], measure))

    def shown(label: str) -> str:
        values = [value for result in by[label] if (value := measure(result))]
        span = Span.of(values) if values else None
        return rate(span) if metric == "lookups/s" else spanned(span, milliseconds)

    cells = [shown(BEFORE), shown("ours"), times(ratio), "-" if floor is None else f"{floor:.1%}"]
    return [what, f"{callers}", *cells, verdict_of(ratio, floor)]
