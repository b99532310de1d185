"""Contenders side by side: each in a process of its own, dropped where it cannot go on."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import redis.asyncio

from benchmarks.bench.record import Row
from benchmarks.bench.sizes import AGAIN, BEFORE
from benchmarks.contenders import Setup, load
from benchmarks.contenders.model import write_model
from benchmarks.contenders.process import ContenderError, Worker, start_worker
from semcache_async.store.embedded import embedded_redis

__all__ = ["Field", "open_field", "rotated", "say", "storage_of"]

OPENING_S = 180.0
"""Importing torch on a busy machine takes a while."""

T = TypeVar("T")


class Field:
    """Those that are in the race. Make one with ``open_field``."""

    def __init__(self, client: redis.asyncio.Redis, model: Path) -> None:
        self.client, self.model = client, model
        self.workers: dict[str, Worker] = {}
        self.about: dict[str, Row] = {}
        """What does each one's work, and its versions."""
        self.left_out: dict[str, str] = {}
        """Who is not, or no longer, in the race, and why."""
        self.failures: list[str] = []
        """Turns that failed."""

    async def attempt(self, label: str, turn: Awaitable[T]) -> T | None:
        """What the contender's turn brings; None where it failed. One that does not answer any
        more is left out from then on."""
        try:
            return await turn
        except (ContenderError, ValueError) as error:
            why = str(error).strip()
            worker = self.workers[label]
            if worker.gone:
                del self.workers[label]
                self.left_out[label] = _short(why)
                say(f"{label}: left out: {why}")
            else:
                self.failures.append(f"{label}: {_short(why)}")
                say(f"{label}: this turn failed: {why}")
            return None

    async def redis_versions(self) -> Row:
        server = await self.client.info("server")
        modules = {module["name"]: module["ver"] for module in await self.client.module_list()}
        return {"version": server["redis_version"], "modules": modules}

    def record(self) -> Row:
        return {"about": self.about, "left_out": self.left_out, "failures": self.failures}


@asynccontextmanager
async def open_field(
    labels: Sequence[str], max_distance: float, *, before: Path | None = None
) -> AsyncIterator[Field]:
    """One Redis, and a process for each label whose environment was made. Contenders with the same
    storage share it: ``ours-x`` what ``ours`` stored, ``redisvl-x`` likewise. ``before``: the
    checkout that the contender of that name runs from."""
    async with AsyncExitStack() as stack:
        model = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        write_model(model)
        url = await stack.enter_async_context(embedded_redis())
        client = redis.asyncio.Redis.from_url(url, protocol=3, decode_responses=True)
        stack.push_async_callback(client.aclose)
        field = Field(client, model)
        for label in labels:
            name = contender_of(label)
            setup = Setup(
                name=f"bench-{storage_of(label)}",
                redis_url=url,
                model=model,
                max_distance=max_distance,
            )
            try:
                starting = start_worker(name, setup, before if label == BEFORE else None)
                field.workers[label] = await stack.enter_async_context(starting)
            except ContenderError as error:
                field.left_out[label] = str(error)
                say(f"{label}: left out: {error}")
                continue
            began = time.perf_counter()
            opening = field.workers[label].ask("open", within_s=OPENING_S)
            opened = await field.attempt(label, opening)
            if opened is None:
                if label in field.workers:
                    await field.workers.pop(label).aclose()
                    field.left_out[label] = field.failures.pop()
                continue
            environment = load(name).ENVIRONMENT
            field.about[label] = {
                "what": opened["about"],
                "versions": opened["versions"],
                "environment": f".venv-{environment}" if environment else ".venv",
            }
            say(f"{label}: open in {time.perf_counter() - began:.0f} s")
        yield field


def contender_of(label: str) -> str:
    return "ours" if label in (AGAIN, BEFORE) else label


def storage_of(label: str) -> str:
    if label == BEFORE:
        return label
    name = contender_of(label)
    family = name.partition("-")[0]
    return family if family in ("ours", "redisvl") else name


def rotated(items: Sequence[T], turn: int) -> list[T]:
    """Another one first, each turn."""
    shift = turn % len(items) if items else 0
    return [*items[shift:], *items[:shift]]


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _short(why: str) -> str:
    """The first line, and the last one where a traceback ends with it."""
    lines = [line.strip() for line in why.splitlines() if line.strip()]
    stderr = next((n for n, line in enumerate(lines) if line.startswith("--- its")), len(lines))
    last = lines[max(0, stderr - 1)] if lines else ""
    return last if len(lines) < 2 or lines[0] == last else f"{lines[0]} {last}"[:300]
