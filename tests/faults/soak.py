"""A soak: four processes on one Redis behind a faulty network, while workers, leaders and Redis
are killed and paused at random; then a check of everything that happened.

    python -m tests.faults.soak --seconds 600 --seed 7

The same seed does the same at the same times. What was found wrong is told a line each, with exit
status 1.
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
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from semcache_async.store.embedded import embedded_redis
from tests.faults.history import DEADLINE_S, Span, read_history
from tests.faults.proxy import Proxy, proxied

ROOT = Path(__file__).parents[2]
WORKERS = 4
_LEASE_S, _LOOK_S = 2.0, 0.1
_KINDS = (
    *("kill worker", "kill leader", "pause worker", "pause leader", "kill redis", "pause redis"),
    *("reset", "forget", "black hole", "refuse", "trickle", "latency"),
)
_NETWORK: dict[str, tuple[str, object, object]] = {
    "black hole": ("black_hole", True, False),
    "refuse": ("refuses", True, False),
    "trickle": ("trickle", (7, 0.005), None),
    "latency": ("latency_s", 0.05, 0.0),
}
"""An attribute of the proxy, its value in the fault, and after."""


def after_s(lease_s: float) -> float:
    """How long a fault may have its effects."""
    return 3 * lease_s + 4.0


class Fault(NamedTuple):
    """What is done after so many seconds, and for how long."""

    at_s: float
    kind: str
    seconds: float


def plan(seed: int, seconds: float, lease_s: float) -> list[Fault]:
    """Faults in clusters, with quiet between, in which what must hold is held to."""
    chance = random.Random(seed)
    faults = []
    at_s = 4.0
    while at_s < seconds - after_s(lease_s):
        for _ in range(chance.randint(1, 3)):
            faults.append(Fault(at_s, chance.choice(_KINDS), chance.uniform(0.1, 2 * lease_s)))
            at_s += faults[-1].seconds + chance.random()
        at_s += after_s(lease_s) + chance.uniform(2.0, 8.0)
    return faults


class Worker:
    """One of the processes, started again when it is killed."""

    def __init__(self, url: str, folder: Path, number: int, seed: int, lease_s: float) -> None:
        self._url = url
        self._lease_s = lease_s
        self._folder = folder
        self._number = number
        self._seed = seed
        self._lives = 0
        self.process: Process | None = None

    @property
    def life(self) -> str:
        """The name of its present life."""
        return f"{self._number}-{self._lives}"

    async def start(self) -> None:
        self._lives += 1
        log = self._folder / f"{self.life}.jsonl"
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.faults.soaked", self._url, str(log)),
            *(str(self._seed * 10_000 + self._number * 100 + self._lives), str(self._lease_s)),
            cwd=ROOT,
            stdin=PIPE,
        )

    def leads(self) -> bool:
        """Is an LLM call of its own under way?"""
        log = self._folder / f"{self.life}.jsonl"
        text = log.read_text() if log.exists() else ""
        return text.count('"event": "call"') > text.count('"event": "made"')

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def wait(self) -> int:
        assert self.process is not None
        return await self.process.wait()

    def let_it_end(self) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.close()


class Soak:
    """The system, and what is done to it."""

    def __init__(
        self, proxy: Proxy, workers: Sequence[Worker], seed: int, redis: str, lease_s: float
    ) -> None:
        self._proxy = proxy
        self._after_s = after_s(lease_s)
        self._workers = workers
        self._chance = random.Random(seed)
        self._redis_mark = redis
        self.disturbed: list[Span] = []

    async def run(self, faults: Sequence[Fault], seconds: float) -> None:
        began = time.monotonic()
        for fault in faults:
            await asyncio.sleep(began + fault.at_s - time.monotonic())
            since = time.time()
            await self._do(fault)
            self.disturbed.append(Span(since - 1.0, time.time() + self._after_s, fault.kind))
        await asyncio.sleep(began + seconds - time.monotonic())

    async def _do(self, fault: Fault) -> None:
        deed, _, object_ = fault.kind.partition(" ")
        if object_ in ("worker", "leader"):
            leaders = [worker for worker in self._workers if worker.leads()]
            worker = self._chance.choice((object_ == "leader" and leaders) or self._workers)
            if deed == "kill":
                worker.signal(signal.SIGKILL)
                await worker.wait()
                await worker.start()
            else:
                worker.signal(signal.SIGSTOP)
                await asyncio.sleep(fault.seconds)
                worker.signal(signal.SIGCONT)
        elif object_ == "redis":
            pid = self._redis()
            assert pid is not None, "the Redis under soak does not run"
            os.kill(pid, signal.SIGKILL if deed == "kill" else signal.SIGSTOP)
            if deed == "pause":
                await asyncio.sleep(fault.seconds)
                os.kill(pid, signal.SIGCONT)
            else:
                while self._redis() in {None, pid}:  # noqa: ASYNC110 - its guard starts it again
                    await asyncio.sleep(_LOOK_S)
        elif fault.kind in _NETWORK:
            name, wrong, right = _NETWORK[fault.kind]
            setattr(self._proxy, name, wrong)
            await asyncio.sleep(fault.seconds)
            setattr(self._proxy, name, right)
        else:
            getattr(self._proxy, deed)()

    def _redis(self) -> int | None:
        """The process, if it runs."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_text()
            except OSError:  # it has ended meanwhile
                continue
            if "redis-server" in command and self._redis_mark in command:
                return int(process.name)
        return None


async def soak(
    seconds: float, seed: int, lease_s: float = _LEASE_S
) -> tuple[list[str], dict[str, object]]:
    """What was found wrong, and how much of what happened."""
    with tempfile.TemporaryDirectory(prefix="semcache-soak-") as name:
        folder = Path(name)
        home = folder / "redis"
        async with (
            embedded_redis(home) as url,
            proxied(url) as (proxy, through),
        ):
            workers = [Worker(through, folder, number, seed, lease_s) for number in range(WORKERS)]
            try:
                for worker in workers:
                    await worker.start()
                doing = Soak(proxy, workers, seed, str(home), lease_s)
                await doing.run(plan(seed, seconds, lease_s), seconds)
                for worker in workers:
                    worker.let_it_end()
                async with asyncio.timeout(2 * DEADLINE_S):
                    ends = [await worker.wait() for worker in workers]
            finally:
                for worker in workers:
                    if worker.process is not None and worker.process.returncode is None:
                        worker.process.kill()
                        await worker.wait()
        history = read_history(folder, {worker.life for worker in workers})
        faults = history.faults(doing.disturbed)
        faults += [f"a worker ended with {end}" for end in ends if end]
        return faults, history.summary()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("--seconds", type=float, default=120.0)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    faults, summary = asyncio.run(soak(chosen.seconds, chosen.seed))
    print(json.dumps(summary))
    for fault in faults:
        print(fault)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
