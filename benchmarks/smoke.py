"""A guard against slow paths that holds on noisy machines: it counts instead of timing.

    python -m benchmarks.smoke

Calls of Python functions and of built-ins per lookup, and pipelines per thousand lookups, are the
same on every machine; they are held to budgets. The one ratio of times, exact hits against
redis-py's pipelined GETs in the same run, has a wide margin. Exit code 1 if any budget is exceeded.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import redis.asyncio

from benchmarks.calls import counted
from benchmarks.parts import EXACT_CALLERS, drive, pipelined_gets
from semcache_async import CacheConfig, SemanticCache
from semcache_async.testing import AngleEmbedder

LOOKUPS = 1_000
ROUNDS = 5


class Line(NamedTuple):
    """One measured figure and what it may be."""

    what: str
    measured: float
    budget: float
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Is the budget kept?"""
        if self.at_least:
            return self.measured >= self.budget
        return self.measured <= self.budget


async def calls_per(items: Sequence[str], one: Callable[[str], Awaitable[object]]) -> float:
    """Calls of functions, built-in ones included, per item, with 256 callers."""
    with counted() as calls:
        await drive(EXACT_CALLERS, items, one)
    return calls.count / len(items)


async def measure() -> list[Line]:
    """Every figure, on an embedded Redis."""
    config = CacheConfig(local_answers=LOOKUPS)
    async with (
        SemanticCache.open(embedder=AngleEmbedder()) as cache,
        SemanticCache.open(cache.redis_url, embedder=AngleEmbedder(), config=config) as local,
    ):
        assert cache.redis_url is not None
        prompts = [f"question {n} at {n % 360}" for n in range(LOOKUPS)]
        await drive(EXACT_CALLERS, prompts, lambda prompt: cache.store(prompt, "answer"))
        reworded = [f"other {prompt}" for prompt in prompts]
        for warm in (prompts, reworded):
            await drive(EXACT_CALLERS, warm, cache.lookup)
            await drive(EXACT_CALLERS, warm, local.lookup)
        before = cache.stats()
        exact = await calls_per(prompts, cache.lookup)
        between = cache.stats()
        pointed = await calls_per(reworded, cache.lookup)
        cache._tiers._pointers.clear()
        semantic = await calls_per(reworded, cache.lookup)
        after = cache.stats()
        recalled = await calls_per(prompts, local.lookup)
        ratio = await exact_ratio(cache, prompts)
        return [
            Line("calls per exact hit", exact, 112),
            Line("calls per semantic hit (vector remembered)", semantic, 370),
            Line("calls per semantic hit (seen before)", pointed, 270),
            Line("calls per local hit", recalled, 28),
            Line(
                "pipelines per 1,000 exact hits", between.exact_batches - before.exact_batches, 12
            ),
            Line("pipelines per 1,000 searches", after.search_batches - between.search_batches, 60),
            Line("exact hits : redis-py GETs", ratio, 0.3, at_least=True),
        ]


async def exact_ratio(cache: SemanticCache, prompts: Sequence[str]) -> float:
    """Exact hits a second over redis-py's pipelined GETs a second: median of turns."""
    client = redis.asyncio.Redis.from_url(str(cache.redis_url), protocol=3)
    keys = [f"get:{number}" for number in range(len(prompts))]
    for key in keys:
        await client.set(key, "x" * 300)
    hits = list(itertools.islice(itertools.cycle(prompts), 5 * LOOKUPS))
    ratios = [
        await drive(EXACT_CALLERS, hits, cache.lookup) / await pipelined_gets(client, keys * 5)
        for _ in range(ROUNDS)
    ]
    await client.aclose()
    return statistics.median(ratios)


def main() -> int:
    """The figures, and 1 if any budget is exceeded."""
    lines = asyncio.run(measure())
    for line in lines:
        sign, verdict = ">=" if line.at_least else "<=", "ok" if line.kept else "EXCEEDED"
        print(f"{line.what:45} {line.measured:8.1f}  {sign} {line.budget:6.1f}  {verdict}")
    return 0 if all(line.kept for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
