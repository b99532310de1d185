"""Tables of lookups: by callers, against offered load, and what may be claimed of them."""

from __future__ import annotations

from benchmarks.bench.cells import ms, of, rate, times
from benchmarks.bench.figures import METRICS, Found
from benchmarks.bench.lookups import RIVAL
from benchmarks.bench.sizes import AGAIN
from semcache_async.load.figures import trusted
from semcache_async.load.tables import Table, milliseconds

__all__ = [
    *("against_ours", "callers_table", "costs", "equal_load", "lookups", "noise", "offered"),
]

_SPREAD = "Medians over rounds (and their range); p99.9 of all rounds together."


def lookups(found: Found) -> Table:
    rows = []
    for label in found.labels:
        group, rest = found.group(label, found.callers), found.group(label, 1)
        if group is None:
            continue
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
    return Table(f"{found.callers} callers, and one", ("", *heads), rows, _SPREAD)


def costs(found: Found) -> Table:
    rows = []
    for label in found.labels:
        group, alone = found.group(label, found.callers), found.embedding(label, found.callers)
        if group is None:
            continue
        taken = found.lookups["costs"].get(label, ())
        rows.append(
            [
                label,
                rate(alone),
                f"{group.achieved.median / alone.median:.0%}" if alone else "-",
                *(of(taken, key, lambda v: f"{v:.2f}") for key in ("worker_ms", "redis_ms")),
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


def against_ours(found: Found) -> Table:
    rows = []
    for label in found.labels:
        if label == "ours":
            continue
        cells = []
        for metric, callers in ((m, c) for c in (found.callers, 1) for m in METRICS):
            if (metric, callers) in (("lookups/s", 1), ("p99", 1)):
                continue
            span = found.ratio(label, callers, metric)
            verdict = found.verdict(span, metric, callers) if label != AGAIN else ""
            noisy = " (within noise)" if verdict == "within noise" else ""
            cells.append(f"{times(span)}{noisy}")
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


def noise(found: Found) -> Table:
    return Table(
        "Noise floor",
        ("", "callers", f"ours and {AGAIN} differed by up to"),
        [
            [metric, f"{callers}", f"{floor:.1%}"]
            for (metric, callers), floor in found.floor.items()
        ],
        "In any one round. No win is claimed for a smaller difference of medians.",
    )


def callers_table(found: Found) -> Table:
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


def offered(found: Found) -> Table:
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
        "Latency against offered load",
        ("", "offered/s", "of its capacity", "answered/s", "p50 ms", "p99 ms", "kept up"),
        rows,
        "Open loop: lookups leave at their times whatever happens, and latency counts from those. "
        f"Capacity: lookups/s by {found.callers} callers. All rounds together.",
    )


def equal_load(found: Found) -> Table:
    rows = []
    if both := found.equal():
        values = [[g.all.percentile(q) or 0.0 for q in (50.0, 99.0)] for g in both]
        for group, own in zip(both, values, strict=True):
            rows.append([group.name, group.load, *map(milliseconds, own)])
        rows.append(
            ["ratio", "", *(f"{a / b:.3g}x" for a, b in zip(values[0], values[1], strict=True))]
        )
    return Table("At equal load", ("", "offered", "p50 ms", "p99 ms"), rows)
