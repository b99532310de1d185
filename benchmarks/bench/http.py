"""Proxies over HTTP, in front of the same simulated LLM and under the same load."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench.field import say
from benchmarks.bench.proxies import PROXIES, Proxy, open_llm, open_proxy
from benchmarks.bench.record import Row, write_results
from benchmarks.bench.sizes import Sizes
from benchmarks.contenders.process import ContenderError
from benchmarks.scale_data import Floats, embed_banking77
from semcache_async.data import Question, banking77
from semcache_async.load.asking.driver import closed_loop, open_loop
from semcache_async.load.asking.http import HttpTarget, open_http
from semcache_async.load.asking.tally import Tally
from semcache_async.load.asking.targets import RequestError
from semcache_async.load.extra import LoadError
from semcache_async.load.measured.machine import describe_machine
from semcache_async.load.measured.result import Result, make_result
from semcache_async.load.traffic.arrivals import synthetic
from semcache_async.load.traffic.workload import Arrival

__all__ = ["EXACT", "REWORDED", "run_http"]

EXACT, REWORDED = "exact repeats", "reworded"
EQUAL = 0.7
"""Share of the slowest one's capacity that is the equal load."""

_OPENINGS = (
    *("Hi, {}", "Please: {}", "Hi there, {}", "Quick question: {}", "ok {}", "and {}", "hey {}"),
    *("um, {}", "Well, {}", "I ask again: {}"),
)
"""With any of them, 99.5 % of the questions stay within a distance of 0.1."""
_LLM_S = 0.05
_MARGIN = 0.02
_FILLERS, _WARM_S, _DRAIN_S = 32, 1.0, 10.0


async def run_http(sizes: Sizes, cached: Path, keep: Callable[[Row], None]) -> None:
    """The stage; ``keep`` is given the whole record whenever there is more."""
    vectors, _, _ = embed_banking77(cached)
    far = sizes.max_distance + _MARGIN
    stored = apart(banking77("train"), vectors, far, sizes.http_entries)
    results: list[Result] = []
    left_out: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(open_llm(_LLM_S))
        proxies: list[tuple[Proxy, HttpTarget]] = []
        for name in PROXIES:
            try:
                opening = open_proxy(name, upstream, sizes.max_distance)
                proxy = await stack.enter_async_context(opening)
                opening_http = open_http(proxy.url, model="simulated", timeout_s=60.0)
                target = await stack.enter_async_context(opening_http)
                took = await fill(target, stored)
            except (ContenderError, LoadError, TimeoutError) as error:
                left_out[name] = str(error) or "took too long to fill"
                say(f"{name} over HTTP: left out: {left_out[name]}")
                continue
            say(f"{name} over HTTP: {len(stored):,} entries in {took:.0f} s")
            proxies.append((proxy, target))

        def keep_all() -> None:
            about = {proxy.name: proxy.about for proxy, _ in proxies}
            shown: Row = {"about": about, "left_out": left_out, "entries": len(stored)}
            keep({**shown, "results": write_results(results)})

        for turn in range(sizes.http_rounds):
            for what in (EXACT, REWORDED):
                for proxy, target in proxies[turn % 2 :] + proxies[: turn % 2]:
                    results.append(await one(proxy, target, what, stored, turn, sizes, None))
            keep_all()
        slowest = min(capacity(results, proxy.name) for proxy, _ in proxies) if proxies else 0.0
        for turn in range(sizes.http_rounds if slowest else 0):
            rate = float(f"{slowest * EQUAL:.3g}")
            for proxy, target in proxies[turn % 2 :] + proxies[: turn % 2]:
                results.append(await one(proxy, target, REWORDED, stored, turn, sizes, rate))
            keep_all()


def apart(
    questions: Sequence[Question], vectors: Floats, distance: float, count: int
) -> list[Question]:
    """The first ``count`` that are all farther than ``distance`` from each other: asked once, each
    is stored, and none is answered by another's answer."""
    chosen: list[int] = []
    kept = np.empty((count, vectors.shape[1]), np.float32)
    for number, vector in enumerate(vectors):
        if len(chosen) == count:
            break
        if not chosen or float((kept[: len(chosen)] @ vector).max()) < 1.0 - distance:
            kept[len(chosen)] = vector
            chosen.append(number)
    return [questions[number] for number in chosen]


async def fill(target: HttpTarget, questions: Sequence[Question]) -> float:
    """Ask everything once; the seconds that took."""
    waiting = iter(questions)

    async def filler() -> None:
        for question in waiting:
            try:
                await target.ask(question.text)
            except RequestError as error:
                raise ContenderError(f"{target.name}: {error}") from error

    began = time.perf_counter()
    async with asyncio.timeout(300.0):
        await asyncio.gather(*[filler() for _ in range(_FILLERS)])
    return time.perf_counter() - began


async def one(
    proxy: Proxy,
    target: HttpTarget,
    what: str,
    stored: Sequence[Question],
    turn: int,
    sizes: Sizes,
    rate: float | None,
) -> Result:
    """One turn, by ``sizes.callers`` or at ``rate``."""
    tally = Tally(warm_up_s=_WARM_S, duration_s=sizes.http_s, clock=time.perf_counter)
    asked = wordings(what, stored, turn)
    load: dict[str, Any]
    if rate is None:
        load = {"callers": sizes.callers}
        await closed_loop(target, asked, tally, callers=sizes.callers, drain_s=_DRAIN_S)
    else:
        load = {"target_rate": rate}
        times = synthetic(rate=rate, seconds=_WARM_S + sizes.http_s, seed=sizes.seed + turn)
        due = [Arrival(at, q.text, q) for at, q in zip(times.at_s.tolist(), asked, strict=False)]
        await open_loop(target, due, tally, drain_s=_DRAIN_S)
    made = make_result(
        tally,
        name=f"{proxy.name}, {what}",
        workload=f"{len(stored):,} BANKING77 train questions, all farther apart than the largest "
        f"distance, asked once before; {what}",
        seed=sizes.seed,
        machine=describe_machine(),
        llm_calls=None,
        **load,
    )
    p99 = made.answers().percentile(99.0) or 0.0
    say(f"{made.name}, {made.load}: {made.achieved:.0f}/s, p99 {p99 * 1e3:.0f} ms")
    return made


def wordings(what: str, stored: Sequence[Question], turn: int) -> Iterator[Question]:
    """Without end; reworded, none comes again before all others did."""
    if what == EXACT:
        yield from itertools.cycle(stored)
    shift = turn * 3 % len(_OPENINGS)
    for opening in itertools.cycle(_OPENINGS[shift:] + _OPENINGS[:shift]):
        for question in stored:
            yield question._replace(text=opening.format(question.text))


def capacity(results: Sequence[Result], name: str) -> float:
    return statistics.median(
        result.achieved
        for result in results
        if result.name == f"{name}, {REWORDED}" and result.callers is not None
    )
