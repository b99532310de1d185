"""Asking a contender: by so many callers, or at given times whatever happens."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

Clock: TypeAlias = Callable[[], float]

_TICK_S = 0.005


async def closed_loop(
    call: Callable[[str], Awaitable[str | None]],
    texts: Sequence[str],
    callers: int,
    limit_s: float = math.inf,
    *,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """So many callers, each taking the next text when its last is answered, until ``limit_s`` is
    over. They all ask, and their time runs, before a call that never waits is let keep out the
    others."""
    latencies = [0.0] * len(texts)
    answers: list[str | None] = [None] * len(texts)
    waiting = iter(enumerate(texts))
    asked = 0

    async def caller() -> None:
        nonlocal asked
        while (sent := clock()) < ends and (taken := next(waiting, None)):
            index, text = taken
            asked += 1
            await asyncio.sleep(0)
            answers[index] = await call(text)
            latencies[index] = round((clock() - sent) * 1e3, 3)

    cpu, began = time.process_time(), clock()
    ends = began + limit_s
    async with _watched(clock) as lag_ms:
        await asyncio.gather(*[caller() for _ in range(callers)])
    elapsed = clock() - began
    return {
        "elapsed_s": elapsed,
        "cpu_s": time.process_time() - cpu,
        "latencies_ms": latencies[:asked],
        "answers": answers[:asked],
        "lag_ms": lag_ms,
    }


async def open_loop(
    call: Callable[[str], Awaitable[str | None]],
    texts: Sequence[str],
    at_s: Sequence[float],
    *,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """Each text leaves when it is due (``at_s`` after the start, in order), whether or not earlier
    ones were answered, and its latency runs from then. ``late_ms``: the most that one left late."""
    latencies = [0.0] * len(texts)
    answers: list[str | None] = [None] * len(texts)
    late = 0.0

    async def one(index: int, text: str, due: float) -> None:
        answers[index] = await call(text)
        latencies[index] = round((clock() - due) * 1e3, 3)

    cpu, began = time.process_time(), clock()
    async with _watched(clock) as lag_ms, asyncio.TaskGroup() as group:
        for index, (text, at) in enumerate(zip(texts, at_s, strict=True)):
            due = began + at
            while (early := due - clock()) > 0:  # noqa: ASYNC110 - may wake early
                await asyncio.sleep(early)
            late = max(late, -early)
            group.create_task(one(index, text, due))
    elapsed = clock() - began
    return {
        "elapsed_s": elapsed,
        "cpu_s": time.process_time() - cpu,
        "latencies_ms": latencies,
        "answers": answers,
        "late_ms": round(late * 1e3, 3),
        "lag_ms": lag_ms,
    }


@asynccontextmanager
async def _watched(clock: Clock) -> AsyncIterator[list[float]]:
    """By how much a timer of every 5 ms was late meanwhile. A tick that a stall swallowed counts
    with what was left of the stall."""
    lag_ms: list[float] = []

    async def tick() -> None:
        due = clock() + _TICK_S
        while True:
            await asyncio.sleep(due - clock())
            now = clock()
            while due <= now:
                lag_ms.append(round((now - due) * 1e3, 3))
                due += _TICK_S

    ticking = asyncio.create_task(tick())
    try:
        yield lag_ms
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
