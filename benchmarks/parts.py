"""What the cache adds to its parts, as ratios of things run in turns in one process.

    python -m benchmarks.parts [--rounds 7] [--entries 10000] [--json FILE]

- semantic: ``lookup`` by 64 callers against the embedder alone on the same texts
- exact: hits by 256 callers against redis-py pipelines of 256 GETs of the same payloads
- local: the same hits with ``local_answers``, against the same GETs
- rest: one caller's ``lookup`` against one ``embed`` plus one FT.SEARCH by redis-py
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import redis.asyncio
import uvloop

from semcache_async import CacheConfig, SemanticCache
from semcache_async.data import banking77
from semcache_async.embed import TextEmbedder, default_embedder

CALLERS, EXACT_CALLERS = 64, 256
TEXTS, EXACT_HITS, LONE = 1_000, 20_000, 60

Measure = Callable[[], Awaitable[float]]


class Compared(NamedTuple):
    """Ours and theirs, round by round."""

    key: str
    title: str
    unit: str
    ours: list[float]
    theirs: list[float]


async def drive(
    callers: int, items: Sequence[str], one: Callable[[str], Awaitable[object]]
) -> float:
    """Items a second with so many callers, each taking the next item when done."""
    waiting = iter(items)

    async def caller() -> None:
        for item in waiting:
            await one(item)

    began = time.perf_counter()
    await asyncio.gather(*[caller() for _ in range(callers)])
    return len(items) / (time.perf_counter() - began)


async def embedder_alone(embedder: TextEmbedder, texts: Sequence[str]) -> float:
    """Texts a second with every stream kept busy with whole packs and nothing else going on."""
    loop = asyncio.get_running_loop()
    share = -(-len(texts) // embedder.streams)
    parts = [texts[start : start + share] for start in range(0, len(texts), share)]
    with ThreadPoolExecutor(embedder.streams) as pool:
        began = time.perf_counter()
        await asyncio.gather(*[loop.run_in_executor(pool, embedder.embed, p) for p in parts])
        return len(texts) / (time.perf_counter() - began)


async def pipelined_gets(client: redis.asyncio.Redis, keys: Sequence[str]) -> float:
    """GETs a second by redis-py in pipelines of 256."""
    began = time.perf_counter()
    for start in range(0, len(keys), EXACT_CALLERS):
        pipeline = client.pipeline(transaction=False)
        for key in keys[start : start + EXACT_CALLERS]:
            pipeline.get(key)
        await pipeline.execute(raise_on_error=False)
    return len(keys) / (time.perf_counter() - began)


async def each(items: Sequence[str], one: Callable[[str], Awaitable[object]]) -> float:
    """Median milliseconds of one at a time."""
    times = []
    for item in items:
        began = time.perf_counter()
        await one(item)
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


async def compare(
    key: str, title: str, unit: str, rounds: int, ours: Measure, theirs: Measure
) -> Compared:
    """Both in turns, the order swapped each round; prints medians and the ratio's median and
    range."""
    pairs = []
    for turn in range(rounds + 1):
        first, second = (ours, theirs) if turn % 2 else (theirs, ours)
        a, b = await first(), await second()
        pairs.append((a, b) if turn % 2 else (b, a))
    pairs = pairs[1:]
    ratios = sorted(a / b for a, b in pairs)
    print(
        f"{title:42} {statistics.median(a for a, _ in pairs):10.2f} "
        f"{statistics.median(b for _, b in pairs):10.2f} {unit:10} "
        f"{statistics.median(ratios):6.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})",
        flush=True,
    )
    return Compared(key, title, unit, [a for a, _ in pairs], [b for _, b in pairs])


async def run(rounds: int, entries: int) -> list[Compared]:
    """Every comparison."""
    found: list[Compared] = []
    embedder = default_embedder()
    stored = [question.text for question in banking77("train")]
    asked = itertools.cycle([question.text for question in banking77("test")])
    config = CacheConfig(embedding_cache_size=0)
    async with SemanticCache.open(embedder=embedder, config=config) as cache:
        assert cache.redis_url is not None
        client = redis.asyncio.Redis.from_url(cache.redis_url, protocol=3)
        prompts = stored[:entries]
        await drive(CALLERS, prompts, lambda prompt: cache.store(prompt, f"Answer to {prompt}"))
        index = (await client.execute_command("FT._LIST"))[0]
        print(f"embedder {embedder.backend}, {entries} entries, medians of {rounds} rounds")
        print(f"{'':42} {'ours':>10} {'theirs':>10} {'':10} ratio (range)")

        texts: list[str] = []

        async def semantic() -> float:
            texts[:] = itertools.islice(asked, TEXTS)
            return await drive(CALLERS, texts, cache.lookup)

        async def alone() -> float:
            return await embedder_alone(embedder, list(itertools.islice(asked, TEXTS)))

        title = "lookups/s, 64 callers : embedder alone"
        found.append(await compare("semantic", title, "1/s", rounds, semantic, alone))

        hits = list(itertools.islice(itertools.cycle(prompts), EXACT_HITS))
        for number, prompt in enumerate(prompts):
            await client.set(f"get:{number}", f'{{"text":"Answer to {prompt}"}}' + "x" * 200)
        keys = [f"get:{number % len(prompts)}" for number in range(EXACT_HITS)]
        found.append(
            await compare(
                "exact",
                "exact hits/s, 256 callers : redis-py GETs",
                "1/s",
                rounds,
                lambda: drive(EXACT_CALLERS, hits, cache.lookup),
                lambda: pipelined_gets(client, keys),
            )
        )

        local = CacheConfig(local_answers=len(prompts))
        async with SemanticCache.open(cache.redis_url, embedder=embedder, config=local) as near:
            await drive(EXACT_CALLERS, prompts, near.lookup)
            found.append(
                await compare(
                    "local",
                    "the same, from local_answers : GETs",
                    "1/s",
                    rounds,
                    lambda: drive(EXACT_CALLERS, hits, near.lookup),
                    lambda: pipelined_gets(client, keys),
                )
            )

        async def raw(text: str) -> object:
            vector = (await asyncio.to_thread(embedder.embed, [text]))[0]
            blob = vector.astype(config.vector_dtype).tobytes()
            return await client.execute_command(
                *("FT.SEARCH", index, "*=>[KNN 3 @vec $v AS d]", "PARAMS", 2, "v"),
                *(blob, "RETURN", 2, "d", "entry", "LIMIT", 0, 3, "DIALECT", 2),
            )

        def lone() -> list[str]:
            return list(itertools.islice(asked, LONE))

        found.append(
            await compare(
                "rest",
                "one lookup at rest : embed + FT.SEARCH",
                "ms",
                rounds,
                lambda: each(lone(), cache.lookup),
                lambda: each(lone(), raw),
            )
        )
        await client.aclose()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--json", type=Path, help="where to write every round")
    chosen = parser.parse_args()
    found = uvloop.run(run(chosen.rounds, chosen.entries))
    if chosen.json:
        rows = [compared._asdict() for compared in found]
        chosen.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
