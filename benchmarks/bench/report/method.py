"""What the report says beside its figures: how it was measured, by whom, and what failed."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from benchmarks.bench.figures import Found
from benchmarks.bench.lookups import RIVAL
from benchmarks.bench.record import STAGES, Row
from semcache_async.load.measured.cells import milliseconds
from semcache_async.load.measured.figures import Span

__all__ = ["cards", "doubts", "facts", "lead"]

BUSY = 0.1
"""Share of the CPUs that others may use."""


def lead(found: Found) -> str:
    """One paragraph."""
    entries = found.lookups.get("entries", 0)
    return (
        f"semcache_async against what people would use instead: {entries:,} stored questions, real "
        "questions asked, one Redis, the same weights for all, each contender in a process and an "
        "environment of its own, in turns, in one run. Figures are of one shared machine: read the "
        "ratios."
    )


def cards(found: Found) -> Iterator[tuple[str, str, str]]:
    """Value, unit, and what it is."""
    rate = found.ratio(RIVAL, found.callers, "lookups/s")
    p99 = found.ratio(RIVAL, found.callers, "p99")
    rest = found.group("ours", 1)
    if group := found.group("ours", found.callers):
        yield f"{group.achieved.median:,.0f}", "/s", f"lookups, {found.callers} callers"
    if rate:
        yield f"{rate.median:.1f}", "x", "RedisVL's lookups/s"
    if p99:
        yield f"1/{1 / p99.median:.1f}", "", "of RedisVL's p99"
    if rest and (span := rest.percentile(50.0)):
        yield milliseconds(span.median), " ms", "one lookup at rest"
    burst = found.bursts.get("ours")
    if burst:
        calls = Span.of([turn["llm_calls"] / turn["intents"] for turn in burst])
        yield f"{calls.median:.2f}", "", "LLM calls per intent of a burst"


def doubts(found: Found) -> Iterator[str]:
    """What a reader must know before believing the figures."""
    for stage in STAGES:
        record = found.records.get(stage)
        if record is None:
            yield f"{stage}: not measured."
            continue
        if record.get("busy", 0.0) > BUSY:
            yield (
                f"{stage}: the machine was not idle when it began: {record['busy']:.0%} of its "
                "CPUs were in use. Its figures mean little."
            )
        others = record.get("others")
        if others and median(others) > BUSY:
            yield (
                f"{stage}: others used {median(others):.0%} of the CPUs during the turns (median). "
                "Contenders that embed on the event loop suffer most from that."
            )
        if "failed" in record:
            yield f"{stage}: did not end: {record['failed']}"
        for label, why in record.get("left_out", {}).items():
            yield f"{stage}: {label} was left out: {why.splitlines()[0]}"
        for failure in record.get("failures", ()):
            yield f"{stage}: a turn failed: {failure}"
    commits = {record["machine"]["commit"] for record in found.records.values()}
    if len(commits) > 1:
        yield f"The stages are of different commits: {', '.join(sorted(map(str, commits)))}."


def facts(found: Found) -> dict[str, list[tuple[str, str]]]:
    """How it was measured, with whom, and on what."""
    return {
        "How it was measured": list(_method(found)),
        "Who took part": list(_contenders(found)),
        "Measured on": list(_runs(found)),
    }


def _contenders(found: Found) -> Iterator[tuple[str, str]]:
    """Who took part, and with what."""
    about: dict[str, Row] = {
        **found.lookups.get("about", {}),
        **found.records.get("intents", {}).get("about", {}),
    }
    for label, row in about.items():
        versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
        yield label, f"{row['what']}; {versions} ({row['environment']})"
    for name, text in found.records.get("http", {}).get("about", {}).items():
        yield f"{name}, over HTTP", text


def _method(found: Found) -> Iterator[tuple[str, str]]:
    """What was asked, and how."""
    yield "turns", _TURNS
    workloads = dict.fromkeys(result.workload for result in found.results if result.target_rate)
    if found.results:
        yield "closed loop", found.results[0].workload
    for workload in list(workloads)[:1]:
        yield "open loop", workload
    record = found.records.get("intents")
    if record and "llm" in record:
        yield "LLM calls", _LLM.format(**record["llm"])
    if others := found.lookups.get("others"):
        said = f"{median(others):.0%} of the CPUs (median of all turns; most: {max(others):.0%})"
        yield "other processes", f"used {said}, the driver included"
    yield "sources", _SOURCES
    yield "histograms", _HISTOGRAMS


_TURNS = (
    "All contenders take their turn at each round, the first one of a round another each time. "
    "Ratios are of turns of one round. ours (again) is ours a second time."
)
_LLM = (
    "BANKING77's test questions by the source's own intents; answered by a simulated LLM that "
    "takes {median_ms:g} ms (median, lognormal, sigma {sigma:g}), seeded by the prompt; every turn "
    "from an empty cache. Bursts are reworded by case, punctuation and politeness; arrivals are a "
    "seeded gamma process (CV 2.5) with flash crowds."
)
_SOURCES = (
    "No public source has both texts and arrival times: questions are BANKING77's (CC BY 4.0), "
    "arrivals of offered load a process fitted to the Azure LLM trace of 2023, popularity Zipf's "
    "law. All seeded; rounds take other texts and other seeds."
)
_HISTOGRAMS = (
    "HdrHistogram, 3 digits, in bench.json in its own encoding, merged over rounds. A p99 of fewer "
    "than 100 lookups and a p99.9 of fewer than 1,000 are not shown."
)


def _runs(found: Found) -> Iterator[tuple[str, str]]:
    """Machine, versions, commands."""
    for stage, record in found.records.items():
        seconds = f"{record['when']}, {record['seconds']:.0f} s"
        yield stage, f"{record['command']} ({seconds}; commit {record['machine']['commit']})"
    if not found.records:
        return
    machine = next(iter(found.records.values()))["machine"]
    has = f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['memory_gb']} GB"
    runs_on = f"{machine['system']}; {machine['python']}"
    yield "machine", f"{has}, {' '.join(machine['flags'])}; {runs_on}"
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    yield "packages", packages
    redis = found.lookups.get("redis")
    if redis:
        modules = ", ".join(f"{name} {version}" for name, version in redis["modules"].items())
        yield "Redis", f"{redis['version']} ({modules})"
