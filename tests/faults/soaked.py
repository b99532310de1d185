"""A process under soak: it asks as long as its input is open, and writes down what happens."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from semcache_async import CacheConfig, Scope, SemanticCache
from semcache_async.flow.flight import inside
from semcache_async.testing import AngleEmbedder

LLM_S = 1.0
_RATE = 40.0
"""Requests a second."""
_ERA_S = 3.0
"""So often come tenants that nobody has asked for yet."""
_ANGLES = (0, 4, 8, 90)
"""4 degrees are near, 8 are not."""
_SAMPLE_S = 1.0


class Worker:
    """Callers, an LLM, and the log of both."""

    def __init__(self, cache: SemanticCache, log: Path, seed: int) -> None:
        self._cache = cache
        self._log = log.open("a", buffering=1)
        self._chance = random.Random(seed)
        self._numbers = itertools.count()
        self._purged_at = 0.0

    def note(self, event: str, **fields: Any) -> None:
        """One line of the history."""
        self._log.write(json.dumps({"event": event, "at": time.time(), **fields}) + "\n")

    async def run(self, over: asyncio.Event) -> None:
        """Ask at random times until it is over; then wait for all answers."""
        async with asyncio.TaskGroup() as group:
            sampling = group.create_task(self._sample())
            purging = group.create_task(self._purge())
            asking: set[asyncio.Task[None]] = set()
            while not over.is_set():
                task = group.create_task(self._ask())
                asking.add(task)
                task.add_done_callback(asking.discard)
                await asyncio.sleep(self._chance.expovariate(_RATE))
            while asking:
                await asyncio.wait(asking)
            sampling.cancel()
            purging.cancel()
        self.note("stats", **self._cache.stats())

    async def _ask(self) -> None:
        number, chance = next(self._numbers), self._chance
        tenant = f"{int(time.time() / _ERA_S)}-{chance.randrange(3)}"
        angle = chance.choice(_ANGLES)
        prompt = f"{chance.choice('pqr')} at {angle}"
        streams, leaves = chance.random() < 0.4, chance.random() < 0.05
        self.note("ask", id=number, tenant=tenant, angle=angle)
        try:
            async with asyncio.timeout(chance.random() * LLM_S if leaves else None):
                text = await self._answer(prompt, tenant, streams=streams)
        except TimeoutError:
            self.note("left", id=number)
        except Exception as error:
            self.note("error", id=number, kind=type(error).__name__, streams=streams)
        else:
            self.note("got", id=number, text=text)

    async def _answer(self, prompt: str, tenant: str, *, streams: bool) -> str:
        async def pieces(asked: str) -> AsyncIterator[str]:
            call, flight = f"{os.getpid()}-{next(self._numbers)}", inside.get()
            angle = AngleEmbedder.angle(asked)
            claim = None if flight is None else flight.claim
            self.note("call", id=call, tenant=tenant, angle=angle, claim=claim)
            for piece in (f"{tenant} ", f"at {angle:g} ", f"by {call}"):
                await asyncio.sleep(self._chance.random() * LLM_S / 2)
                yield piece
            self.note("made", id=call)

        async def generate(asked: str) -> str:
            return "".join([piece async for piece in pieces(asked)])

        scope = Scope(tenant=tenant)
        if streams:
            parts = [piece async for piece in self._cache.stream(prompt, pieces, scope=scope)]
            return "".join(parts)
        return (await self._cache.get_or_generate(prompt, generate, scope=scope)).text

    async def _sample(self) -> None:
        while True:
            self.note("sample", **_sizes())
            await asyncio.sleep(_SAMPLE_S)

    async def _purge(self) -> None:
        """Now and then, purge a tenant that is being asked for."""
        while True:
            await asyncio.sleep(self._chance.expovariate(0.1))
            tenant = f"{int(time.time() / _ERA_S)}-{self._chance.randrange(3)}"
            self.note("purge", tenant=tenant)
            try:
                await self._cache.invalidate(tenant=tenant)
            except Exception as error:
                self.note("unpurged", tenant=tenant, kind=type(error).__name__)
            else:
                self.note("purged", tenant=tenant)


def _sizes() -> dict[str, int]:
    """Bytes and file descriptors of this process."""
    me = Path("/proc/self")
    pages = int((me / "statm").read_text().split()[1])
    return {"memory": pages * os.sysconf("SC_PAGE_SIZE"), "fds": len(list((me / "fd").iterdir()))}


async def main(url: str, log: Path, seed: int, lease_s: float) -> None:
    config = CacheConfig(
        max_distance=0.003,
        guards=(),
        lease_s=lease_s,
        store_timeout_s=lease_s / 2,
        generate_timeout_s=15.0,
    )
    over = asyncio.Event()

    async def watch() -> None:
        await asyncio.to_thread(sys.stdin.read)
        over.set()

    while True:  # Redis may be away just now
        try:
            cache = await SemanticCache.open(url, embedder=AngleEmbedder(), config=config)
            break
        except Exception:
            await asyncio.sleep(0.1)
    watching = asyncio.create_task(watch())
    await Worker(cache, log, seed).run(over)
    await watching
    await cache.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
