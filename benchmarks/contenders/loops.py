"""Asking a contender: by so many callers, or at given times whatever happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any


async def closed_loop(
    call: Callable[[str], Awaitable[str | None]], texts: Sequence[str], callers: int
) -> dict[str, Any]:
    """So many callers, each taking the next text when its last is answered. They all ask, and their
    time runs, before a call that never waits is let keep out the others."""
    latencies = [0.0] * len(texts)
    answers: list[str | None] = [None] * len(texts)
    waiting = iter(enumerate(texts))

    async def caller() -> None:
        for index, text in waiting:
            sent = time.perf_counter()
            await asyncio.sleep(0)
            answers[index] = await call(text)
            latencies[index] = round((time.perf_counter() - sent) * 1e3, 3)

    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*[caller() for _ in range(callers)])
    elapsed = time.perf_counter() - began
    return {
        "elapsed_s": elapsed,
        "cpu_s": time.process_time() - cpu,
        "latencies_ms": latencies,
        "answers": answers,
    }


async def open_loop(
    call: Callable[[str], Awaitable[str | None]], texts: Sequence[str], at_s: Sequence[float]
) -> dict[str, Any]:
    """Each text leaves when it is due (``at_s`` after the start, in order), whether or not earlier
    ones were answered, and its latency runs from then. ``late_ms``: the most that one left late."""
    latencies = [0.0] * len(texts)
    answers: list[str | None] = [None] * len(texts)
    late = 0.0

    async def one(index: int, text: str, due: float) -> None:
        answers[index] = await call(text)
        latencies[index] = round((time.perf_counter() - due) * 1e3, 3)

    cpu, began = time.process_time(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for index, (text, at) in enumerate(zip(texts, at_s, strict=True)):
            due = began + at
            while (early := due - time.perf_counter()) > 0:  # noqa: ASYNC110 - may wake early
                await asyncio.sleep(early)
            late = max(late, -early)
            group.create_task(one(index, text, due))
    elapsed = time.perf_counter() - began
    return {
        "elapsed_s": elapsed,
        "cpu_s": time.process_time() - cpu,
        "latencies_ms": latencies,
        "answers": answers,
        "late_ms": round(late * 1e3, 3),
    }
