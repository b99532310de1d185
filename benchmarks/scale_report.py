"""The scale benchmark's report: ``scale.json``, ``scale.md`` and ``scale.png``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scale_fit import fit_costs, planner_costs, regret
from benchmarks.scale_measure import Row
from semcache_async.load.reports.drawing import COLOURS, Chart, legend
from semcache_async.load.reports.report import Chapter, Report, Table
from semcache_async.load.reports.report import write_report as write

__all__ = ["write_report"]

_LEAD = """What a search, an insert and an entry cost, by number of entries, kind of index, number
of scopes and share of the index that a scope is. Written by `python -m benchmarks.scale`; raw
figures in `scale.json`.

Entries: the vectors (MiniLM, 384 dimensions) of BANKING77's 10,003 training questions; past those,
mixtures of two of them (weight 0.5 to 1) plus noise of length 0.2, renormalised, which is not real
traffic and has a higher intrinsic dimension. Answers are 300 bytes. Queries: 1,000 of the 3,080
test questions, never stored, plus noise of length 0.1. Three neighbours are asked for. Each
configuration has an embedded Redis of its own on the same shared, noisy cores as the client: trust
ratios, not absolutes, and no p99 within a factor of two.

A million entries are measured on demand: `--sizes 1000000 --parts kinds,plan` takes an hour or
more, nearly all of it inserting into HNSW. The committed one ran while
other work had the second core: its recall and bytes stand, its rates are lower bounds.

*recall@1*: of the queries with an entry of their scope within 0.05, those that were given one.
*recall@3*: of the three nearest that exist (exact search in numpy, float32), those that were given.
"""
_WAYS = ("auto", "batches", "adhoc")
_WHEN = ("before", "during", "after")


def write_report(results: Row, output: Path) -> None:
    """Write all three for ``{entries: {part: figures}}``."""
    results = {size: results[size] for size in sorted(results, key=int)}
    made = {"kinds": _kinds, "scopes": _scopes, "plan": _plan, "graph": _graph}
    made |= {"memory": _memory, "purge": _purge}
    chapters = [
        make(found)
        for part, make in made.items()
        if (found := [(int(size), parts[part]) for size, parts in results.items() if part in parts])
    ]
    report = Report("Scale", _LEAD, chapters, facts={"Measured on": list(_machines(results))})
    write(report, output, "scale", {"scale.json": json.dumps(results, indent=1) + "\n"})


Found = list[tuple[int, Row]]
"""A part's figures, by number of entries."""


def _kinds(found: Found) -> Chapter:
    rows = [(size, row) for size, part in found for row in part["rows"]]
    rates = [
        [
            *(f"{size:,}", _kind(row), f"{row['inserts_per_s']:,.0f}"),
            *(f"{row['lone_inserts_per_s']:,.0f}", f"{row['p50_ms']:.2f}"),
            *(f"{row['p99_ms']:.2f}", f"{row['piped_per_s']:,.0f}", *_recall(row)),
        ]
        for size, row in rows
    ]
    sizes = [
        [
            *(f"{size:,}", _kind(row), f"{row['raw_bytes']:,.0f}"),
            *(f"{row['bytes_per_entry']:,.0f}", f"{row['vector_index_bytes']:,.0f}"),
            *(f"{row['overhead']:.2f}", f"{row['distance_off']:.1e}"),
        ]
        for size, row in rows
    ]
    efforts = [
        [f"{size:,}", row["way"], f"{row['ms']:.3f}", *_recall(row)]
        for size, part in found
        for row in part["efforts"]
    ]
    head = "entries, index, inserts/s, alone/s, p50 ms, p99 ms, searches/s, recall@1, recall@3"
    kept = "entries, index, raw vector + texts, in Redis, of it the vector index, times raw, "
    return Chapter(
        "Kinds of index",
        "One scope, through the store.",
        [
            _chart("Search, ms (p50; p99 dotted)", rows, "p50_ms", "p99_ms"),
            _chart("Recall@3", rows, "recall3"),
            _chart("Bytes per entry (raw dotted)", rows, "bytes_per_entry", "raw_bytes"),
        ],
        [
            _table(
                *("Speed", head, rates),
                "Rates in pipelines of 32 (searches: two under way), and inserts one at a time.",
            ),
            _table(
                *("Bytes per entry", f"{kept}largest error of a distance", sizes),
                "Redis keeps each vector twice: in the hash and in the index.",
            ),
            _table(
                "Effort of the graph walk (HNSW float32, one scope, pipelines of 8)",
                "entries, way, ms, recall@1, recall@3",
                efforts,
            ),
        ],
    )


def _scopes(found: Found) -> Chapter:
    rows = [
        [
            *(f"{size:,}", f"{row['scopes']:,}", f"{row['inserts_per_s']:,.0f}"),
            *(f"{row['bytes_per_entry']:,.0f}", f"{row['p50_ms']:.2f}"),
            *(f"{row['p99_ms']:.2f}", f"{row['piped_per_s']:,.0f}"),
            *(f"{row['count_ms']:.2f}", f"{row['info_ms']:.2f}", *_recall(row)),
        ]
        for size, part in found
        for row in part["rows"]
    ]
    head = "entries, scopes, inserts/s, bytes/entry, p50 ms, p99 ms, searches/s, count ms, info ms"
    lead = (
        "Equal scopes, HNSW float32, through the store; queries go through the scopes in turn. "
        "*count* and *info*: ms of the two questions by which the planner learns a scope's size, "
        "part of every search whose scope is due."
    )
    table = _table("By number of scopes", f"{head}, recall@1, recall@3", rows)
    return Chapter("Number of scopes", lead, [], [table])


def _plan(found: Found) -> Chapter:
    rows = [
        [
            *(f"{row['total']:,}", f"{row['scopes']:,}", f"{row['entries']:,}"),
            *(f"{row['ways']['auto']['ms']:.3f}", row["auto_is"].removesuffix("_bf")),
            *(f"{row['ways'][way]['ms']:.3f}" for way in _WAYS[1:]),
            *(row["pick"], min(_WAYS[1:], key=lambda way: float(row["ways"][way]["ms"]))),
            *(_share(row["ways"][way]["recall3"]) for way in _WAYS),
        ]
        for _, part in found
        for row in part["rows"]
    ]
    head = "index, scopes, scope, auto ms, auto is, batches(40) ms, adhoc ms, picks, best, "
    lead = (
        "HNSW float32, equal scopes in turn, pipelines of 8, the three ways in turns: median ms a "
        "query and recall@3. *auto is*: what Search chose unasked; *picks*: what the planner sends."
    )
    table = _table("By share of the index", f"{head}recall: auto, batches, adhoc", rows)
    large = [row for size, part in found for row in part["rows"] if size >= 10_000]
    return Chapter("Ways to search a scope", lead, [], [table, _costs(large)])


def _costs(rows: Sequence[Row]) -> Table:
    """None where there are no rows to fit."""
    table: list[list[str]] = []
    if rows:
        for name, costs in (
            ("planner", planner_costs()),
            ("fitted to this table", fit_costs(rows)),
        ):
            assumed = (f"{costs.compare:.6f}", f"{costs.walk:.3f}", f"{costs.walk_batch:.3f}")
            found = (f"{times:.2f}x" for times in regret(rows, costs.picks))
            table.append([name, *assumed, *found])
        for way in _WAYS:
            found = (f"{times:.2f}x" for times in regret(rows, lambda _, way=way: way))  # type: ignore[misc]
            table.append([f"always {way}", "", "", "", *found])
    said = (
        "Costs (ms) and what choosing by them costs against the faster of batches and adhoc, over "
        "the rows of indexes of 10,000 entries and more: geometric mean and worst."
    )
    return _table("Choosing", "chooser, compare, walk, walk batch, mean, worst", table, said)


def _graph(found: Found) -> Chapter:
    efforts = list(found[0][1]["rows"][0]["ways"])
    columns = ", ".join(f"{name} ms, recall@3" for name in efforts)
    rows = [
        [
            *(f"{size:,}", str(row["m"]), str(row["construction"])),
            *(f"{row['builds_per_s']:,.0f}", f"{row['vector_index_bytes']:,.0f}"),
            *(
                cell
                for way in (row["ways"][name] for name in efforts)
                for cell in (f"{way['ms']:.3f}", _share(way["recall3"]))
            ),
        ]
        for size, part in found
        for row in part["rows"]
    ]
    head = f"entries, M, EF_CONSTRUCTION, entries indexed/s, index bytes/entry, {columns}"
    lead = "float32, no filter, pipelines of 8."
    return Chapter("The graph", lead, [], [_table("M and EF_CONSTRUCTION", head, rows)])


def _memory(found: Found) -> Chapter:
    parts = ("hash", "graph", "search", "keyspace", "rest", "resident")
    rows = [
        [
            *(f"{size:,}", f"{row['dtype']}, {row['hashes']}", f"{row['raw']:,.0f}"),
            *(f"{row['total']:,.0f}", *(f"{row[part]:,.0f}" for part in parts)),
            *(f"{row['hget_us']:.2f}", f"{row['search_us']:.0f}", _share(row["recall3"])),
        ]
        for size, part in found
        for row in part["rows"]
    ]
    head = "entries, vectors and hashes, raw vector + texts, in Redis, hash and key, vector index, "
    head += "Search's tables, keyspace, rest, resident, HGET us, FT.SEARCH us, recall@3"
    lead = (
        "HNSW, one scope. *fields apart*: Redis's default; *one piece*: the embedded Redis's "
        "`hash-max-listpack-value`; *zstd*: `compress_over_bytes=200`, the answers being prose. "
        "*rest*: mostly what the allocator rounds the graph's blocks up to, which nobody touches, "
        "but `maxmemory` counts. *resident*: what the process really took. The "
        "costs of commands are the server's own count."
    )
    return Chapter("Memory", lead, [], [_table("Bytes per entry, by part", head, rows)])


def _purge(found: Found) -> Chapter:
    rows = [
        [
            *(f"{size:,}", row["load"], f"{row['removed']:,}", f"{row['seconds']:.1f}"),
            *(f"{row[when]['p50_ms']:.1f} / {row[when]['p99_ms']:.1f}" for when in _WHEN),
            f"{row['during']['p99_ms'] / row['before']['p99_ms']:.2f}x",
            *(f"{row[when]['per_s']:,.0f}" for when in _WHEN),
            ", ".join(f"{name} {ms}" for name, ms in row["blocks_ms"].items()),
        ]
        for size, part in found
        for row in part["rows"]
    ]
    waits = ", ".join(f"p50 / p99 ms {when}" for when in _WHEN)
    rates = ", ".join(f"lookups/s {when}" for when in _WHEN)
    head = f"entries, beside, removed, seconds, {waits}, p99 is, {rates}, longest blocks ms"
    lead = (
        "HNSW float32, one scope, a tag on 30 % of the entries. Blocks by Redis's latency monitor; "
        "the longest of the commands is an `FT.INFO`, one a purge."
    )
    return Chapter("A purge beside lookups", lead, [], [_table("Purging a tag", head, rows)])


def _machines(results: Row) -> Iterator[tuple[str, str]]:
    seen: dict[str, list[str]] = {}
    for size, parts in results.items():
        for name, part in parts.items():
            own = part["machine"]
            packages = ", ".join(f"{name} {version}" for name, version in own["packages"].items())
            text = (
                f"{own['cpu']}, {own['cpus']} CPUs, {own['memory_gb']} GB, {own['system']}, "
                f"{own['python']}, {packages}; commit {own['commit']}"
            )
            command = f"`--sizes {size} --parts {name}` ({part['seconds']:.0f} s)"
            seen.setdefault(text, []).append(command)
    yield from ((", ".join(commands), text) for text, commands in seen.items())


def _kind(row: Row) -> str:
    return f"{row['index'].upper()} {row['dtype']}"


def _recall(row: Row) -> tuple[str, str]:
    return _share(row["recall1"]), _share(row["recall3"])


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.4f}"


def _table(title: str, head: str, rows: Sequence[Sequence[str]], note: str = "") -> Table:
    return Table(title, head.split(", "), rows, note)


def _chart(title: str, rows: Found, solid: str, dotted: str = "") -> Chart:
    """Figures of each kind against the number of entries."""
    kinds = list(dict.fromkeys(_kind(row) for _, row in rows))

    def draw(axes: Any) -> None:
        for field, style in ((solid, "o-"), (dotted, "o:")):
            for number, kind in enumerate(kinds if field else ()):
                points = [(size, row[field]) for size, row in rows if _kind(row) == kind]
                label = kind if field == solid else None
                axes.plot(*zip(*points, strict=True), style, color=COLOURS[number][0], label=label)
        axes.set(xscale="log", xlabel="entries", yscale="log" if "ms" in title else "linear")
        if "Bytes" in title:
            axes.set_ylim(bottom=0)
        legend(axes)

    return Chart(title, "", draw)
