"""What the demo measured, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from semcache_async.demo.live import Outcome
from semcache_async.demo.running import DemoResult
from semcache_async.types import Source

__all__ = ["LabelCheck", "check_labels", "percentile", "print_report"]

_PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
_EXAMPLES = 6

T = TypeVar("T")


class LabelCheck:
    """Answers made for another wording, and how many of those wordings BANKING77 labels with
    another intent than the prompt's: an estimate of the wrong hits."""

    def __init__(self) -> None:
        self.served = 0
        self.other = 0

    @property
    def share(self) -> float:
        return self.other / self.served if self.served else 0.0

    def __str__(self) -> str:
        return f"{self.other:,} of {self.served:,} ({self.share:.1%})"


def check_labels(result: DemoResult, source: Source) -> LabelCheck:
    """The check of one source's answers, those to the very same wording left out."""
    labels = _labels(result)
    check = LabelCheck()
    for arrival, answer, _ in result.outcomes:
        if answer.source is source and answer.distance and answer.matched_prompt:
            check.served += 1
            check.other += labels[answer.matched_prompt] != arrival.question.intent
    return check


def percentile(seconds: Sequence[float], q: float) -> float | None:
    """Milliseconds; None where the sample is too small to have that percentile."""
    if len(seconds) * (100.0 - q) < 100.0:
        return None
    return float(np.percentile(seconds, q)) * 1_000


def print_report(result: DemoResult, console: Console) -> None:
    """Every table, and whether the counters add up."""
    for make in (_latencies, _facts, _traps, _capacity, _hits, _near_misses):
        section = make(result)
        if section.table.row_count:
            console.print(f"\n[bold]{section.title}[/]")
            console.print(section.table)
            if section.note:
                console.print(f"[dim]{section.note}[/]")
    console.print()
    _print_sums(result, console)


class _Section(NamedTuple):
    title: str
    table: Table
    note: str = ""


def _labels(result: DemoResult) -> dict[str, str]:
    return {arrival.prompt: arrival.question.intent for arrival in result.arrivals}


def _table(*columns: str, texts: int = 1) -> Table:
    """The first ``texts`` columns hold text, the others numbers."""
    table = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < texts else "right")
    return table


# -- latency


def _latencies(result: DemoResult) -> _Section:
    names = [f"p{q:g}" for q in _PERCENTILES]
    table = _table("answered from", "requests", "share", *names, "max")
    total = len(result.outcomes)
    for source in Source:
        latencies = [o.latency_s for o in result.outcomes if o.answer.source is source]
        if latencies or source is not Source.BYPASSED:
            table.add_row(*_latency_row(source.value, latencies, total))
    table.add_section()
    everything = [outcome.latency_s for outcome in result.outcomes]
    table.add_row(*_latency_row("all, with cache", everything, total), style="bold green")
    table.add_row(*_latency_row("all, without cache", result.plain_latencies, total), style="red")
    return _Section(
        "Latency in ms, from the moment each request was due",
        table,
        "exact, semantic: a stored answer; shared: another caller's LLM call; generated: its own "
        "LLM call. -: too few requests for that percentile.",
    )


def _latency_row(name: str, latencies: Sequence[float], total: int) -> Iterator[str]:
    yield name
    yield f"{len(latencies):,}"
    yield f"{len(latencies) / max(1, total):.1%}"
    for q in _PERCENTILES:
        yield _ms(percentile(latencies, q))
    yield _ms(max(latencies) * 1_000 if latencies else None)


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


# -- what it took


def _facts(result: DemoResult) -> _Section:
    table = _table("", "with cache", "without cache")
    llm, plain = result.llm, result.plain_llm
    saved = plain.seconds - llm.seconds
    table.add_row("LLM calls", f"{llm.calls:,}", f"{plain.calls:,}")
    table.add_row("LLM seconds", f"{llm.seconds:,.0f}", f"{plain.seconds:,.0f}")
    table.add_row("LLM seconds saved (both runs measured)", f"{saved:,.0f}", "")
    for name, value in _own_facts(result):
        table.add_row(name, value, "")
    return _Section(
        "The same traffic at the same moments",
        table,
        "* An estimate of the wrong hits. BANKING77's labels are noisy: an audit doubted about "
        "14 % of them.",
    )


def _own_facts(result: DemoResult) -> Iterator[tuple[str, str]]:
    stats, replayed, total = result.stats, result.replayed, len(result.arrivals)
    flights = {
        outcome.answer.entry_id or outcome.answer.matched_prompt
        for outcome in result.outcomes
        if outcome.answer.source is Source.SHARED
    }
    yield "LLM calls that several callers shared", f"{len(flights):,}"
    yield "crowds of reworded questions in the traffic", f"{_crowds(result):,}"
    offered = total / max(arrival.at_s for arrival in result.arrivals)
    yield "offered requests/s", f"{offered:,.1f}"
    yield "answered requests/s (until the last answer)", f"{total / replayed.seconds:,.1f}"
    yield "requests under way at once, at most", f"{replayed.peak:,}"
    yield "sent late by the generator, p50 / p99 (counted above)", _late(replayed.late_s)
    searched = stats.searches / replayed.seconds
    yield (
        "searches/s, texts embedded (this traffic's need, no limit)",
        (f"{searched:,.1f}, {stats.embedded_texts:,}"),
    )
    yield "semantic hit spends in exact / embed / search, median", _stages(result.outcomes)
    yield "embedder", stats.embedder
    for source in (Source.SEMANTIC, Source.SHARED):
        check = check_labels(result, source)
        yield f"{source.value}: other wording with another intent label *", str(check)
    errors = (stats.store_errors, stats.embed_errors, stats.lookup_timeouts)
    if any(errors):
        yield "store errors / embed errors / lookup timeouts", " / ".join(map(str, errors))


def _crowds(result: DemoResult) -> int:
    return len({arrival.crowd for arrival in result.arrivals} - {None})


def _late(late_s: Sequence[float]) -> str:
    p50, p99 = np.percentile(late_s, [50, 99]) * 1_000
    return f"{p50:.1f} / {p99:.1f} ms"


def _stages(outcomes: Sequence[Outcome]) -> str:
    spent = [
        (o.answer.timings.exact_s, o.answer.timings.embed_s, o.answer.timings.search_s)
        for o in outcomes
        if o.answer.source is Source.SEMANTIC
    ]
    if not spent:
        return "-"
    return " / ".join(f"{value * 1_000:.1f}" for value in np.median(spent, axis=0)) + " ms"


def _capacity(result: DemoResult) -> _Section:
    table = _table("prompts", "lookups/s", "hits")
    for capacity in result.capacities:
        rate = capacity.lookups / capacity.seconds
        share = capacity.hits / max(1, capacity.lookups)
        table.add_row(capacity.prompts, f"{rate:,.0f}", f"{share:.1%}")
    return _Section(
        "Capacity: 64 callers, each looking up again once answered",
        table,
        "Seen prompts are found without running the model; unseen ones cost an embedding each.",
    )


# -- look-alikes


def _traps(result: DemoResult) -> _Section:
    table = _table("stored", "asked", "distance", "a threshold alone", "with guards", texts=2)
    for pair, distance, within, served, refused_by in result.traps:
        hit = "right hit" if pair.same else "[red]wrong hit[/]"
        missed = f"[green]{refused_by}[/]" if refused_by else "miss"
        table.add_row(
            *(escape(pair.stored), escape(pair.asked), f"{distance:.3f}"),
            *(hit if within else "miss", hit if served else missed),
        )
    tempting = [one for one in result.traps if one.within and not one.pair.same]
    same = [one for one in result.traps if one.within and one.pair.same]
    return _Section(
        f"Look-alikes (max_distance {result.max_distance:g}): hits, or the guard that refuses one",
        table,
        f"A threshold alone would serve {len(tempting)} wrong answers here; guards let "
        f"{sum(one.served for one in tempting)} of them through, and "
        f"{sum(one.served for one in same)} of {len(same)} right ones. Chosen by hand: "
        "`make bench-quality` measures 736.",
    )


# -- examples


def _hits(result: DemoResult) -> _Section:
    table = _table("asked", "answered as", "distance", "intent labels", texts=2)
    labels = _labels(result)
    found = {}
    for arrival, answer, _ in result.outcomes:
        if answer.source is Source.SEMANTIC and answer.matched_prompt and answer.distance:
            found[answer.matched_prompt] = (answer.distance, arrival)
    pairs = [
        (distance, asked.prompt, matched, asked.question.intent, labels[matched])
        for matched, (distance, asked) in found.items()
    ]
    disputed = [pair for pair in pairs if pair[3] != pair[4]][: _EXAMPLES // 2]
    agreed = sorted(pair for pair in pairs if pair[3] == pair[4])
    for pair in sorted([*disputed, *_spread(agreed, _EXAMPLES - len(disputed))]):
        _add_pair(table, *pair)
    return _Section(f"Semantic hits (max_distance {result.max_distance:g})", table)


def _near_misses(result: DemoResult) -> _Section:
    table = _table("asked", "nearest stored", "distance", "intent labels", texts=2)
    labels = _labels(result)
    shown: set[str] = set()
    for asked, nearest, distance in result.near_misses:
        if table.row_count < _EXAMPLES and shown.isdisjoint((asked, nearest)):
            shown |= {asked, nearest}
            _add_pair(table, distance, asked, nearest, labels[asked], labels[nearest])
    return _Section(
        "Near-misses: the LLM was called, the nearest stored prompt is just too far",
        table,
        "Among a sample of the stored prompts.",
    )


def _add_pair(
    table: Table, distance: float, asked: str, matched: str, intent: str, other: str
) -> None:
    verdict = "same" if intent == other else f"{intent} / {other}"
    table.add_row(escape(asked), escape(matched), f"{distance:.3f}", escape(verdict))


def _spread(ranked: Sequence[T], count: int) -> list[T]:
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).astype(int)
    return [ranked[place] for place in places]


# -- sums


def _print_sums(result: DemoResult, console: Console) -> None:
    stats = result.stats
    parts = [(source.value, stats[source.value]) for source in Source]
    parts += [("shed", stats.shed), ("failed", stats.failed)]
    written = " + ".join(f"{count:,} {name}" for name, count in parts if count)
    disagreements = result.disagreements()
    if disagreements:
        console.print(f"[red]The counters do not add up: {escape('; '.join(disagreements))}.[/]")
        return
    console.print(
        f"[green]The counters add up[/]: {stats.requests:,} requests = {written}; "
        f"{stats.llm_calls:,} LLM calls counted by the cache and by the LLM."
    )
