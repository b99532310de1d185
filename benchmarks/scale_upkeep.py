"""Parts of the scale benchmark about what Redis holds: where its bytes go, and a purge of it."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import numpy as np
from msgspec import structs

from benchmarks.scale_data import Corpus, scope_of
from benchmarks.scale_measure import BATCH, NEIGHBOURS, Bench, Row, batches, open_bench
from semcache_async.types import EntryKey, VectorQuery

__all__ = ["memory", "purge"]

HASHES: dict[str, tuple[int, int | None]] = {
    "fields apart": (64, None),
    "one piece": (16_384, None),
    "one piece, zstd": (16_384, 200),
}
"""``hash-max-listpack-value`` (Redis's default, and ours) and ``compress_over_bytes``."""
_SAMPLE = 1_000
_SEARCH_TABLES = ("doc_table_size_mb", "key_table_size_mb", "inverted_sz_mb", "tag_overhead_sz_mb")

CALLERS, RATE = 16, 200.0
_PURGED = 0.3
_BEFORE_S = 10.0
Load = Callable[[Bench], AbstractAsyncContextManager[list[float]]]


async def memory(corpus: Corpus) -> Row:
    """Bytes by part, each kind on a server of its own."""
    rows = [
        await _weigh(corpus, dtype, hashes)
        for dtype, hashes in itertools.product(("float32", "float16"), HASHES)
    ]
    return {"rows": rows}


async def _weigh(corpus: Corpus, dtype: str, hashes: str) -> Row:
    entries = len(corpus.vectors)
    listpack, over = HASHES[hashes]
    opened = open_bench(corpus, "memory", dtype=dtype, compress_over_bytes=over)  # type: ignore[arg-type]
    async with opened as bench:
        await bench.one("CONFIG", "SET", "hash-max-listpack-value", listpack)
        resident = await bench.memory("used_memory_rss")
        filled = await bench.fill()
        resident = await bench.memory("used_memory_rss") - resident
        sample = [EntryKey(scope_of(0), corpus.prompt(n)) for n in range(0, entries, 97)][:_SAMPLE]
        keys = [bench.keys.key(bench.keys.entry_id(key)) for key in sample]
        weights = [await bench.one("MEMORY", "USAGE", key, "SAMPLES", 0) for key in keys]
        tables = (await bench.one("MEMORY", "STATS"))[b"db.0"]
        info = await bench.info()
        await bench.one("CONFIG", "RESETSTAT")
        found = await bench.search()
        for batch in batches(sample * 10, BATCH):
            await bench.store.fetch(batch)
        calls = await bench.one("INFO", "commandstats")
    parts = {
        "hash": sum(weights) / len(weights),
        "keyspace": sum(tables[b"overhead.hashtable." + one] for one in (b"main", b"expires"))
        / entries,
        "graph": filled["vector_index_bytes"],
        "search": sum(float(info[one.encode()]) for one in _SEARCH_TABLES) * 2**20 / entries,
    }
    total = filled["bytes_per_entry"]
    return {
        "dtype": dtype,
        "hashes": hashes,
        "total": total,
        "resident": resident / entries,
        **parts,
        "rest": total - sum(parts.values()),
        "raw": filled["raw_bytes"],
        "hget_us": _microseconds(calls, "hget"),
        "search_us": _microseconds(calls, "FT.SEARCH"),
        "recall3": found["recall3"],
    }


def _microseconds(calls: bytes | str, command: str) -> float:
    """What a call of it took the server."""
    text = calls if isinstance(calls, str) else calls.decode()
    found = re.search(rf"cmdstat_{command}:.*?usec_per_call=([\d.]+)", text)
    return float(found[1]) if found else 0.0


async def purge(corpus: Corpus) -> Row:
    """A tag on some of the entries, purged beside lookups; another one, beside fewer."""
    loads: dict[str, Load] = {
        f"{CALLERS} callers, one lookup after another": _callers,
        f"{RATE:g} lookups a second at random": _arrivals,
    }
    async with open_bench(corpus, "purge") as bench:
        for batch in batches(enumerate(corpus.records(1)), BATCH):
            tagged = [structs.replace(record, tags=_tags(n)) for n, record in batch]
            await bench.store.put(tagged)
        await bench.one("CONFIG", "SET", "latency-monitor-threshold", 1)
        rows = [
            {"load": name} | await _purge(bench, str(number), load)
            for number, (name, load) in enumerate(loads.items())
        ]
    return {"rows": rows}


def _tags(number: int) -> tuple[str, ...]:
    part = number % 10 / 10
    return ("0",) * (part < _PURGED) + ("1",) * (part >= 1 - _PURGED)


async def _purge(bench: Bench, tag: str, load: Load) -> Row:
    before_s = _BEFORE_S if len(bench.corpus.vectors) >= 10_000 else 0.2
    async with load(bench) as times:
        await asyncio.sleep(before_s)
        before = await _spread(bench, times, before_s)
        times.clear()
        await bench.one("LATENCY", "RESET")
        began = time.perf_counter()
        removed = await bench.store.remove(tags=(tag,))
        took = time.perf_counter() - began
        during = await _spread(bench, times, took)
        blocks = await bench.one("LATENCY", "LATEST")
        times.clear()
        await asyncio.sleep(before_s)
        after = await _spread(bench, times, before_s)
    return {
        "removed": removed,
        "seconds": took,
        "blocks_ms": {name.decode(): worst for name, _, _, worst in blocks},
        "before": before,
        "during": during,
        "after": after,
    }


async def _spread(bench: Bench, times: list[float], seconds: float) -> Row:
    """Where no lookup has ended yet, of one more."""
    if not times:
        await _look(bench, times)
    p50, p99 = np.percentile(times, (50, 99))
    return {"p50_ms": float(p50), "p99_ms": float(p99), "per_s": len(times) / seconds}


@asynccontextmanager
async def _callers(bench: Bench) -> AsyncIterator[list[float]]:
    times: list[float] = []

    async def call() -> None:
        while True:
            await _look(bench, times)

    tasks = [asyncio.create_task(call()) for _ in range(CALLERS)]
    yield times
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _arrivals(bench: Bench) -> AsyncIterator[list[float]]:
    times: list[float] = []

    async def come() -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(_look(bench, times))
                await asyncio.sleep(random.expovariate(RATE))

    task = asyncio.create_task(come())
    yield times
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _look(bench: Bench, times: list[float]) -> None:
    vector = random.choice(bench.corpus.queries)
    began = time.perf_counter()
    (found,) = await bench.store.search([VectorQuery(scope_of(0), vector, NEIGHBOURS)])
    times.append((time.perf_counter() - began) * 1e3)
    if isinstance(found, Exception):
        raise found
