"""Tables of LLM calls, of what each part is worth, of the parts, of proxies and of entries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.bench.cells import ms, of, rate, spread, times
from benchmarks.bench.figures import Found
from benchmarks.bench.record import Row
from semcache_async.load.figures import Span
from semcache_async.load.histogram import Histogram
from semcache_async.load.tables import Table, milliseconds

__all__ = ["ablation", "embedder", "http", "intents", "parts", "scale"]

_HITS = ("exact", "semantic", "hit")


def intents(found: Found) -> Iterator[Table]:
    record = found.records.get("intents", {})
    for scenario, labels in record.get("turns", {}).items():
        rows = [
            [
                label,
                of(turns, "llm_calls", lambda v: f"{v:.0f}"),
                spread([t["llm_calls"] / t["intents"] for t in turns], lambda v: f"{v:.2f}"),
                *(_percentile(turns, q) for q in (50.0, 99.0)),
                f"{sum(t['other_intent'] for t in turns)} of {sum(t['requests'] for t in turns)}",
                f"{sum(len(t['failures']) for t in turns)}",
            ]
            for label, turns in labels.items()
        ]
        heads = ("LLM calls", "an intent", "p50 ms", "p99 ms", "of another intent", "failed")
        said = record["scenarios"][scenario]
        yield Table(f"{scenario.capitalize()}: {said}", ("", *heads), rows)


def ablation(found: Found) -> Table:
    rows = [
        [
            "packs",
            "ours-unpacked",
            f"lookups/s {times(_many(found, 'ours-unpacked', 'lookups/s'))}",
        ],
        ["", "", f"p99 {times(_many(found, 'ours-unpacked', 'p99'))}"],
        ["pipelines", "ours-unpipelined", _cpu(found)],
        ["", "", f"lookups/s {times(_many(found, 'ours-unpipelined', 'lookups/s'))}"],
    ]
    burst = found.records.get("intents", {}).get("turns", {}).get("burst", {})
    if "ours" in burst and "ours-flightless" in burst:
        pairs = zip(burst["ours"], burst["ours-flightless"], strict=False)
        calls = Span.of([a["llm_calls"] / b["llm_calls"] for a, b in pairs])
        rows.append(["flights", "ours-flightless", f"LLM calls of a burst {times(calls)}"])
    near, exact = found.part("local"), found.part("exact")
    if near and exact:
        gains = [a / b for a, b in zip(near["ours"], exact["ours"], strict=True)]
        shown = f"exact hits/s {times(Span.of(gains))}"
        rows.append(["local_answers (off by default)", "ours without", shown])
    return Table("What each part is worth", ("with", "against", "ours to it"), rows)


def parts(found: Found) -> Table:
    rows = []
    for row in found.records.get("parts", {}).get("compared", ()):
        own = (spread(row[side], _plain) for side in ("ours", "theirs"))
        rows.append([row["title"], *own, row["unit"], times(found.compared(row["key"]))])
    heads = ("ours", "the part", "", "ratio")
    return Table(
        "Against its parts", ("", *heads), rows, "Of turns taken together, in one process."
    )


def embedder(found: Found) -> Table:
    row = found.embedder
    if row is None:
        return Table("Embedder", (), [])
    tokens = row["tokens"] / row["texts"]
    return Table(
        f"Embedder ({row['backend']}), {row['texts']} questions of {tokens:.1f} tokens",
        ("", "texts/s", "tokens/s of a CPU", "of the peak"),
        [
            [
                name,
                spread([row["texts"] / s for s in way["seconds"]], lambda v: f"{v:,.0f}"),
                f"{found.tokens_per_s(name):,.0f}",
                f"{found.share_of_peak(name):.0%}",
            ]
            for name, way in row["ways"].items()
        ],
        f"Peak: {row['peak_flops'] / 1e9:.0f} GFLOP/s of float32 GEMM on one CPU, measured in the "
        f"same run; {row['flops_per_token'] / 1e6:.1f} MFLOP a token. Lowest cosine between the "
        f"ways: {row['cosine']:.6f}.",
    )


def http(found: Found) -> Table:
    rows = [
        [
            group.name,
            group.load,
            rate(group.achieved),
            ms(group.lookup_percentile(50.0)),
            ms(group.lookup_percentile(99.0)),
            f"{sum(len(h) for s, h in group.by_source.items() if s in _HITS) / len(group.all):.1%}",
            f"{sum(group.merged.errors.values())}",
        ]
        for group in found.http
        if len(group.all)
    ]
    heads = ("load", "answers/s", "p50 ms of hits", "p99 of hits", "hits", "failed")
    return Table("Over HTTP", ("", *heads), rows, "Medians over rounds (and their range).")


def scale(found: Found) -> Table:
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
        for size in sorted(found.scale or {}, key=int)
        for row in (found.scale or {})[size].get("kinds", {}).get("rows", ())
    ]
    heads = ("bytes an entry", "raw vector + texts", "times raw", "search p50 ms", "p99")
    return Table(
        "Cost of an entry, and of a search",
        ("entries", "index", *heads, "inserts/s", "recall@3"),
        rows,
        "Of results/scale.json; its own page, scale.md, has the rest.",
    )


# -- cells


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.4g}"


def _many(found: Found, label: str, metric: str) -> Span | None:
    return found.ratio(label, found.callers, metric)


def _cpu(found: Found) -> str:
    """CPU of a lookup, Redis's included."""
    taken = found.lookups.get("costs", {})
    own, other = taken.get("ours", ()), taken.get("ours-unpipelined", ())
    if not own or len(own) != len(other):
        return "CPU a lookup -"
    pairs = zip(own, other, strict=True)
    ratios = [sum(map(float, a.values())) / sum(map(float, b.values())) for a, b in pairs]
    return f"CPU a lookup {times(Span.of(ratios))}"


def _percentile(turns: Sequence[Row], q: float) -> str:
    values = [Histogram.decode(turn["latency"]).percentile(q) or 0.0 for turn in turns]
    return spread(values, milliseconds)
