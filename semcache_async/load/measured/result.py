"""One run's figures: what reports are made of, and what rounds are merged to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import msgspec
from msgspec.structs import replace

from semcache_async.load.asking.tally import Tally
from semcache_async.load.extra import LoadError
from semcache_async.load.measured.histogram import Histogram
from semcache_async.load.measured.machine import Machine

__all__ = ["Result", "make_result", "merge_rounds"]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Histograms are HdrHistogram's base64 text, in microseconds.

    Everything but ``llm_calls``, ``intents``, ``requests`` and ``peak`` is of the window after the
    warm-up.
    """

    name: str
    """Who was asked; runs of one name and load are repeats of each other."""
    workload: str
    """What was asked, when and how often, with the sources."""
    seed: int
    target_rate: float | None = None
    """Requests a second asked for (open loop)."""
    callers: int | None = None
    """(Closed loop.)"""
    warm_up_s: float
    duration_s: float

    latency: dict[str, str]
    """By source, from when a request was due; the source "error" is what was not answered."""
    service: str
    """From when a request was sent."""
    lateness: str
    """From when a request was due to when it was sent (open loop)."""
    first_token: str
    """From when a request was due (streams)."""
    lag: str
    """By how much the timers of the driver's event loop are late."""

    due: int
    """Requests that were due and have ended."""
    answered: int
    """Requests, whenever due, that were answered within the window."""
    errors: dict[str, int]
    """By kind."""
    held: int
    """Requests that waited because so many were under way."""
    max_in_flight: int | None = None
    """How many those are."""
    peak: int
    """Requests under way at once, at most."""

    requests: int
    """Of the whole run."""
    llm_calls: int | None
    """Of the whole run; None where neither target nor replies tell."""
    intents: int
    """Asked in the whole run."""
    machine: Machine
    notes: tuple[str, ...] = ()

    @property
    def offered(self) -> float:
        """Requests a second that were due."""
        return self.due / self.duration_s

    @property
    def achieved(self) -> float:
        """Answers a second."""
        return self.answered / self.duration_s

    @property
    def load(self) -> str:
        """What tells runs of one name apart."""
        if self.callers is not None:
            return f"{self.callers:,} callers"
        return f"{self.target_rate:g}/s" if self.target_rate is not None else "-"

    @property
    def all_failed(self) -> bool:
        """Not one request was answered."""
        return self.due == sum(self.errors.values()) and self.answered == 0

    def answers(self, sources: Iterable[str] | None = None) -> Histogram:
        """Latencies of some sources, or of all; what was not answered counts with how long that
        took."""
        wanted = self.latency if sources is None else sources
        return Histogram.merged(self.latency[name] for name in wanted if name in self.latency)


def make_result(
    tally: Tally,
    *,
    name: str,
    workload: str,
    seed: int,
    machine: Machine,
    llm_calls: int | None,
    target_rate: float | None = None,
    callers: int | None = None,
    max_in_flight: int | None = None,
    notes: Sequence[str] = (),
) -> Result:
    """The figures of a run that has ended. Without ``llm_calls``, the replies' sources tell."""
    if llm_calls is None and not tally.sources["unknown"] + tally.sources["hit"]:
        llm_calls = tally.sources["generated"] + tally.sources["bypassed"]
    return Result(
        name=name,
        workload=workload,
        seed=seed,
        target_rate=target_rate,
        callers=callers,
        warm_up_s=tally.warm_up_s,
        duration_s=tally.duration_s,
        latency={source: tally.latency[source].encode() for source in sorted(tally.latency)},
        service=tally.service.encode(),
        lateness=tally.lateness.encode(),
        first_token=tally.first_token.encode(),
        lag=tally.lag.encode(),
        due=tally.due,
        answered=tally.done,
        errors=dict(tally.errors),
        held=tally.held,
        max_in_flight=max_in_flight,
        peak=tally.peak,
        requests=tally.sources.total(),
        llm_calls=llm_calls,
        intents=len(tally.intents),
        machine=machine,
        notes=tuple(notes),
    )


def merge_rounds(results: Sequence[Result]) -> Result:
    """One result of several runs of the same, one after the other: counts and seconds add up."""
    if len({(result.name, result.load) for result in results}) != 1:
        raise LoadError("Only runs of one name and load can be merged.")

    def total(count: Callable[[Result], int]) -> int:
        return sum(map(count, results))

    def times(encoded: Callable[[Result], str]) -> str:
        return Histogram.merged(map(encoded, results)).encode()

    calls = [result.llm_calls for result in results if result.llm_calls is not None]
    return replace(
        results[0],
        duration_s=sum(result.duration_s for result in results),
        latency=_by_source(results),
        service=times(lambda result: result.service),
        lateness=times(lambda result: result.lateness),
        first_token=times(lambda result: result.first_token),
        lag=times(lambda result: result.lag),
        due=total(lambda result: result.due),
        answered=total(lambda result: result.answered),
        errors=dict(sum((Counter(result.errors) for result in results), Counter())),
        held=total(lambda result: result.held),
        peak=max(result.peak for result in results),
        requests=total(lambda result: result.requests),
        llm_calls=sum(calls) if len(calls) == len(results) else None,
        intents=total(lambda result: result.intents),
        notes=tuple(dict.fromkeys(note for result in results for note in result.notes)),
    )


def _by_source(results: Iterable[Result]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for result in results:
        for source, encoded in result.latency.items():
            found.setdefault(source, []).append(encoded)
    return {source: Histogram.merged(found[source]).encode() for source in sorted(found)}
