"""Lookups: by callers, against offered load, and what may be claimed of them."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bench.figures import METRICS, Found
from benchmarks.bench.lookups import RIVAL
from benchmarks.bench.report.curves import curves_chart, lines, place
from benchmarks.bench.sizes import AGAIN
from semcache_async.load.measured.cells import milliseconds, ms, rate, spanned, times
from semcache_async.load.measured.figures import Span, trusted
from semcache_async.load.reports.charts import latency_by_load, throughput
from semcache_async.load.reports.drawing import Chart
from semcache_async.load.reports.report import Chapter, Table

__all__ = ["chapter", "noise_chapter", "offered_chapter"]

_TOGETHER = "Each curve merges the histograms of all rounds."


def chapter(found: Found) -> Chapter:
    return Chapter(
        "Lookups",
        f"{found.callers} callers, each asking again once answered, and one caller at rest.",
        list(_charts(found)),
        [_lookups(found), _against_ours(found), _costs(found), _callers(found)],
    )


def offered_chapter(found: Found) -> Chapter:
    sweeps = {name: own for name in ("ours", RIVAL) if (own := found.by_rate(name))}
    chart = Chart(
        "Latency against offered load",
        "Open loop, up to each one's measured capacity; from when a lookup was due. p50 dashed, "
        "p99 solid.",
        lambda axes: latency_by_load(axes, sweeps),
    )
    said = "What users see: requests come when they come."
    tables = [_offered(found), _equal_load(found)]
    return Chapter("Offered load", said, [chart] if sweeps else [], tables)


def noise_chapter(found: Found) -> Chapter:
    table = Table(
        "Noise floor",
        ("", "callers", f"ours and {AGAIN} differed by up to"),
        [[metric, f"{callers}", f"{f:.1%}"] for (metric, callers), f in found.floor.items()],
        "In any one round. No win is claimed for a smaller difference of medians.",
    )
    return Chapter("Noise", "What two runs of the same differ by.", [], [table])


def _charts(found: Found) -> Iterator[Chart]:
    many = found.callers
    loaded = [found.group(name, many) for name in found.rivals]
    alone = [found.group(name, 1) for name in found.rivals]
    yield curves_chart(f"Lookups by {many} callers", _TOGETHER, lines(loaded))
    yield curves_chart("Lookups by one caller", _TOGETHER, lines(alone))
    sweeps = {name: own for name in found.rivals if len(own := found.by_callers(name)) > 1}
    if any(g.lookup_percentile(99.0) for own in sweeps.values() for g in own):
        counts = sorted({g.merged.callers or 0 for own in sweeps.values() for g in own})
        yield Chart(
            f"Throughput against p99, {counts[0]} to {counts[-1]} callers",
            "Right and low is better. A point for each number of callers, its bar the range over "
            "rounds; where a round had too few lookups for a p99, there is no point.",
            lambda axes: throughput(axes, sweeps),
        )
    lags = [(group.name, place(group.name), group.times("lag")) for group in loaded if group]
    said = "How late timers fire in the event loop that asks and answers."
    yield curves_chart(f"Event loop lag, {many} callers", said, lags)


def _lookups(found: Found) -> Table:
    rows = []
    for label in found.labels:
        group, rest = found.group(label, found.callers), found.group(label, 1)
        if group:
            rows.append(
                [
                    label,
                    rate(group.achieved),
                    *(ms(group.percentile(q)) for q in (50.0, 99.0)),
                    milliseconds(trusted(group.all, 99.9)),
                    ms(rest.percentile(50.0) if rest else None),
                ]
            )
    heads = ("lookups/s", "p50 ms", "p99", "p99.9", "one caller: p50 ms")
    said = "Medians over rounds (and their range); p99.9 of all rounds together."
    return Table(f"{found.callers} callers, and one", ("", *heads), rows, said)


def _against_ours(found: Found) -> Table:
    rows = []
    for label in found.labels:
        if label == "ours":
            continue
        cells = []
        for metric, callers in (*((m, found.callers) for m in METRICS), ("p50", 1)):
            span = found.ratio(label, callers, metric)
            verdict = found.verdict(span, metric, callers) if label != AGAIN else ""
            cells.append(times(span) + (f" ({verdict})" if verdict == "within noise" else ""))
        other = found.lookups.get("other_answers", {}).get(label, (0, 0))
        rows.append([label, *cells, f"{other[0]} of {other[1]:,}"])
    heads = ("lookups/s", "p50", "p99", "one caller: p50", "answers that differ")
    return Table(
        "Ours to the others",
        ("ours to", *heads),
        rows,
        "Ratios of the turns of one round: median (and range). More lookups/s and less time is "
        f"better. {AGAIN} is the same again: what it differs by is noise.",
    )


def _costs(found: Found) -> Table:
    rows = []
    for label in found.labels:
        group, alone = found.group(label, found.callers), found.embedding(label, found.callers)
        if group is None:
            continue
        taken = found.lookups["costs"].get(label, ())
        spans = [Span.of([row[key] for row in taken]) for key in ("worker_ms", "redis_ms") if taken]
        rows.append(
            [
                label,
                rate(alone),
                f"{group.achieved.median / alone.median:.0%}" if alone else "-",
                *(spanned(span, lambda v: f"{v:.2f}") for span in spans or (None, None)),
                milliseconds(group.times("lag").percentile(99.0)),
            ]
        )
    heads = ("its embedding alone/s", "lookups of that", "CPU ms a lookup", "Redis's")
    return Table(
        f"Where the time goes, {found.callers} callers",
        ("", *heads, "loop lag p99 ms"),
        rows,
        "CPU of the process that looks up, and of Redis. Lag: of the event loop that asks.",
    )


def _callers(found: Found) -> Table:
    rows = [
        [
            group.name,
            f"{group.merged.callers}",
            rate(group.achieved),
            ms(group.percentile(50.0)),
            milliseconds(trusted(group.all, 99.0)),
        ]
        for name in found.rivals
        for group in found.by_callers(name)
    ]
    heads = ("callers", "lookups/s", "p50 ms", "p99 ms")
    return Table("By number of callers", ("", *heads), rows, "p99 of all rounds together.")


def _offered(found: Found) -> Table:
    rows = []
    for name in ("ours", RIVAL):
        own = found.group(name, found.callers)
        rows += [
            [
                name,
                f"{group.merged.target_rate:g}",
                f"{(group.merged.target_rate or 0.0) / own.achieved.median:.0%}" if own else "-",
                rate(group.achieved),
                *(milliseconds(trusted(group.all, q)) for q in (50.0, 99.0)),
                "yes" if group.kept_up else "no",
            ]
            for group in found.by_rate(name)
        ]
    return Table(
        "By offered rate",
        ("", "offered/s", "of its capacity", "answered/s", "p50 ms", "p99 ms", "kept up"),
        rows,
        "Open loop: lookups leave at their times whatever happens, and latency counts from those. "
        f"Capacity: lookups/s by {found.callers} callers. All rounds together.",
    )


def _equal_load(found: Found) -> Table:
    rows = []
    if both := found.equal():
        values = [[g.all.percentile(q) or 0.0 for q in (50.0, 99.0)] for g in both]
        for group, own in zip(both, values, strict=True):
            rows.append([group.name, group.load, *map(milliseconds, own)])
        ratios = (f"{a / b:.3g}x" for a, b in zip(values[0], values[1], strict=True))
        rows.append(["ratio", "", *ratios])
    return Table("At equal load", ("", "offered", "p50 ms", "p99 ms"), rows)
