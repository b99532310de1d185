"""The report's tables, for whatever shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from semcache_async.load.figures import LATE_S, Group, Span, compare, noise_floor, trusted
from semcache_async.load.histogram import HIGHEST_S, Histogram
from semcache_async.load.targets import SOURCES

__all__ = [
    "Table",
    "all_tables",
    "latency_table",
    "machine_rows",
    "milliseconds",
    "spanned",
    "summaries",
    "warnings",
]

_PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_HEADS = ("p50", "p90", "p99", "p99.9")


class Table(NamedTuple):
    """Cells as people read them; the first column is text, the others are numbers."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def all_tables(groups: Sequence[Group]) -> list[Table]:
    """Those that have something to say."""
    tables = [
        _loads(groups),
        _comparisons(groups),
        _noise(groups),
        *(latency_table(group) for group in groups),
        _driver(groups),
        _errors(groups),
    ]
    return [table for table in tables if table.rows]


def summaries(groups: Sequence[Group]) -> list[Table]:
    """What says something about several runs."""
    return [table for table in (_loads(groups), _noise(groups)) if table.rows]


def milliseconds(seconds: float | None) -> str:
    """Three digits or so, without the unit."""
    if seconds is None:
        return "-"
    ms = seconds * 1_000
    if ms < 9.995:
        return f"{ms:.2f}"
    return f"{ms:.1f}" if ms < 99.95 else f"{ms:,.0f}"


def warnings(groups: Sequence[Group]) -> Iterator[str]:
    """What a reader must know before believing the figures."""
    kinds: dict[str, list[str]] = {}
    for group in groups:
        for where, what in _doubts(group):
            kinds.setdefault(what, []).append(where)
    for what, places in kinds.items():
        yield f"{', '.join(places)}: {what}"


def latency_table(group: Group) -> Table:
    """Latency by source."""
    rows = [_latencies(name, times, len(group.all)) for name, times in group.by_source.items()]
    rows.append(_latencies("all", group.all, len(group.all)))
    first = group.times("first_token")
    if len(first):
        rows.append(_latencies("to the first token", first, len(group.all)))
    sources = "; ".join(f"{name}: {SOURCES[name]}" for name in group.by_source)
    began = "was due" if group.is_open else "was sent"
    return Table(
        f"Latency, {group.label}, in ms from when a request {began}",
        ("answered from", "requests", "share", *_HEADS, "max"),
        rows,
        f"{sources}. -: too few requests for that percentile.",
    )


def machine_rows(groups: Sequence[Group]) -> Iterator[tuple[str, str]]:
    """Each machine of the results once."""
    for machine in dict.fromkeys(_frozen(group) for group in groups):
        yield from machine


# -- the tables


def _loads(groups: Sequence[Group]) -> Table:
    repeats = max(len(group.results) for group in groups)
    spread = f" Medians (and ranges) over {repeats} repeats." if repeats > 1 else ""
    return Table(
        "Loads",
        (
            *("", "offered/s", "answered/s", "lookup p50 ms", "lookup p99 ms"),
            *("p50 ms", "p99 ms", "LLM calls/intent"),
        ),
        [
            [
                group.label,
                _rate(group.offered) if group.is_open else "-",
                _rate(group.achieved),
                *(_ms(group.lookup_percentile(q)) for q in (50.0, 99.0)),
                *(_ms(group.percentile(q)) for q in (50.0, 99.0)),
                "-" if (calls := group.calls_per_intent) is None else f"{calls:.2f}",
            ]
            for group in groups
        ],
        "Lookups: what waited for no LLM. LLM calls and intents are those of the whole run, "
        f"warm-up included.{spread}",
    )


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
        yield (f"{group.label} ({failed:,} of {group.merged.due:,} requests)", "not answered.")
    if group.all.max >= HIGHEST_S * 0.999:
        yield group.label, f"times beyond {HIGHEST_S:g} s are counted as that."


def _latencies(name: str, times: Histogram, total: int) -> list[str]:
    return [
        name,
        f"{len(times):,}",
        f"{len(times) / max(1, total):.1%}",
        *(milliseconds(trusted(times, q)) for q in _PERCENTILES),
        milliseconds(times.max if len(times) else None),
    ]


def _comparisons(groups: Sequence[Group]) -> Table:
    verdicts = {True: "differs", False: "within noise", None: "noise unknown"}
    return Table(
        f"Compared with {groups[0].name}",
        ("", "metric", "ratio", ""),
        [
            [
                f"{one.name} at {one.load}",
                one.metric,
                f"{one.ratio:.2f}x",
                verdicts[one.beyond_noise],
            ]
            for one in compare(groups)
        ],
        "Ratios of medians. No win is claimed for what is within noise.",
    )


def _noise(groups: Sequence[Group]) -> Table:
    return Table(
        "Noise floor",
        ("metric", "identical runs differed by"),
        [[metric, f"{floor:.1%}"] for metric, floor in noise_floor(groups).items()],
        "Range over median, of the load where it was largest. A smaller difference is not claimed "
        "as a win.",
    )


def _driver(groups: Sequence[Group]) -> Table:
    def both(times: Histogram) -> list[str]:
        return [milliseconds(trusted(times, q)) for q in (50.0, 99.0)]

    return Table(
        "The driver",
        (
            *("", "sent late p50", "p99", "event loop lag p50", "p99", "service p50", "p99"),
            *("under way at most",),
        ),
        [
            [
                group.label,
                *both(group.times("lateness")),
                *both(group.times("lag")),
                *both(group.times("service")),
                f"{group.merged.peak:,}",
            ]
            for group in groups
        ],
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


def _frozen(group: Group) -> tuple[tuple[str, str], ...]:
    machine = group.merged.machine
    memory = f", {machine.memory_gb:g} GB" if machine.memory_gb else ""
    return (
        ("CPU", f"{machine.cpu}, {machine.cpus} usable{memory}"),
        ("extensions", " ".join(machine.flags) or "none that is known"),
        ("system", f"{machine.system}, {machine.python}"),
        ("packages", ", ".join(f"{name} {v}" for name, v in machine.packages.items())),
        ("commit", machine.commit or "not a checkout"),
        ("command", machine.command),
    )


def _rate(span: Span) -> str:
    return spanned(span, lambda value: f"{value:,.1f}" if value < 100 else f"{value:,.0f}")


def _ms(span: Span | None) -> str:
    return "-" if span is None else spanned(span, milliseconds)


def spanned(span: Span, show: Callable[[float], str]) -> str:
    """Median, and range where there is one."""
    text = show(span.median)
    return text if span.low == span.high else f"{text} ({show(span.low)}-{show(span.high)})"
