"""What the results of ``semcache load`` say: the report, and the tables that a terminal shows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec

from semcache_async.load.asking.targets import SOURCES
from semcache_async.load.extra import LoadError
from semcache_async.load.measured.cells import milliseconds, ms, rate
from semcache_async.load.measured.figures import (
    HITS,
    LATE_S,
    Group,
    compare,
    focus_of,
    grouped,
    noise_floor,
    trusted,
)
from semcache_async.load.measured.histogram import HIGHEST_S
from semcache_async.load.measured.result import Result
from semcache_async.load.reports.charts import (
    SOURCE_COLOURS,
    answered_by_load,
    latency_by_load,
    percentile_curves,
    source_shares,
    throughput,
)
from semcache_async.load.reports.drawing import Chart
from semcache_async.load.reports.report import Chapter, Report, Table, write_report

__all__ = ["latency_table", "loads_tables", "render", "warnings"]

_PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_HEADS = ("p50", "p90", "p99", "p99.9")


def render(results: Sequence[Result], directory: Path) -> Path:
    """Write ``report.html``, ``report.md``, ``report.png`` and ``results.json``; returns the
    page's path. Raises ``LoadError`` where there is nothing to show, matplotlib is missing or the
    directory cannot be written."""
    if not results:
        raise LoadError("There are no results to report.")
    raw = {"results.json": msgspec.json.encode(results).decode()}
    return write_report(_report(grouped(results)), directory, "report", raw, page=True)


def _report(groups: Sequence[Group]) -> Report:
    names = ", ".join(dict.fromkeys(group.name for group in groups))
    latency = [latency_table(group) for group in groups]
    driver = [_driver(groups), _errors(groups)]
    return Report(
        title=f"Load: {names}",
        lead=f"{_how(groups)} {time.strftime('%Y-%m-%d %H:%M %Z')}",
        cards=list(_cards(focus_of(groups))),
        warnings=list(warnings(groups)),
        chapters=[
            Chapter("Load by load", "", list(_load_charts(groups)), loads_tables(groups)),
            Chapter("Latency", "", list(_latency_charts(groups)), latency),
            Chapter("The driver", "", [_lag_chart(groups)], driver),
        ],
        facts={"What was asked": list(_asked(groups)), "Measured on": list(_machines(groups))},
    )


def warnings(groups: Sequence[Group]) -> Iterator[str]:
    """What a reader must know before believing the figures."""
    kinds: dict[str, list[str]] = {}
    for group in groups:
        for where, what in _doubts(group):
            kinds.setdefault(what, []).append(where)
    for what, places in kinds.items():
        yield f"{', '.join(places)}: {what}"


def _doubts(group: Group) -> Iterator[tuple[str, str]]:
    """Where and how much, and what that means."""
    late = group.times("lateness").percentile(99.0)
    if late is not None and late > LATE_S:
        yield (
            f"{group.label} (p99 {milliseconds(late)} ms)",
            (
                "requests left late, since the driver was short of CPU or a target in its process "
                "kept the event loop busy. That time counts in the latencies."
            ),
        )
    if not group.kept_up:
        yield (
            f"{group.label} ({group.achieved.median:,.0f} of {group.offered.median:,.0f}/s)",
            (
                "not all that was offered was answered in time. Beyond saturation, latency is as "
                "long as the run."
            ),
        )
    if group.merged.held:
        yield (
            f"{group.label} ({group.merged.held:,} requests)",
            f"held back while {group.merged.max_in_flight:,} were under way. Their wait counts.",
        )
    if group.merged.errors:
        failed = sum(group.merged.errors.values())
        yield f"{group.label} ({failed:,} of {group.merged.due:,} requests)", "not answered."
    if group.all.max >= HIGHEST_S * 0.999:
        yield group.label, f"times beyond {HIGHEST_S:g} s are counted as that."


def _how(groups: Sequence[Group]) -> str:
    first = groups[0].merged
    kind = (
        "Open loop: requests leave at their intended times, and latency counts from those."
        if groups[0].is_open
        else "Closed loop: each caller asks again once it is answered."
    )
    repeats = len(groups[0].results)
    each = f"{groups[0].results[0].duration_s:g} s after {first.warm_up_s:g} s of warm-up"
    return f"{kind} {each}, {repeats} {'run' if repeats == 1 else 'identical runs'} of each load."


def _cards(group: Group) -> Iterator[tuple[str, str, str]]:
    yield f"{group.achieved.median:,.0f}", "/s", f"answered at {group.load}"
    for q in (50.0, 99.0):
        span = group.lookup_percentile(q)
        yield milliseconds(span and span.median), " ms", f"p{q:g} of lookups"
    hits = sum(len(times) for name, times in group.by_source.items() if name in HITS)
    yield f"{hits / max(1, len(group.all)):.0%}", "", "answered by a stored answer"
    if (calls := group.calls_per_intent) is not None:
        yield f"{calls:.2f}", "", "LLM calls per intent"


def _asked(groups: Sequence[Group]) -> Iterator[tuple[str, str]]:
    """Each workload once, with the loads it was asked at; then the notes."""
    loads: dict[str, list[str]] = {}
    for group in groups:
        loads.setdefault(group.merged.workload, []).append(group.load)
    for workload, at in loads.items():
        yield ", ".join(dict.fromkeys(at)), workload
    for note in dict.fromkeys(note for group in groups for note in group.merged.notes):
        yield "note", note


def _machines(groups: Sequence[Group]) -> Iterator[tuple[str, str]]:
    """Each machine of the results once."""
    for facts in dict.fromkeys(tuple(group.merged.machine.facts()) for group in groups):
        yield from facts


# -- tables


def loads_tables(groups: Sequence[Group]) -> list[Table]:
    """What is said of several runs."""
    repeats = max(len(group.results) for group in groups)
    spread = f" Medians (and ranges) over {repeats} repeats." if repeats > 1 else ""
    verdicts = {True: "differs", False: "within noise", None: "noise unknown"}
    loads = Table(
        "Loads",
        (
            *("", "offered/s", "answered/s", "lookup p50 ms", "lookup p99 ms"),
            *("p50 ms", "p99 ms", "LLM calls/intent"),
        ),
        [
            [
                group.label,
                rate(group.offered) if group.is_open else "-",
                rate(group.achieved),
                *(ms(group.lookup_percentile(q)) for q in (50.0, 99.0)),
                *(ms(group.percentile(q)) for q in (50.0, 99.0)),
                "-" if (calls := group.calls_per_intent) is None else f"{calls:.2f}",
            ]
            for group in groups
        ],
        "Lookups: what waited for no LLM. LLM calls and intents are those of the whole run, "
        f"warm-up included.{spread}",
    )
    compared = Table(
        f"Compared with {groups[0].name}",
        ("", "metric", "ratio", ""),
        [
            [f"{c.name} at {c.load}", c.metric, f"{c.ratio:.2f}x", verdicts[c.beyond_noise]]
            for c in compare(groups)
        ],
        "Ratios of medians. No win is claimed for what is within noise.",
    )
    noise = Table(
        "Noise floor",
        ("metric", "identical runs differed by"),
        [[metric, f"{floor:.1%}"] for metric, floor in noise_floor(groups).items()],
        "Range over median, of the load where it was largest. A smaller difference is not claimed "
        "as a win.",
    )
    return [loads, compared, noise]


def latency_table(group: Group) -> Table:
    """Latency by source."""
    named = {**group.by_source, "all": group.all}
    if len(first := group.times("first_token")):
        named["to the first token"] = first
    rows = [
        [
            name,
            f"{len(times):,}",
            f"{len(times) / max(1, len(group.all)):.1%}",
            *(milliseconds(trusted(times, q)) for q in _PERCENTILES),
            milliseconds(times.max if len(times) else None),
        ]
        for name, times in named.items()
    ]
    sources = "; ".join(f"{name}: {SOURCES[name]}" for name in group.by_source)
    began = "was due" if group.is_open else "was sent"
    return Table(
        f"Latency, {group.label}, in ms from when a request {began}",
        ("answered from", "requests", "share", *_HEADS, "max"),
        rows,
        f"{sources}. -: too few requests for that percentile.",
    )


def _driver(groups: Sequence[Group]) -> Table:
    def cells(group: Group) -> Iterator[str]:
        for which in ("lateness", "lag", "service"):
            times = group.times(which)
            yield from (milliseconds(trusted(times, q)) for q in (50.0, 99.0))

    return Table(
        "Lateness and lag",
        (
            *("", "sent late p50", "p99", "event loop lag p50", "p99", "service p50", "p99"),
            *("under way at most",),
        ),
        [[group.label, *cells(group), f"{group.merged.peak:,}"] for group in groups],
        "In ms. Lag: how late a timer of every 5 ms fires in the driver's event loop, which a "
        "target in process shares. Service: from sending, so without what a stall holds up.",
    )


def _errors(groups: Sequence[Group]) -> Table:
    return Table(
        "Not answered",
        ("", "why", "requests"),
        [
            [group.label, kind, f"{count:,}"]
            for group in groups
            for kind, count in sorted(group.merged.errors.items())
        ],
    )


# -- charts


def _latency_charts(groups: Sequence[Group]) -> Iterator[Chart]:
    focus = focus_of(groups)
    lines = dict(focus.by_source)
    if len(lines) > 1:
        lines["all"] = focus.all
    yield Chart(
        f"Latency by source, {focus.label}",
        "Each curve: the share of requests that were answered within a time.",
        partial(
            percentile_curves, lines=[(name, SOURCE_COLOURS[name], t) for name, t in lines.items()]
        ),
    )
    if len(groups) > 1:
        both = [(group.label, number, group.all) for number, group in enumerate(groups)]
        yield Chart(
            "Latency of all requests, load by load",
            "All sources together, repeats together.",
            partial(percentile_curves, lines=both),
        )


def _lag_chart(groups: Sequence[Group]) -> Chart:
    lines = [(group.label, number, group.times("lag")) for number, group in enumerate(groups)]
    return Chart(
        "Event loop lag",
        "How late timers fire in the driver's event loop, which a target in process shares.",
        partial(percentile_curves, lines=lines),
    )


def _load_charts(groups: Sequence[Group]) -> Iterator[Chart]:
    yield Chart("Answered from", "Load by load.", lambda axes: source_shares(axes, groups))
    sweeps: dict[str, list[Group]] = {}
    for group in groups:
        sweeps.setdefault(group.name, []).append(group)
    sweeps = {name: own for name, own in sweeps.items() if len(own) > 1}
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
            lambda axes: answered_by_load(axes, opened),
        )
    if any(group.lookup_percentile(99.0) for own in sweeps.values() for group in own):
        yield Chart(
            "Throughput against p99 of lookups",
            "Right and low is better; where a curve turns up, more load only waits longer.",
            lambda axes: throughput(axes, sweeps),
        )
