"""A process that asks for one thing in many wordings, for tests to start, count and kill."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop

from semcache_async import CacheConfig, SemanticCache
from semcache_async.testing import AngleEmbedder

_LOOK_S = 0.01


async def main(url: str, name: str, callers: int, folder: Path, *, streams: bool) -> None:
    """Say that it is ready; on a line of input, ask; then say what came of it."""

    async def pieces(prompt: str) -> AsyncIterator[str]:
        with (folder / "calls").open("a") as calls:
            calls.write(f"{os.getpid()}\n")
        yield f"{os.getpid()} "
        while not (folder / "gate").exists():  # noqa: ASYNC110 - other processes open it
            await asyncio.sleep(_LOOK_S)
        for number in range(100):
            yield f"{number} "
            await asyncio.sleep(0)
        yield f"for {prompt}"

    async def generate(prompt: str) -> str:
        return "".join([piece async for piece in pieces(prompt)])

    async def ask(number: int) -> str:
        prompt = f"wording {number % 7} at {10 + number % 3}"
        if streams:
            return "".join([piece async for piece in cache.stream(prompt, pieces)])
        return (await cache.get_or_generate(prompt, generate)).text

    config = CacheConfig(name=name, max_distance=0.01, guards=(), store_timeout_s=10.0)
    async with SemanticCache.open(url, embedder=AngleEmbedder(), config=config) as cache:
        print(os.getpid(), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        texts = await asyncio.gather(*[ask(number) for number in range(callers)])
        stats = cache.stats()
        print(
            json.dumps(
                {
                    "texts": sorted(set(texts)),
                    "answered": len(texts),
                    "llm_calls": stats.llm_calls,
                    "followed": stats.followed,
                    "takeovers": stats.takeovers,
                    "unclaimed": stats.unclaimed,
                    "failed": stats.failed,
                }
            )
        )


if __name__ == "__main__":
    url, name, callers, folder, mode, loop = sys.argv[1:]
    run = uvloop.run if loop == "uvloop" else asyncio.run
    run(main(url, name, int(callers), Path(folder), streams=mode == "stream"))
