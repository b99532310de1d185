"""One contender's turn, as measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import redis.asyncio

from benchmarks.contenders.process import Worker


class Loop(NamedTuple):
    """One closed loop, as measured."""

    per_s: float
    latencies_ms: list[float]
    answers: list[str | None]
    worker_cpu_ms: float
    """CPU a call by the contender's process."""
    redis_cpu_ms: float
    """CPU a call by Redis."""
    idle_cpu: float
    """Share of a CPU that its process used while the others ran."""
    lag_ms: list[float]
    """By how much the timers of its event loop were late."""
    elapsed_s: float

    def at(self, percentile: float) -> float:
        return float(np.percentile(self.latencies_ms, percentile))


async def measure(
    worker: Worker,
    client: redis.asyncio.Redis,
    call: str,
    texts: Sequence[str],
    callers: int | None = None,
    *,
    within_s: float | None = None,
    **paced: Any,
) -> Loop:
    """A closed loop of so many ``callers`` (``limit_s``), or an open one (``at_s``)."""
    if callers is not None:
        paced["callers"] = callers
    before = await redis_cpu(client)
    reply = await worker.ask("loop", within_s=within_s, call=call, texts=texts, **paced)
    spent = await redis_cpu(client) - before
    asked = len(reply["latencies_ms"])
    return Loop(
        per_s=asked / reply["elapsed_s"],
        latencies_ms=reply["latencies_ms"],
        answers=reply["answers"],
        worker_cpu_ms=reply["cpu_s"] / asked * 1e3,
        redis_cpu_ms=spent / asked * 1e3,
        idle_cpu=reply["idle_cpu"],
        lag_ms=reply["lag_ms"],
        elapsed_s=reply["elapsed_s"],
    )


async def redis_cpu(client: redis.asyncio.Redis) -> float:
    info = await client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])
