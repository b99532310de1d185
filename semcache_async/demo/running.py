"""The demo: real questions in real bursts, with the cache and, at the same moments, without it."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import anyio
import anyio.to_thread
import numpy as np
from rich.console import Console

from semcache_async.cache import SemanticCache
from semcache_async.config import CacheConfig
from semcache_async.data import banking77
from semcache_async.demo.live import Outcome, Traffic, shown
from semcache_async.demo.traps import Asked, ask_traps
from semcache_async.embed import TextEmbedder, load_embedder
from semcache_async.load.traffic.workload import Arrival, Replayed, make_workload, replay
from semcache_async.stats import Stats
from semcache_async.testing import SimulatedLLM
from semcache_async.types import Scope, Source

__all__ = ["Capacity", "DemoOptions", "DemoResult", "NearMiss", "run_demo"]

_BURST_CALLERS = 64
_NEAR_MISS_SAMPLE = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What the demo does; each field is an option of ``semcache demo``."""

    requests: int
    rate: float
    callers: int
    zipf: float
    llm_ms: float
    seed: int
    redis_url: str | None
    max_distance: float | None
    model: str | None = None
    """None: the default one."""
    burst_s: float = 2.0
    """How long each closed-loop burst of lookups at the end lasts."""


class Capacity(NamedTuple):
    """A closed-loop burst of lookups."""

    prompts: str
    lookups: int
    hits: int
    seconds: float


class NearMiss(NamedTuple):
    """A prompt that the LLM answered, and the nearest other prompt that it answered."""

    prompt: str
    nearest: str
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Everything that was measured."""

    options: DemoOptions
    max_distance: float
    arrivals: Sequence[Arrival]
    outcomes: Sequence[Outcome]
    replayed: Replayed
    stats: Stats
    """The cache's own counters at the end of the traffic."""
    llm: SimulatedLLM
    plain_latencies: Sequence[float]
    plain_llm: SimulatedLLM
    capacities: Sequence[Capacity]
    near_misses: Sequence[NearMiss] = ()
    traps: Sequence[Asked] = ()

    def disagreements(self) -> list[str]:
        """Where the cache's counters differ from what was observed from outside; empty is right."""
        stats = self.stats
        seen = Counter(outcome.answer.source for outcome in self.outcomes)
        pairs = [(source.value, stats[source.value], seen[source]) for source in Source]
        pairs += [
            ("requests", stats.requests, len(self.arrivals)),
            ("answers", len(self.outcomes), len(self.arrivals)),
            ("failed", stats.failed + stats.shed, 0),
            ("llm_calls", stats.llm_calls, self.llm.calls),
            ("llm_calls", stats.llm_calls, stats.generated + stats.bypassed),
            ("llm_calls without the cache", self.plain_llm.calls, len(self.arrivals)),
            ("requests under way", stats.flights + stats.waiting + stats.queued, 0),
        ]
        return [f"{name}: {ours} is not {theirs}" for name, ours, theirs in pairs if ours != theirs]


async def run_demo(options: DemoOptions, console: Console) -> DemoResult:
    """Run the traffic and report progress on ``console``. Raises as ``SemanticCache.open``."""
    questions = banking77("train")
    arrivals = make_workload(
        questions,
        requests=options.requests,
        rate=options.rate,
        zipf=options.zipf,
        seed=options.seed,
    )
    config = CacheConfig(name="semcache-demo")
    if options.max_distance is not None:
        config = CacheConfig(name="semcache-demo", max_distance=options.max_distance)
    console.print(
        f"{len(arrivals):,} questions out of {len(questions):,} from BANKING77 at "
        f"{options.rate:g}/s, simulated LLM (median {options.llm_ms:g} ms), max_distance "
        f"{config.max_distance:g}, seed {options.seed}. Opening the embedder and Redis ..."
    )
    embedder = await anyio.to_thread.run_sync(load_embedder, options.model)
    async with SemanticCache.open(options.redis_url, config=config, embedder=embedder) as cache:
        scope = Scope(tenant=f"demo-{secrets.token_hex(8)}")
        try:
            result = await _measure(cache, scope, arrivals, options, console)
            result = replace(result, traps=await ask_traps(cache, scope, embedder))
        finally:
            if options.redis_url is not None:
                with anyio.CancelScope(shield=True):
                    await cache.invalidate(tenant=scope.tenant)
    misses = await anyio.to_thread.run_sync(_near_misses, embedder, result)
    return replace(result, near_misses=misses)


async def _measure(
    cache: SemanticCache,
    scope: Scope,
    arrivals: Sequence[Arrival],
    options: DemoOptions,
    console: Console,
) -> DemoResult:
    llm, plain_llm = (
        SimulatedLLM(median_s=options.llm_ms / 1_000, seed=options.seed) for _ in range(2)
    )
    traffic = Traffic(llm)
    plain_latencies: list[float] = []

    async def ask(arrival: Arrival, due: float) -> None:
        answer = await cache.get_or_generate(arrival.prompt, llm, scope=scope)
        traffic.add(Outcome(arrival, answer, time.perf_counter() - due))

    async def ask_plainly(arrival: Arrival, due: float) -> None:
        await plain_llm(arrival.prompt)
        plain_latencies.append(time.perf_counter() - due)

    async with shown(traffic, len(arrivals), console), asyncio.TaskGroup() as group:
        both = [
            group.create_task(
                replay(arrivals, asking, began=traffic.began, callers=options.callers)
            )
            for asking in (ask, ask_plainly)
        ]
    stats = cache.stats()
    console.print("Traffic done; now bursts of lookups by 64 callers, and the near-misses ...")
    capacities = await _capacities(cache, scope, arrivals, options.burst_s)
    return DemoResult(
        options=options,
        max_distance=cache.config.max_distance,
        arrivals=arrivals,
        outcomes=traffic.outcomes,
        replayed=both[0].result(),
        stats=stats,
        llm=llm,
        plain_latencies=plain_latencies,
        plain_llm=plain_llm,
        capacities=capacities,
    )


# -- after the traffic


async def _capacities(
    cache: SemanticCache, scope: Scope, arrivals: Sequence[Arrival], seconds: float
) -> list[Capacity]:
    asked = {arrival.prompt for arrival in arrivals}
    seen = itertools.cycle([arrival.prompt for arrival in arrivals])
    unseen = [question.text for question in banking77("test") if question.text not in asked]
    return [
        await _burst(cache, scope, "the traffic's own prompts", seen, seconds),
        await _burst(cache, scope, "prompts never seen", unseen, seconds),
    ]


async def _burst(
    cache: SemanticCache, scope: Scope, name: str, prompts: Iterable[str], seconds: float
) -> Capacity:
    """Each caller asks again as soon as it is answered, until the time or the prompts run out."""
    began = time.perf_counter()
    left = iter(prompts)
    hits: list[bool] = []

    async def caller() -> None:
        for prompt in left:
            hits.append(await cache.lookup(prompt, scope=scope) is not None)
            if time.perf_counter() - began >= seconds:
                break

    async with asyncio.TaskGroup() as group:
        for _ in range(_BURST_CALLERS):
            group.create_task(caller())
    return Capacity(name, len(hits), sum(hits), time.perf_counter() - began)


def _near_misses(embedder: TextEmbedder, result: DemoResult) -> list[NearMiss]:
    """For each stored prompt of a sample, the nearest other one beyond max_distance, nearest first.

    The sample takes whole intents at random, since that is where near prompts are.
    """
    stored = {
        outcome.arrival.prompt: outcome.arrival.question.intent
        for outcome in result.outcomes
        if outcome.answer.source is Source.GENERATED
    }
    intents = sorted(set(stored.values()))
    order = np.random.default_rng(result.options.seed).permutation(len(intents)).tolist()
    sample = sorted(stored, key=lambda prompt: order[intents.index(stored[prompt])])
    sample = sample[:_NEAR_MISS_SAMPLE]
    if len(sample) < 2:
        return []
    vectors = embedder.embed(sample)
    distances = 1.0 - vectors @ vectors.T
    distances[np.tril_indices(len(sample))] = np.inf
    distances[distances <= result.max_distance] = np.inf
    found = [
        NearMiss(prompt, sample[row.argmin()], float(row.min()))
        for prompt, row in zip(sample, distances, strict=True)
        if np.isfinite(row.min())
    ]
    return sorted(found, key=lambda miss: miss.distance)
