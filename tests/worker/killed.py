"""Workers that are killed again and again while events come in: is every event applied?

    python -m tests.worker.killed 100

Two real processes of ``semcache worker`` in one group, on a real Redis, each killed at a random
moment and started again: one in five while it starts, the others while it works. Every event names
one entry of its own, by tag, by a tenant's tag or by id, that is stored before the event is
written, and some a namespace of their own; each fiftieth event cannot be read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import redis.asyncio

from semcache_async.protocols import Store
from semcache_async.store.embedded import embedded_redis
from semcache_async.types import Scope
from tests.store.helpers import open_store, record

__all__ = ["Report", "kill_and_count"]

ROOT = Path(__file__).parents[2]
WORKERS = ("one", "other")
AT_ONCE = 20
"""Entries, and events about them, that are written together."""
UNREADABLE = 50
BACKLOG = 2_000
"""Events that may wait: enough for the workers never to be idle for long."""
BYSTANDERS = 100
"""Entries that no event names."""
FOR_LONG: dict[str, Any] = {"exact_ttl_s": 1e5, "semantic_ttl_s": 1e5}
"""Nothing goes by itself."""
STARTS_S, WORKS_S = 1.0, 0.3
"""The longest that a worker is left alive while it starts, and once it works."""
EARLY = 0.2
"""The share of those that are killed while they start."""
CLAIM_AFTER_S = 1.0


@dataclass
class Report:
    """What came of it."""

    kills: int = 0
    kills_in_hand: int = 0
    """Kills of a worker that had been given events which it had not acknowledged."""
    events: int = 0
    unreadable: int = 0
    namespaces: int = 0
    versions: int = 0
    """Namespaces that have a version."""
    left: int = 0
    """Entries that an event named and that are still there."""
    bystanders: int = 0
    """Entries that no event named and that are still there."""
    aside: int = 0
    """Unreadable events that were put aside, each counted once."""
    aside_twice: int = 0
    pending: int = 0
    lag: int = 0
    seconds: float = 0.0

    @property
    def is_whole(self) -> bool:
        """Was every event applied or put aside, and nothing else done?"""
        return (
            (self.left, self.pending, self.lag) == (0, 0, 0)
            and self.versions == self.namespaces
            and self.bystanders == BYSTANDERS
            and self.aside == self.unreadable
        )


async def kill_and_count(url: str, name: str, *, kills: int, seed: int = 0) -> Report:
    """Kill ``kills`` times in all while events come in, let the workers finish, and count."""
    report, chance = Report(), random.Random(seed)
    stream, began = f"{name}:events", time.monotonic()
    async with (
        redis.asyncio.from_url(url, protocol=3) as client,
        open_store(url, name, index="flat") as store,
    ):
        scope = Scope(tenant="bystander")
        await store.put([record(store, f"by {n}", n, scope, **FOR_LONG) for n in range(BYSTANDERS)])
        over = asyncio.Event()
        writing = asyncio.create_task(_write(store, client, stream, name, over, report))
        try:
            share = [kills - kills // 2, kills // 2]
            await asyncio.gather(
                *(
                    _kill(url, name, worker, times, chance, client, report)
                    for worker, times in zip(WORKERS, share, strict=True)
                )
            )
        finally:
            over.set()
            await writing
        async with _worker(url, name, WORKERS[0]):
            while await _behind(client, stream, name) > 0:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        (group,) = await client.xinfo_groups(stream)
        report.pending, report.lag = group["pending"], group["lag"]
        report.bystanders = await store.count("bystander")
        report.left = await store.count("a") + await store.count("b")
        report.versions = len([key async for key in client.scan_iter(f"{name}:*:version:*")])
        rows: Any = await client.xrange(f"{stream}:dead")
        told = Counter(fields[b"dead-id"] for _, fields in rows)
        report.aside, report.aside_twice = len(told), len(rows) - len(told)
    report.seconds = round(time.monotonic() - began, 1)
    return report


async def _write(
    store: Store,
    client: redis.asyncio.Redis,
    stream: str,
    group: str,
    over: asyncio.Event,
    report: Report,
) -> None:
    """Entries and events about them, ``BACKLOG`` ahead of the workers."""
    await client.xgroup_create(stream, group, 0, mkstream=True)
    while not over.is_set():
        if await _behind(client, stream, group) > BACKLOG:
            await asyncio.sleep(0.01)
            continue
        first = report.events
        records = [
            record(
                *(store, f"p {n}", n % 180, Scope(tenant="ab"[n % 2])),
                tags=(f"t:{n}", "all"),
                **FOR_LONG,
            )
            for n in range(first, first + AT_ONCE)
        ]
        ids = await store.put(records)
        sending = client.pipeline(transaction=True)
        for n, id_ in enumerate(ids, first):
            assert isinstance(id_, str), id_
            forms: list[dict[Any, Any]] = [
                {"tags": f"t:{n}", "namespaces": f"n:{n}"},
                {"ids": json.dumps([id_])},
                {"event": json.dumps({"tags": [f"t:{n}", "t:none"]})},
                {"tags": "all", "ids": id_, "tenant": "nobody"},
                {"tags": json.dumps([f"t:{n}"]), "tenant": "ab"[n % 2]},
            ]
            sending.xadd(stream, forms[n % len(forms)])
            report.namespaces += n % len(forms) == 0
            if n % UNREADABLE == 0:
                sending.xadd(stream, {"tags": "[not JSON"})
        await sending.execute()
        report.events += AT_ONCE
        report.unreadable += sum(n % UNREADABLE == 0 for n in range(first, first + AT_ONCE))


async def _kill(
    url: str,
    name: str,
    worker: str,
    times: int,
    chance: random.Random,
    client: redis.asyncio.Redis,
    report: Report,
) -> None:
    for _ in range(times):
        async with _worker(url, name, worker) as process:
            if chance.random() < EARLY:
                await asyncio.sleep(chance.uniform(0.0, STARTS_S))
            else:
                assert process.stderr is not None
                assert b"This worker consumes" in await process.stderr.readline()
                await asyncio.sleep(chance.uniform(0.0, WORKS_S))
            assert process.returncode is None
            process.kill()
            await process.wait()
        report.kills += 1
        for one in await client.xinfo_consumers(f"{name}:events", name):
            report.kills_in_hand += one["name"] == worker.encode() and one["pending"] > 0


@asynccontextmanager
async def _worker(url: str, name: str, worker: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "semcache_async.cli", "worker", "--redis-url", url),
        *("--name", name, "--consumer", worker, "--claim-after-s", str(CLAIM_AFTER_S)),
        cwd=ROOT,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _behind(client: redis.asyncio.Redis, stream: str, group: str) -> int:
    (one,) = await client.xinfo_groups(stream)
    return int(one["pending"] + one["lag"])


async def _main(kills: int, seed: int) -> Report:
    async with embedded_redis() as url:
        return await kill_and_count(url, f"killed-{secrets.token_hex(4)}", kills=kills, seed=seed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int, nargs="?", default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    report = asyncio.run(_main(given.kills, given.seed))
    print(json.dumps(asdict(report), indent=2))
    sys.exit(not report.is_whole)
