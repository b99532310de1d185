"""Lookups: by many callers and by one, by number of callers, and against offered load."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench.field import Field, open_field, rotated, say, storage_of
from benchmarks.bench.quiet import cpu_times, others_share
from benchmarks.bench.record import Row, make_result, texts_from, write_results
from benchmarks.bench.sizes import AGAIN, Sizes
from benchmarks.contenders.llm import answer_to
from benchmarks.contenders.rounds import Loop, measure
from benchmarks.scale_data import embed_banking77
from semcache_async.data import banking77
from semcache_async.load.measured.result import Result
from semcache_async.load.traffic.arrivals import synthetic

__all__ = ["EQUAL", "run_lookups"]

EQUAL = 0.7
"""Share of RedisVL's capacity that is the equal load."""
RIVAL = "redisvl-async"

_MOST_A_SECOND, _MOST_HITS_A_SECOND = 4_000, 60_000
_ABOUT = (
    "BANKING77 (CC BY 4.0): {entries:,} of its training questions stored, its test questions "
    "asked, in order, {how}; distance <= {distance:g}"
)
_FILL_S = 600.0


class Lookups:
    """The stage, under way."""

    def __init__(self, field: Field, sizes: Sizes, keep: Callable[[Row], None]) -> None:
        self.field, self.sizes, self._keep = field, sizes, keep
        self.results: list[Result] = []
        self.embed: list[Result] = []
        self.exact: list[Result] = []
        self.costs: dict[str, list[Row]] = {}
        self.other: dict[str, list[int]] = {}
        self.fill_s: dict[str, float] = {}
        self.redis: Row = {}
        self.others: list[float] = []
        """Share of the CPUs that others used, turn by turn."""
        self._asked = [question.text for question in banking77("test")]
        self._stored: list[str] = []

    # -- the same entries for all

    async def fill(self, cached: Path) -> None:
        stored, _, prompts = embed_banking77(cached)
        count = min(self.sizes.entries, len(prompts))
        pairs = [(prompt, answer_to(prompt)) for prompt in prompts[:count]]
        self._stored = prompts[:count]
        path = self.field.model / "stored.npy"
        np.save(path, stored[:count])
        self.redis = await self.field.redis_versions()
        full: set[str] = set()
        for label, worker in list(self.field.workers.items()):
            if storage_of(label) in full:
                continue
            full.add(storage_of(label))
            filling = worker.ask("fill", within_s=_FILL_S, pairs=pairs, vectors=str(path))
            if filled := await self.field.attempt(label, filling):
                self.fill_s[label] = filled["elapsed_s"]
                say(f"{label}: {count:,} entries in {filled['elapsed_s']:.0f} s")
        for label in list(self.field.workers):
            for callers in (self.sizes.callers, 1):
                await self._loop(label, "lookup", 0, callers=callers, limit_s=1.0)

    # -- many callers, and one

    async def rounds(self) -> None:
        sizes = self.sizes
        for turn in range(sizes.rounds):
            answers: dict[str, list[str | None]] = {}
            for label in rotated(list(self.field.workers), turn):
                loaded = await self._closed(label, turn, sizes.callers, sizes.load_s)
                await self._closed(label, turn, 1, sizes.rest_s)
                for callers, seconds in ((sizes.callers, sizes.embed_s), (1, sizes.embed_rest_s)):
                    if seconds:
                        await self._embed(label, turn, callers, seconds)
                if sizes.exact_s:
                    await self._exact(label, turn)
                if loaded is None:
                    continue
                answers[label] = loaded.answers
                cost = {"worker_ms": loaded.worker_cpu_ms, "redis_ms": loaded.redis_cpu_ms}
                self.costs.setdefault(label, []).append(cost)
                say(f"round {turn + 1}: {label}: {loaded.per_s:.0f} lookups/s")
            for label, given in answers.items():
                both = list(zip(given, answers.get("ours", ()), strict=False))
                counts = self.other.setdefault(label, [0, 0])
                counts[0] += sum(a != b for a, b in both)
                counts[1] += len(both)
            self.keep()

    # -- against offered load

    async def offered(self) -> None:
        sizes = self.sizes
        capacity = {label: self._capacity(label) for label in ("ours", RIVAL)}
        rates = [("ours", capacity[RIVAL] * EQUAL)]
        rates += [(label, c * share) for label, c in capacity.items() for share in sizes.fractions]
        for turn in range(sizes.offered_rounds):
            for label, rate in rotated(rates, turn):
                if rate and label in self.field.workers:
                    await self._open(label, turn, float(f"{rate:.3g}"))
            self.keep()

    # -- by number of callers

    async def sweep(self) -> None:
        sizes = self.sizes
        for turn in range(sizes.sweep_rounds):
            for callers in sizes.sweep:
                for label in rotated(self._rivals(), turn):
                    loop = await self._closed(label, turn, callers, sizes.sweep_s)
                    if loop:
                        say(f"{callers} callers: {label}: {loop.per_s:.0f} lookups/s")
            self.keep()

    # -- what all of them do

    def keep(self) -> None:
        """Write down what there is so far."""
        self._keep(
            {
                **self.field.record(),
                "redis": self.redis,
                "entries": self.sizes.entries,
                "callers": self.sizes.callers,
                "fill_s": self.fill_s,
                "costs": self.costs,
                "other_answers": self.other,
                "others": self.others,
                "results": write_results(self.results),
                "embed": write_results(self.embed),
                "exact": write_results(self.exact),
            }
        )

    def _rivals(self) -> list[str]:
        own = {AGAIN, *self.sizes.ablated}
        return [label for label in self.field.workers if label not in own]

    def _capacity(self, label: str) -> float:
        rates = [
            result.achieved
            for result in self.results
            if result.name == label and result.callers == self.sizes.callers
        ]
        return statistics.median(rates) if rates else 0.0

    async def _closed(self, label: str, turn: int, callers: int, seconds: float) -> Loop | None:
        loop = await self._loop(label, "lookup", turn, callers=callers, limit_s=seconds)
        if loop:
            how = f"{callers} callers who each ask again once answered"
            self.results.append(self._result(label, loop, how, callers=callers))
        return loop

    async def _embed(self, label: str, turn: int, callers: int, seconds: float) -> None:
        loop = await self._loop(label, "embed", turn, callers=callers, limit_s=seconds)
        if loop:
            how = "embedding alone"
            self.embed.append(self._result(label, loop, how, callers=callers))

    async def _exact(self, label: str, turn: int) -> None:
        callers, seconds = self.sizes.exact_callers, self.sizes.exact_s
        loop = await self._loop(
            *(label, "lookup", turn), of=self._stored, callers=callers, limit_s=seconds
        )
        if loop:
            how = "the stored wordings"
            self.exact.append(self._result(label, loop, how, callers=callers))

    async def _open(self, label: str, turn: int, rate: float) -> None:
        seconds, seed = self.sizes.offered_s, self.sizes.seed + turn
        times = synthetic(rate=rate, seconds=seconds, seed=seed)
        at_s = times.at_s.tolist()
        loop = await self._loop(label, "lookup", turn, at_s=at_s, count=len(at_s))
        if loop is None:
            return
        how = f"at times from {times.about}"
        made = self._result(label, loop, how, at_s=at_s, rate=rate, window_s=seconds)
        self.results.append(made)
        say(f"{rate:g}/s: {label}: p99 {loop.at(99):.0f} ms, {made.achieved:.0f}/s answered")

    async def _loop(
        self,
        label: str,
        call: str,
        turn: int,
        *,
        count: int | None = None,
        of: Sequence[str] = (),
        **paced: Any,
    ) -> Loop | None:
        if label not in self.field.workers:
            return None
        seconds = paced.get("limit_s") or self.sizes.offered_s
        most = _MOST_HITS_A_SECOND if of else _MOST_A_SECOND
        texts = texts_from(of or self._asked, turn * 617, count or int(most * seconds))
        turned = measure(
            *(self.field.workers[label], self.field.client, call, texts),
            within_s=20 * seconds + 60.0,
            **paced,
        )
        before = cpu_times()
        loop = await self.field.attempt(label, turned)
        if loop:
            spent = (loop.worker_cpu_ms + loop.redis_cpu_ms) * len(loop.latencies_ms) / 1e3
            self.others.append(others_share(before, cpu_times(), spent))
        return loop

    def _result(self, label: str, loop: Loop, how: str, **load: Any) -> Result:
        sizes = self.sizes
        about = _ABOUT.format(entries=sizes.entries, how=how, distance=sizes.max_distance)
        return make_result(label, loop, workload=about, seed=sizes.seed, **load)


async def run_lookups(
    sizes: Sizes, cached: Path, keep: Callable[[Row], None], *, before: Path | None = None
) -> None:
    """The stage; ``keep`` is given the whole record whenever there is more. With ``before``,
    another checkout, the rounds alone."""
    labels = ("ours", *sizes.peers, *sizes.ablated, AGAIN)
    async with open_field(labels, sizes.max_distance, before=before) as field:
        stage = Lookups(field, sizes, keep)
        await stage.fill(cached)
        await stage.rounds()
        if before is not None:
            return
        await stage.offered()
        await stage.sweep()
