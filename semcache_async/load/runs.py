"""A sweep over loads, in turns, as often as asked."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from semcache_async.load.asking.driver import MAX_IN_FLIGHT, closed_loop, open_loop
from semcache_async.load.asking.tally import Tally
from semcache_async.load.asking.targets import Target
from semcache_async.load.measured.machine import Machine, describe_machine
from semcache_async.load.measured.result import Result, make_result
from semcache_async.load.traffic.arrivals import Times, from_trace, synthetic
from semcache_async.load.traffic.texts import TextSet, draw, load_texts
from semcache_async.load.traffic.workload import Arrival

__all__ = ["LoadOptions", "Watch", "plan", "run_load"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What is asked, and how; ``rates`` for the open loop, else ``callers`` for the closed one."""

    rates: tuple[float, ...] = ()
    callers: int | None = None
    duration_s: float = 30.0
    warm_up_s: float = 5.0
    trace: Path | None = None
    texts: str = "banking77"
    zipf: float = 1.1
    seed: int = 0
    repeats: int = 1
    max_in_flight: int = MAX_IN_FLIGHT


Watch = Callable[[Tally, str], AbstractAsyncContextManager[None]]
"""Shows one run, named, while it lasts."""


@asynccontextmanager
async def _unwatched(_: Tally, __: str) -> AsyncIterator[None]:
    yield


async def run_load(
    target: Target,
    options: LoadOptions,
    *,
    name: str | None = None,
    machine: Machine | None = None,
    notes: tuple[str, ...] = (),
    watch: Watch = _unwatched,
) -> list[Result]:
    """Every load in turn, and all again for each repeat. Repeats are identical: what they differ
    by is noise. Raises ``LoadError`` for files that cannot be read."""
    texts = load_texts(options.texts)
    machine = machine or describe_machine()
    loads: tuple[float | None, ...] = options.rates or (None,)
    results = []
    for repeat in range(options.repeats):
        for rate in loads:
            load = f"{rate:g}/s" if rate is not None else f"{options.callers:,} callers"
            again = f", repeat {repeat + 1} of {options.repeats}" if options.repeats > 1 else ""
            await target.begin()
            tally = Tally(
                warm_up_s=options.warm_up_s, duration_s=options.duration_s, clock=time.perf_counter
            )
            async with watch(tally, load + again):
                about = await _one(target, options, texts, rate, tally)
            results.append(
                make_result(
                    tally,
                    name=name or target.name,
                    workload=about,
                    seed=options.seed,
                    machine=machine,
                    llm_calls=target.llm_calls(),
                    target_rate=rate,
                    callers=None if rate is not None else options.callers,
                    max_in_flight=options.max_in_flight if rate is not None else None,
                    notes=notes,
                )
            )
    return results


def plan(options: LoadOptions, texts: TextSet, rate: float) -> tuple[list[Arrival], str]:
    """Who asks what when, warm-up included, and where all that comes from."""
    seconds = options.warm_up_s + options.duration_s
    times = _times(options, rate, seconds)
    questions = draw(texts, options.zipf, options.seed)
    arrivals = [
        Arrival(at, question.text, question)
        for at, question in zip(times.at_s.tolist(), questions, strict=False)
    ]
    return arrivals, _about(options, texts, f"arrival times from {times.about}")


def _times(options: LoadOptions, rate: float, seconds: float) -> Times:
    if options.trace is None:
        return synthetic(rate=rate, seconds=seconds, seed=options.seed)
    return from_trace(options.trace, rate=rate, seconds=seconds, seed=options.seed)


def _about(options: LoadOptions, texts: TextSet, arrivals: str) -> str:
    return (
        f"Question texts from {texts.about}; {arrivals}; popularity by Zipf's law, "
        f"s = {options.zipf:g} over intents ranked at random, any wording of an intent alike; "
        f"seed {options.seed}. No public source has both texts and times, so they are combined."
    )


async def _one(
    target: Target, options: LoadOptions, texts: TextSet, rate: float | None, tally: Tally
) -> str:
    if rate is None:
        questions = draw(texts, options.zipf, options.seed)
        await closed_loop(target, questions, tally, callers=options.callers or 1)
        return _about(options, texts, "no arrival times, each caller asks again once answered")
    arrivals, about = plan(options, texts, rate)
    await open_loop(target, arrivals, tally, max_in_flight=options.max_in_flight)
    return about
