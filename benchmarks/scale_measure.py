"""One store of the scale benchmark: filled, weighed, searched, and asked in raw commands."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np

from benchmarks.scale_data import Corpus, Truth, number_of, scope_of
from semcache_async.config import CacheConfig
from semcache_async.store.embedded import embedded_redis
from semcache_async.store.entries.knn import KnnPlanner
from semcache_async.store.entries.payload import read_neighbours
from semcache_async.store.entries.schema import ENTRY, IndexShape
from semcache_async.store.keys import KeySpace, ScopeDigest
from semcache_async.store.opening import redis_store
from semcache_async.store.redis_store import RedisStore
from semcache_async.store.wire import Command, RedisPipelines, redis_pipelines
from semcache_async.types import Scope, VectorQuery

__all__ = ["BATCH", "NEIGHBOURS", "Bench", "Row", "batches", "open_bench", "recalls"]

Row: TypeAlias = dict[str, Any]
Found: TypeAlias = dict[int, list[int]]
"""Numbers of the entries that were returned, by query."""
T = TypeVar("T")

BATCH, NEIGHBOURS, MAX_DISTANCE = 32, 3, 0.05
LONE_PUTS = 200
PHASE_S = 12.0
"""A phase of searches ends after this, or with the queries."""
_FINGERPRINT = "scale benchmark"


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


@dataclass
class Bench:
    """A store on a server of its own, and a connection for raw commands."""

    store: RedisStore
    raw: RedisPipelines
    keys: KeySpace
    shape: IndexShape
    corpus: Corpus

    async def fill(self, scopes: int = 1, *, shares: bool = False) -> Row:
        """Put every entry: in pipelines, the last few one at a time. Rates and bytes."""
        before = await self.memory("used_memory")
        records = self.corpus.records(scopes, shares=shares)
        total = len(self.corpus.vectors)
        lone = min(LONE_PUTS, total // 10)
        began = time.perf_counter()
        for batch in batches(itertools.islice(records, total - lone), BATCH):
            _raise(await self.store.put(batch))
        piped_s = time.perf_counter() - began
        began = time.perf_counter()
        for record in records:
            _raise(await self.store.put([record]))
        lone_s = time.perf_counter() - began
        used = await self.memory("used_memory") - before
        info = await self.info()
        raw = self.corpus.raw_bytes(self.shape.dtype)
        return {
            "entries": int(info[b"num_docs"]),
            "inserts_per_s": (total - lone) / piped_s,
            "lone_inserts_per_s": lone / lone_s,
            "bytes_per_entry": used / total,
            "vector_index_bytes": float(info[b"vector_index_sz_mb"]) * 2**20 / total,
            "raw_bytes": raw,
            "overhead": used / total / raw,
        }

    async def search(self, scopes: int = 1) -> Row:
        """Latency one at a time, throughput in pipelines and recall, through the store."""
        queries = [
            VectorQuery(scope_of(number % scopes), vector, NEIGHBOURS)
            for number, vector in enumerate(self.corpus.queries)
        ]
        for batch in batches(queries[: max(BATCH, scopes)], BATCH):
            _raise(await self.store.search(batch))
        times, found, off = [], Found(), 0.0
        truth = Truth(self.corpus, NEIGHBOURS, scopes)
        deadline = time.perf_counter() + PHASE_S
        for number, query in enumerate(queries):
            began = time.perf_counter()
            (reply,) = _raise(await self.store.search([query]))
            times.append((time.perf_counter() - began) * 1e3)
            found[number] = [number_of(neighbour.prompt) for neighbour in reply]
            exact = truth.distances(number, found[number])
            said = [neighbour.distance for neighbour in reply]
            off = max([off, *np.abs(exact - np.array(said)).tolist()])
            if time.perf_counter() > deadline:
                break
        done, piped_s = await self._piped(queries)
        return {
            "p50_ms": float(np.percentile(times, 50)),
            "p99_ms": float(np.percentile(times, 99)),
            "piped_per_s": done / piped_s,
            "distance_off": off,
            **recalls(truth, found),
        }

    async def _piped(self, queries: Sequence[VectorQuery]) -> tuple[int, float]:
        """Two pipelines under way at any time."""
        waiting = batches(itertools.chain.from_iterable(itertools.repeat(queries, 4)), BATCH)
        began = time.perf_counter()
        done = 0

        async def one() -> None:
            nonlocal done
            for batch in waiting:
                answers = _raise(await self.store.search(batch))
                done += len(answers)
                if time.perf_counter() - began > PHASE_S:
                    return

        await asyncio.gather(one(), one())
        return done, time.perf_counter() - began

    async def info(self, index: str | None = None) -> dict[bytes, Any]:
        reply = await self.one("FT.INFO", index or self.keys.index)
        assert isinstance(reply, dict)
        return reply

    def command(
        self, number: int, terms: str, knn: str = "", filter_: str = "", index: str | None = None
    ) -> Command:
        """``FT.SEARCH`` for query ``number``; ``knn`` are further words of the KNN clause."""
        vector = self.corpus.queries[number].astype(self.shape.dtype).tobytes()
        return (
            *("FT.SEARCH", index or self.keys.index),
            f"{terms}=>[KNN {NEIGHBOURS} @vec $v {knn} AS d]",
            *("PARAMS", 4, "v", vector, "s", filter_),
            *("RETURN", 2, "d", ENTRY, "LIMIT", 0, NEIGHBOURS, "DIALECT", 2),
        )

    async def turns(
        self,
        ways: Mapping[str, Callable[[int], Command]],
        truth: Truth,
        pipeline: int,
        limit_s: float,
    ) -> dict[str, Row]:
        """Each way of searching in turns, a pipeline of queries at a time: ms a query and
        recall."""
        digest = self.keys.scope(Scope())
        times: dict[str, list[float]] = {way: [] for way in ways}
        found: dict[str, Found] = {way: {} for way in ways}
        began = time.perf_counter()
        for numbers in batches(range(len(self.corpus.queries)), pipeline):
            for way, command in ways.items():
                commands = [command(number) for number in numbers]
                sent = time.perf_counter()
                replies = _raise(await self.raw.execute(commands))
                times[way].append((time.perf_counter() - sent) * 1e3 / len(numbers))
                for number, reply in zip(numbers, replies, strict=True):
                    found[way][number] = self._numbers(reply, digest)
            if time.perf_counter() - began > limit_s * len(ways):
                break
        return {
            way: {"ms": float(np.median(times[way])), **recalls(truth, found[way])} for way in ways
        }

    def _numbers(self, reply: Any, digest: ScopeDigest) -> list[int]:
        prefix = self.keys.prefix.encode()
        found = read_neighbours(reply, prefix, digest, {}, time.time())
        return [number_of(neighbour.prompt) for neighbour in found.neighbours]

    async def questions(self, scopes: int) -> Row:
        """Median ms of what the planner asks: the size of a scope, and of the index."""
        times: list[list[float]] = [[], []]
        for number in range(100):
            planner = KnnPlanner(self.keys.index, graph=True)
            asked = planner.questions([self.keys.scope(scope_of(number % scopes))])
            for command, own in zip(asked.values(), times, strict=True):
                began = time.perf_counter()
                _raise(await self.raw.execute([command]))
                own.append((time.perf_counter() - began) * 1e3)
        return {"count_ms": float(np.median(times[0])), "info_ms": float(np.median(times[1]))}

    async def memory(self, which: str) -> int:
        """A figure of ``INFO memory``."""
        reply = await self.one("INFO", "memory")
        text = reply if isinstance(reply, str) else bytes(reply).decode()
        return int(text.split(f"{which}:")[1].split()[0])

    async def one(self, *command: str | bytes | float) -> Any:
        """The reply to a command."""
        return _raise(await self.raw.execute([command]))[0]


def recalls(truth: Truth, found: Found) -> Row:
    """``recall1``: of the queries with an entry within ``MAX_DISTANCE``, those that were given
    one. ``recall3``: of the nearest three that exist, those that were given."""
    acceptable = accepted = given = there = 0
    for query, numbers in found.items():
        nearest = truth.nearest[query]
        distances = truth.distances(query, numbers)
        if nearest[0] <= MAX_DISTANCE:
            acceptable += 1
            accepted += bool(len(distances) and distances.min() <= MAX_DISTANCE + 1e-6)
        exist = nearest[np.isfinite(nearest)]
        there += len(exist)
        given += int(np.sum(distances <= exist[-1] + 1e-6)) if len(exist) else 0
    return {
        "queries": len(found),
        "acceptable": acceptable,
        "recall1": accepted / acceptable if acceptable else None,
        "recall3": given / there if there else None,
    }


@asynccontextmanager
async def open_bench(
    corpus: Corpus,
    name: str,
    index: Literal["hnsw", "flat"] = "hnsw",
    dtype: Literal["float32", "float16"] = "float32",
    compress_over_bytes: int | None = None,
) -> AsyncIterator[Bench]:
    """An empty store on an embedded Redis of its own."""
    config = CacheConfig(
        name=name,
        index=index,
        vector_dtype=dtype,
        compress_over_bytes=compress_over_bytes,
        store_timeout_s=120.0,
    )
    shape = IndexShape(corpus.vectors.shape[1], dtype, index)
    keys = KeySpace(config.name, shape.fingerprint(_FINGERPRINT), config.secret)
    async with (
        embedded_redis() as url,
        redis_store(url, dim=shape.dim, fingerprint=_FINGERPRINT, config=config) as store,
        redis_pipelines(url, connections=2, timeout_s=120.0) as raw,
    ):
        await raw.execute([("FT.CONFIG", "SET", "TIMEOUT", 60_000)])
        yield Bench(store, raw, keys, shape, corpus)


def _raise(replies: Sequence[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return list(replies)
