"""How the store scales: entries, kinds of index, scopes, and what the KNN planner chooses.

    python -m benchmarks.scale [--sizes 1000,10000,100000] [--seed 0] [--output benchmarks/results]
        [--parts kinds,scopes,plan,graph,memory,purge]

- kinds: HNSW float32, HNSW float16 and FLAT float32: insert rate, bytes, latency, recall;
  with HNSW float32, the same searches by other EF_RUNTIME and batch sizes
- scopes: the entries divided equally among 1, 10, 100 and 1,000 scopes
- plan: ways to search a scope (auto, BATCHES, ADHOC_BF) by its size, against the planner's choice
- graph: other M and EF_CONSTRUCTION over the same entries
- memory: where the bytes of an entry go, by type of vector and by how Redis keeps its hash
- purge: how long a tag of 30 % of the entries takes to purge, and how long lookups wait meanwhile

Sizes and parts that an earlier run left in ``scale.json`` stay, each with its machine and command.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import uvloop

from benchmarks.scale_data import SHARES, Corpus, Truth, embed_banking77, make_corpus, scope_of
from benchmarks.scale_measure import NEIGHBOURS, Bench, Row, open_bench
from benchmarks.scale_report import write_report
from benchmarks.scale_upkeep import memory, purge
from semcache_async.load.measured.machine import describe_machine
from semcache_async.store.entries.knn import KnnPlanner
from semcache_async.store.keys import ScopeDigest
from semcache_async.store.wire import Command
from semcache_async.types import VectorQuery

__all__ = ["PARTS", "measure"]

QUERIES = 1_000
SCOPES = (1, 10, 100, 1_000)
WALK = "HYBRID_POLICY BATCHES BATCH_SIZE {}"
POLICIES = {"auto": "", "batches": WALK.format(40), "adhoc": "HYBRID_POLICY ADHOC_BF"}
GRAPHS = ((8, 200), (16, 100), (16, 200), (24, 200), (32, 200))
"""M and EF_CONSTRUCTION."""
OUT = Path(__file__).parent / "out"


def _say(*words: object) -> None:
    print(*words, flush=True)


async def kinds(corpus: Corpus) -> Row:
    """Each kind of index, filled with one scope."""
    rows, ways = [], []
    for index, dtype in (("hnsw", "float32"), ("hnsw", "float16"), ("flat", "float32")):
        async with open_bench(corpus, f"{index}-{dtype}", index, dtype) as bench:  # type: ignore[arg-type]
            row = {"index": index, "dtype": dtype} | await bench.fill() | await bench.search()
            rows.append(row)
            _say(row)
            if (index, dtype) == ("hnsw", "float32"):
                ways = await _efforts(bench)
    return {"rows": rows, "efforts": ways}


async def _efforts(bench: Bench) -> list[Row]:
    """The one scope searched with more or less effort."""
    scope = bench.keys.scope(scope_of(0)).scope
    command = bench.command
    ways: dict[str, Callable[[int], Command]] = {
        f"no filter, EF_RUNTIME {ef}": partial(command, terms="*", knn=f"EF_RUNTIME {ef}")
        for ef in (10, 20, 50, 100, 200)
    }
    for size in (10, 20, 40, 80, 160):
        ways[f"filter, BATCHES {size}"] = partial(
            command, terms="(@scope:{$s})", knn=WALK.format(size), filter_=scope
        )
    truth = Truth(bench.corpus, NEIGHBOURS)
    found = await bench.turns(ways, truth, pipeline=8, limit_s=3.0)
    rows = [{"way": way} | row for way, row in found.items()]
    for row in rows:
        _say(row)
    return rows


async def scopes(corpus: Corpus) -> Row:
    """The entries divided equally among scopes, searched through the store."""
    rows = []
    for count in SCOPES:
        if count <= len(corpus.vectors):
            async with open_bench(corpus, f"scopes-{count}") as bench:
                row = {"scopes": count} | await bench.fill(count) | await bench.search(count)
                row |= await bench.questions(count)
            rows.append(row)
            _say(row)
    return {"rows": rows}


async def plan(corpus: Corpus) -> Row:
    """Every policy at every share. A share is found by one TAG term, as a scope is."""
    rows = []
    total = len(corpus.vectors)
    async with open_bench(corpus, "plan") as bench:
        filled = await bench.fill(shares=True)
        for share in SHARES:
            if share > total:
                continue
            tags = [
                bench.keys.attributes({f"of {share}": str(own)})[0]
                for own in range(min(share, len(corpus.queries)))
            ]
            ways = {name: partial(_in_share, bench, tags, knn) for name, knn in POLICIES.items()}
            truth = Truth(corpus, NEIGHBOURS, share)
            found = await bench.turns(ways, truth, pipeline=8, limit_s=3.0)
            mode = await _mode(bench, tags[0])
            entries = total // share
            row: Row = {"scopes": share, "entries": entries, "total": total, "auto_is": mode}
            row |= {"pick": _pick(corpus, entries, total), "ways": found}
            rows.append(row)
            _say(row)
    return {"rows": rows, "filled": filled}


def _in_share(bench: Bench, tags: list[str], knn: str, number: int) -> Command:
    return bench.command(number, "(@attr:{$s})", knn, tags[number % len(tags)])


async def _mode(bench: Bench, tag: str) -> str:
    """What Search chooses when it is left alone."""
    asked = bench.command(0, "(@attr:{$s})", "", tag)
    replies = await bench.raw.execute([asked, ("FT.DEBUG", "VECSIM_INFO", bench.keys.index, "vec")])
    found = re.search(r"'LAST_SEARCH_MODE', b'HYBRID_(\w+)'", repr(replies[1]))
    return found[1].lower() if found else "?"


def _pick(corpus: Corpus, entries: int, total: int) -> str:
    """The planner's choice, once it knows the sizes."""
    planner = KnnPlanner("plan", graph=True)
    digest = ScopeDigest("0", (), b"")
    planner.learn(digest, {b"total_results": entries})
    planner.learn(None, {b"total_results": total})
    query = VectorQuery(scope_of(0), corpus.queries[0], NEIGHBOURS)
    text = str(planner.search(digest, query, b"")[2])
    return "batches" if "BATCHES" in text else "adhoc" if "ADHOC" in text else "auto"


async def graph(corpus: Corpus) -> Row:
    """Other graphs over the same entries, built one after another."""
    rows = []
    async with open_bench(corpus, "graph", "flat") as bench:
        await bench.fill()
        truth = Truth(corpus, NEIGHBOURS)
        for m, construction in GRAPHS:
            index = f"graph-{m}-{construction}"
            began = time.perf_counter()
            await bench.raw.execute([_create(bench, index, m, construction)])
            info = await bench.info(index)
            while int(info[b"indexing"]):
                await asyncio.sleep(0.05)
                info = await bench.info(index)
            built_s = time.perf_counter() - began
            ways: dict[str, Callable[[int], Command]] = {
                f"EF {ef}": partial(bench.command, terms="*", knn=f"EF_RUNTIME {ef}", index=index)
                for ef in (10, 40, 100)
            }
            found = await bench.turns(ways, truth, pipeline=8, limit_s=2.0)
            size = float(info[b"vector_index_sz_mb"]) * 2**20 / len(corpus.vectors)
            row: Row = {"m": m, "construction": construction, "vector_index_bytes": size}
            row |= {"builds_per_s": len(corpus.vectors) / built_s, "ways": found}
            rows.append(row)
            _say(row)
            await bench.raw.execute([("FT.DROPINDEX", index)])
    return {"rows": rows}


def _create(bench: Bench, index: str, m: int, construction: int) -> Command:
    return (
        *("FT.CREATE", index, "ON", "HASH", "PREFIX", 1, bench.keys.prefix, "SCHEMA"),
        *("vec", "VECTOR", "HNSW", 10, "TYPE", "FLOAT32", "DIM", bench.shape.dim),
        *("DISTANCE_METRIC", "COSINE", "M", m, "EF_CONSTRUCTION", construction),
    )


PARTS: dict[str, Callable[[Corpus], Awaitable[Row]]] = {
    "kinds": kinds,
    "scopes": scopes,
    "plan": plan,
    "graph": graph,
    "memory": memory,
    "purge": purge,
}


async def measure(corpus: Corpus, parts: list[str], results: Row, output: Path) -> None:
    """Measure the parts for this corpus, and write the report after each."""
    for part in parts:
        began = time.perf_counter()
        found = await PARTS[part](corpus)
        found |= {"machine": _machine(), "seconds": time.perf_counter() - began}
        results.setdefault(str(len(corpus.vectors)), {})[part] = found
        _say(f"-- {len(corpus.vectors)} {part}: {found['seconds']:.0f} s")
        write_report(results, output)


def _machine() -> Row:
    machine = describe_machine()
    wanted = ("cpu", "cpus", "memory_gb", "system", "python", "packages", "commit")
    return {name: getattr(machine, name) for name in wanted}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    parts = options.parts.split(",")
    path = options.output / "scale.json"
    results: Row = json.loads(path.read_text()) if path.exists() else {}
    stored, asked, prompts = embed_banking77(OUT)
    for size in map(int, options.sizes.split(",")):
        corpus = make_corpus(stored, asked, prompts, size, QUERIES, options.seed)
        uvloop.run(measure(corpus, parts, results, options.output))


if __name__ == "__main__":
    main()
