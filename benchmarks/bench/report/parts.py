"""The cache's own parts: what each is worth, what remains of model and Redis, what entries cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.bench.figures import Found
from benchmarks.bench.report.curves import curves_chart, lines
from semcache_async.load.measured.cells import spanned, times
from semcache_async.load.measured.figures import Span
from semcache_async.load.reports.charts import bars_named
from semcache_async.load.reports.drawing import COLOURS, Chart
from semcache_async.load.reports.report import Chapter, Table

__all__ = ["ablation_chapter", "chapter", "entries_chapter"]


def chapter(found: Found) -> Chapter:
    chart = Chart(
        "Embedding: share of the matrix peak",
        "Work of the model's linear layers over what the CPUs in use could do in that time.",
        lambda axes: _peak(axes, found),
    )
    lead = "How much of what the model and Redis could do remains."
    tables = [_compared(found), _embedder(found)]
    return Chapter("Parts", lead, [chart] if found.embedder else [], tables)


def ablation_chapter(found: Found) -> Chapter:
    names = [name for name in found.labels if name == "ours" or name.startswith("ours-")]
    curves = lines(found.group(name, found.callers) for name in names)
    chart = curves_chart(
        f"Ours without packs or pipelines, {found.callers} callers",
        "Each curve merges the histograms of all rounds.",
        curves,
    )
    charts = [chart] if len(curves) > 1 else []
    table = Table("With and without", ("with", "against", "ours to it"), list(_ablation(found)))
    return Chapter("What each part is worth", "Ours with one thing taken out.", charts, [table])


def entries_chapter(found: Found) -> Chapter:
    rows = [
        [
            f"{row['entries']:,}",
            f"{row['index'].upper()} {row['dtype']}",
            f"{row['bytes_per_entry']:,.0f}",
            f"{row['raw_bytes']:,.0f}",
            f"{row['overhead']:.2f}x",
            f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            f"{row['inserts_per_s']:,.0f}",
            f"{row['recall3']:.4f}",
        ]
        for size in sorted(found.scale, key=int)
        for row in found.scale[size].get("kinds", {}).get("rows", ())
    ]
    heads = ("bytes an entry", "raw vector + texts", "times raw", "search p50 ms", "p99")
    table = Table(
        "Cost of an entry, and of a search",
        ("entries", "index", *heads, "inserts/s", "recall@3"),
        rows,
        "Of results/scale.json, a run of its own; its own page, scale.md, has the rest.",
    )
    return Chapter("Entries", "What they cost.", [], [table])


def _ablation(found: Found) -> Iterator[list[str]]:
    for part, label in (("packs", "ours-unpacked"), ("pipelines", "ours-unpipelined")):
        for metric in ("lookups/s", "p99"):
            yield [part, label, f"{metric} {times(found.ratio(label, found.callers, metric))}"]
        yield [part, label, f"CPU a lookup {times(_cpu(found, label))}"]
    burst = found.bursts
    if "ours" in burst and "ours-flightless" in burst:
        pairs = zip(burst["ours"], burst["ours-flightless"], strict=False)
        calls = Span.of([a["llm_calls"] / b["llm_calls"] for a, b in pairs])
        yield ["flights", "ours-flightless", f"LLM calls of a burst {times(calls)}"]
    near, exact = found.part("local"), found.part("exact")
    if near and exact:
        gains = [a / b for a, b in zip(near["ours"], exact["ours"], strict=True)]
        shown = f"exact hits/s {times(Span.of(gains))}"
        yield ["local_answers (off by default)", "ours without", shown]


def _cpu(found: Found, label: str) -> Span | None:
    """CPU of a lookup, Redis's included."""
    costs = found.lookups.get("costs", {})
    own, other = costs.get("ours", ()), costs.get(label, ())
    if not own or len(own) != len(other):
        return None
    pairs = zip(own, other, strict=True)
    return Span.of([sum(map(float, a.values())) / sum(map(float, b.values())) for a, b in pairs])


def _compared(found: Found) -> Table:
    def plain(value: float) -> str:
        return f"{value:,.0f}" if value >= 1_000 else f"{value:.4g}"

    rows = [
        [
            row["title"],
            *(spanned(Span.of(row[side]), plain) for side in ("ours", "theirs")),
            row["unit"],
            times(found.compared(row["key"])),
        ]
        for row in found.records.get("parts", {}).get("compared", ())
    ]
    heads = ("ours", "the part", "", "ratio")
    said = "Of turns taken together, in one process."
    return Table("Against its parts", ("", *heads), rows, said)


def _embedder(found: Found) -> Table:
    row = found.embedder
    if row is None:
        return Table("Embedder", (), [])
    rows = [
        [
            name,
            spanned(Span.of([row["texts"] / s for s in way["seconds"]]), lambda v: f"{v:,.0f}"),
            f"{found.tokens_per_s(name):,.0f}",
            f"{found.share_of_peak(name):.0%}",
        ]
        for name, way in row["ways"].items()
    ]
    tokens = row["tokens"] / row["texts"]
    return Table(
        f"Embedder ({row['backend']}), {row['texts']} questions of {tokens:.1f} tokens",
        ("", "texts/s", "tokens/s of a CPU", "of the peak"),
        rows,
        f"Peak: {row['peak_flops'] / 1e9:.0f} GFLOP/s of float32 GEMM on one CPU, measured in the "
        f"same run; {row['flops_per_token'] / 1e6:.1f} MFLOP a token. Lowest cosine between the "
        f"ways: {row['cosine']:.6f}.",
    )


def _peak(axes: Any, found: Found) -> None:
    """Share of the matrix peak, by way of embedding."""
    assert found.embedder is not None
    ways = list(found.embedder["ways"])
    shares = [100.0 * found.share_of_peak(way) for way in ways]
    colours = [COLOURS[0 if way.startswith("packed") else 1][0] for way in ways]
    axes.barh(range(len(ways)), shares, 0.4, color=colours)
    axes.set(ylim=(len(ways) - 0.6, -0.8), xlabel="% of a CPU's measured float32 matrix peak")
    bars_named(axes, ways)
