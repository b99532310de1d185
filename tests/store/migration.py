"""A migration that is killed again and again, while a cache of the new model answers.

    python -m tests.store.migration 50000 --kills 5
    python -m tests.store.migration 1000 --kills 2 --model

What was found wrong is told a line each, with exit status 1. ``--model``: the model that ``open()``
would use, instead of vectors drawn by the text's hash.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import redis.asyncio
from numpy.typing import NDArray

from semcache_async import CacheConfig, Scope, SemanticCache, Source
from semcache_async.protocols import Embedder
from semcache_async.store.embedded import embedded_redis
from semcache_async.store.opening import redis_store
from semcache_async.text.prompt import normalise
from semcache_async.types import EntryKey, Record

ROOT = Path(__file__).parents[2]
NAME = "migration"
SCOPES = [Scope(tenant=f"t{n}") for n in range(10)]
TTL_S = 86_400.0
_CONFIG = CacheConfig(name=NAME, store_timeout_s=30.0, lookup_budget_s=60.0)
_LOOK_S = 0.02
_BETWEEN_LOOKUPS_S = 0.002


class HashEmbedder:
    """A unit vector drawn by the text's hash and by the fingerprint; notes how many it made."""

    dim = 384
    guarded = False

    def __init__(self, fingerprint: str, notes: str | None = None) -> None:
        self.fingerprint = fingerprint
        self._notes = notes

    def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        if self._notes:
            with Path(self._notes).open("a") as file:
                file.write(f"{len(texts)}\n")
        rows = []
        for text in texts:
            digest = blake2b(f"{self.fingerprint} {text}".encode(), digest_size=8).digest()
            rows.append(np.random.default_rng(int.from_bytes(digest)).standard_normal(self.dim))
        matrix: NDArray[np.float32] = np.array(rows, np.float32)
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        return matrix


def prompt(number: int) -> str:
    return f"What is to be done about case {number}?"


def scope(number: int) -> Scope:
    return SCOPES[number % len(SCOPES)]


def model(real: bool, notes: str | None = None) -> Embedder:
    """What is migrated to."""
    if real:
        from semcache_async.embed import default_embedder

        return default_embedder()
    return HashEmbedder("new", notes)


async def fill(url: str, entries: int) -> None:
    old = HashEmbedder("old")
    async with redis_store(url, dim=old.dim, fingerprint=old.fingerprint, config=_CONFIG) as store:
        for start in range(0, entries, 64):
            numbers = range(start, min(entries, start + 64))
            vectors = old.embed([prompt(n) for n in numbers])
            records = [
                Record(
                    key=EntryKey(scope(n), normalise(prompt(n))),
                    prompt=prompt(n),
                    text=f"answer {n}",
                    vector=vector,
                    tags=(f"tag {n % 100}",),
                    exact_ttl_s=TTL_S,
                    semantic_ttl_s=TTL_S,
                    started_at=store.now(),
                )
                for n, vector in zip(numbers, vectors, strict=True)
            ]
            for outcome in await store.put(records):
                if isinstance(outcome, Exception):
                    raise outcome


class Lookups:
    """Exact repeats of what there is, one after the other."""

    def __init__(self, cache: SemanticCache, entries: int) -> None:
        self._cache = cache
        self._entries = entries
        self._chance = random.Random(1)
        self.done = self.missed = self.wrong = 0
        self.took_ms: list[float] = []

    async def run(self) -> None:
        while True:
            await self.one()
            await asyncio.sleep(_BETWEEN_LOOKUPS_S)

    async def one(self) -> None:
        number = self._chance.randrange(self._entries)
        began = time.perf_counter()
        answer = await self._cache.lookup(prompt(number), scope=scope(number))
        self.took_ms.append((time.perf_counter() - began) * 1e3)
        self.done += 1
        if answer is None:
            self.missed += 1
        elif answer.source is not Source.EXACT or answer.text != f"answer {number}":
            self.wrong += 1

    def percentiles(self) -> dict[str, float]:
        """Of those since the last time."""
        p50, p99 = np.percentile(self.took_ms or [0.0], [50, 99])
        self.took_ms = []
        return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}


class Client:
    """Redis as it is."""

    def __init__(self, url: str) -> None:
        self.redis = redis.asyncio.Redis.from_url(url)

    async def sizes(self) -> dict[str, int]:
        """Entries by index."""
        sizes = {}
        for one in await self.redis.execute_command("FT._LIST"):
            index = one.decode()
            if index.startswith(f"{NAME}:{{p0}}:") and "claims" not in index:
                info = await self.redis.execute_command("FT.INFO", index)
                sizes[index] = int(info[b"num_docs"])
        return sizes

    async def ends(self, index: str) -> dict[str, int]:
        """When each entry under an index ends, by id."""
        ends: dict[str, int] = {}
        keys: list[bytes] = []

        async def ask() -> None:
            pipeline = self.redis.pipeline(transaction=False)
            for key in keys:
                pipeline.pexpiretime(key.decode())
            for key, end in zip(keys, await pipeline.execute(), strict=True):
                ends[key.decode().rpartition(":")[2]] = end
            keys.clear()

        async for key in self.redis.scan_iter(f"{index}:*", count=1_000):
            keys.append(key)
            if len(keys) == 1_000:
                await ask()
        await ask()
        return ends


async def started(url: str, notes: Path, real: bool, *options: str) -> Process:
    """``semcache migrate`` in a process of its own."""
    environment = {"SEMCACHE_REDIS_URL": url, "SEMCACHE_NAME": NAME}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.store.migration", "0", "--moves", str(notes)),
        *(["--model"] if real else []),
        *options,
        cwd=ROOT,
        env=os.environ | environment,
        stdout=PIPE,
        stderr=DEVNULL,
    )


async def migrate_and_kill(
    entries: int, kills: int, *, real: bool = False, rate: float | None = None
) -> tuple[list[str], dict[str, Any]]:
    """What was found wrong, and figures."""
    chance = random.Random(2)
    options = [] if rate is None else ["--rate", str(rate)]
    with tempfile.TemporaryDirectory(prefix="semcache-migration-") as folder:
        notes = Path(folder) / "embedded"
        async with embedded_redis(Path(folder) / "redis") as url:
            await fill(url, entries)
            client = Client(url)
            ((old, _),) = (await client.sizes()).items()
            ends = await client.ends(old)
            async with SemanticCache.open(url, config=_CONFIG, embedder=model(real)) as cache:
                lookups = Lookups(cache, entries)
                asking = asyncio.create_task(lookups.run())
                await asyncio.sleep(1.0)
                before = lookups.percentiles()
                killed_at: list[int] = []
                began = time.perf_counter()
                for number in range(kills):
                    process = await started(url, notes, real, *options)
                    goal = entries * (number + chance.uniform(0.5, 1.0)) / (kills + 1)
                    while process.returncode is None:
                        (size,) = [n for index, n in (await client.sizes()).items() if index != old]
                        if size >= goal:
                            process.send_signal(signal.SIGKILL)
                            await process.wait()
                        await asyncio.sleep(_LOOK_S)
                    killed_at.append(size)
                moving = await started(url, notes, real, *options)
                said, _ = await moving.communicate()
                took_s = time.perf_counter() - began
                during = lookups.percentiles()
                dropping_at = time.perf_counter()
                dropping = await started(url, notes, real, "--drop-old")
                dropped, _ = await dropping.communicate()
                drop_s = time.perf_counter() - dropping_at
                dropped_ms = lookups.percentiles()
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
                sizes = await client.sizes()
                (new,) = sizes
                arrived = await client.ends(new)
                unlike = 0
                for n in range(0, entries, max(1, entries // 1_000)):
                    hit = await cache.lookup_exact(prompt(n), scope=scope(n))
                    assert hit is not None
                    raw: Any = await client.redis.hget(f"{new}:{hit.entry_id}", "vec")
                    (wanted,) = await cache.embed([prompt(n)])
                    assert wanted is not None
                    unlike += float(np.frombuffer(raw, np.float32) @ wanted) < 0.999  # of bf16
            await client.redis.aclose()
        embedded = 0 if real else sum(map(int, notes.read_text().split()))
    faults = []
    if len(killed_at) != len([n for n in killed_at if n < entries]):
        faults.append(f"a kill came too late: {killed_at}")
    if moving.returncode or dropping.returncode:
        faults.append(f"ended with {moving.returncode}, {dropping.returncode}")
    if new == old or sizes[new] != entries:
        faults.append(f"{sizes} are left of {entries}")
    if arrived != ends:
        faults.append(f"{len(ends)} were there, {len(arrived)} are, or end at another time")
    if unlike:
        faults.append(f"{unlike} have another vector than their prompt")
    if lookups.missed or lookups.wrong or not lookups.done:
        faults.append(f"{lookups.missed} of {lookups.done} missed, {lookups.wrong} wrong")
    return faults, {
        "entries": entries,
        "killed_at": killed_at,
        "move_s": round(took_s, 1),
        "entries_per_s": round(entries / took_s),
        "embedded": embedded,
        "drop_s": round(drop_s, 1),
        "lookups": lookups.done,
        "missed": lookups.missed,
        "wrong": lookups.wrong,
        "before": before,
        "during": during,
        "while dropped": dropped_ms,
        "said": [said.decode().strip(), dropped.decode().strip()],
    }


def move(notes: str, real: bool, options: list[str]) -> None:
    """Be ``semcache migrate``."""
    from semcache_async.embed import loading

    embedder: Any = model(real, notes)
    loading.load_embedder = lambda *_, **__: embedder
    from semcache_async.cli import app

    app(["migrate", *options])


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("entries", type=int)
    options.add_argument("--kills", type=int, default=5)
    options.add_argument("--rate", type=float)
    options.add_argument("--model", action="store_true")
    options.add_argument("--moves", help=argparse.SUPPRESS)
    chosen, others = options.parse_known_args()
    if chosen.moves:
        rate = [] if chosen.rate is None else ["--rate", str(chosen.rate)]
        move(chosen.moves, chosen.model, [*rate, *others])
        return 0
    faults, figures = asyncio.run(
        migrate_and_kill(chosen.entries, chosen.kills, real=chosen.model, rate=chosen.rate)
    )
    print(json.dumps(figures, indent=2))
    for fault in faults:
        print(fault)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
