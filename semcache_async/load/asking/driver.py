"""Asking: at given times whatever happens (open loop), or by so many callers (closed loop)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

from semcache_async.data import Question
from semcache_async.load.asking.tally import Tally
from semcache_async.load.asking.targets import Target
from semcache_async.load.traffic.workload import Arrival

__all__ = ["DRAIN_S", "MAX_IN_FLIGHT", "closed_loop", "open_loop"]

MAX_IN_FLIGHT = 10_000
"""Requests under way at once, at most; the others' wait is theirs to count, and is reported."""
DRAIN_S = 60.0
"""How long after the last request the answers may take; then the rest counts as unanswered."""


async def open_loop(
    target: Target,
    arrivals: Sequence[Arrival],
    tally: Tally,
    *,
    max_in_flight: int = MAX_IN_FLIGHT,
    drain_s: float = DRAIN_S,
) -> None:
    """Each request leaves when it is due, whether or not earlier ones were answered, and its time
    runs from then: a target that stalls is charged with all that were due meanwhile."""
    slots = asyncio.Semaphore(max_in_flight)

    async def one(arrival: Arrival, due: float) -> None:
        tally.held += slots.locked()
        try:
            await slots.acquire()
        except asyncio.CancelledError:
            tally.never_sent(due)
            raise
        try:
            await tally.ask(target, arrival, due)
        finally:
            slots.release()
            if (task := asyncio.current_task()) is not None:
                crew.discard(task)  # cheaper than a done callback

    async with _crew(tally, drain_s) as crew:
        for arrival in arrivals:
            due = tally.began + arrival.at_s
            while (early := due - tally.clock()) > 0:  # noqa: ASYNC110 - may wake early
                await asyncio.sleep(early)
            tally.left(due)
            crew.add(asyncio.create_task(one(arrival, due)))


async def closed_loop(
    target: Target,
    questions: Iterator[Question],
    tally: Tally,
    *,
    callers: int,
    drain_s: float = DRAIN_S,
) -> None:
    """Each of ``callers`` asks the next question as soon as it was answered, until the window
    closes. A target that stalls is asked less: what it can do, not what its users would see."""

    async def caller() -> None:
        while (now := tally.clock()) < tally.closes:
            question = next(questions)
            await tally.ask(target, Arrival(0.0, question.text, question), now)
            await asyncio.sleep(0)  # a target that never waits must not keep out the others

    async with _crew(tally, drain_s) as crew:
        crew |= {asyncio.create_task(caller()) for _ in range(callers)}
        await asyncio.sleep(tally.closes - tally.clock())


@asynccontextmanager
async def _crew(tally: Tally, drain_s: float) -> AsyncIterator[set[asyncio.Task[None]]]:
    """Starts the tally's clock; waits at the end for the tasks in the set, which must not raise;
    leaves none behind."""
    crew: set[asyncio.Task[None]] = set()
    tally.start()
    lag = asyncio.create_task(tally.watch_lag())
    try:
        yield crew
        if crew:
            done, _ = await asyncio.wait(crew, timeout=drain_s)
            for task in done:
                task.result()
        await asyncio.sleep(0)
    finally:
        left = [lag, *crew]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
