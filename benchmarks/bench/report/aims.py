"""What was aimed at: reached or not, and where not, what stands in the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.bench.figures import Found
from benchmarks.bench.lookups import RIVAL
from semcache_async.load.measured.cells import milliseconds, ms, times
from semcache_async.load.measured.figures import Span, trusted
from semcache_async.load.measured.histogram import Histogram
from semcache_async.load.reports.report import Chapter, Table

__all__ = ["Aim", "aims", "chapter", "equal_p99"]


class Aim(NamedTuple):
    """``met`` is None where nothing was measured, or where the aim is only to report."""

    what: str
    aim: str
    measured: str
    met: bool | None
    limit: str = ""
    """Why it cannot be met on this machine, as far as that was measured."""


def aims(found: Found) -> list[Aim]:
    """The aims in the order in which they were set."""
    return [
        *_under_load(found),
        *_at_rest(found),
        *_exact(found),
        _lag(found),
        _embedder(found),
        _memory(found),
    ]


def chapter(found: Found) -> Chapter:
    words = {True: "met", False: "not met", None: "-"}
    table = Table(
        "Met, or not",
        ("", "aim", "measured", "", "where not met: the limit"),
        [[a.what, a.aim, a.measured, words[a.met], a.limit] for a in aims(found)],
        "Ratios are medians of turns taken together (and their range).",
    )
    return Chapter("Aims", "", [], [table])


def _aim(
    what: str, aim: str, span: Span | None, bound: float, limit: str, *, at_least: bool = True
) -> Aim:
    if span is None:
        return Aim(what, aim, "not measured", None)
    met = span.median >= bound if at_least else span.median <= bound
    return Aim(what, aim, times(span), met, "" if met else limit)


def _under_load(found: Found) -> Iterator[Aim]:
    many = f"{found.callers} callers"
    rate = found.ratio(RIVAL, found.callers, "lookups/s")
    yield _aim(f"lookups/s, {many}", "≥ 10x RedisVL's", rate, 10.0, _roofline(found))
    alone = found.compared("semantic")
    yield _aim("the same, of our embedder alone", "≥ 0.85x", alone, 0.85, _shares(found))
    bound = (
        f"in a closed loop the mean is callers / throughput, so with {times(rate)} the throughput "
        f"about 1/{rate.median:.2g} is what can be had"
        if rate
        else ""
    )
    p99 = found.ratio(RIVAL, found.callers, "p99")
    yield _aim(f"p99, {many}", "≤ 0.1x RedisVL's", p99, 0.1, bound, at_least=False)


def _roofline(found: Found) -> str:
    theirs = found.group(RIVAL, found.callers)
    if found.embedder is None or theirs is None:
        return ""
    most, cpus = found.peak_texts_per_s, found.embedder["cpus"]
    share = found.share_of_peak(f"packed, {cpus} CPUs")
    return (
        f"the matrix unit: at the whole measured float32 peak of {cpus} CPUs the model alone would "
        f"embed {most:,.0f} texts/s, {most / theirs.achieved.median:.3g}x RedisVL's lookups; "
        f"ours runs at {share:.0%} of that peak"
    )


def _shares(found: Found) -> str:
    """CPU of a lookup, and how much of it the model takes."""
    costs = found.lookups.get("costs", {}).get("ours")
    alone = found.embedding("ours", found.callers)
    if not costs or alone is None:
        return ""
    worker = Span.of([cost["worker_ms"] for cost in costs]).median
    store = Span.of([cost["redis_ms"] for cost in costs]).median
    cpus = found.lookups["machine"]["cpus"]
    model = cpus / alone.median * 1e3
    return (
        f"{worker + store:.2f} ms of CPU a lookup, {store:.2f} of it Redis's; embedding alone "
        f"leaves {model:.2f} ms of {cpus} CPUs to each text"
    )


def _at_rest(found: Found) -> Iterator[Aim]:
    rest = found.ratio(RIVAL, 1, "p50")
    ours, theirs = found.group("ours", 1), found.group(RIVAL, 1)
    model = found.embedding("ours", 1)
    limit = ""
    if ours and theirs and model:
        whole, other = (group.percentile(50.0) for group in (ours, theirs))
        if whole and other:
            limit = (
                f"the model: {milliseconds(model.median)} of the {milliseconds(whole.median)} ms; "
                f"without anything else it would be {model.median / other.median:.2f}x"
            )
    yield _aim("one lookup at rest, p50", "≤ 0.333x RedisVL's", rest, 1 / 3, limit, at_least=False)
    yield _equal(found, model)


def equal_p99(found: Found) -> tuple[float, float] | None:
    """Seconds, ours and RedisVL's, at the equal load."""
    both = found.equal()
    if both is None:
        return None
    ours, theirs = (trusted(g.all, 99.0) or g.all.percentile(99.0) or 0.0 for g in both)
    return ours, theirs


def _equal(found: Found, model: Span | None) -> Aim:
    what, aim = "p99 at equal load (70 % of RedisVL's capacity)", "≤ 0.2x RedisVL's"
    both, values = found.equal(), equal_p99(found)
    if both is None or values is None:
        return Aim(what, aim, "not measured", None)
    ratio = values[0] / values[1]
    limit = ""
    if ratio > 0.2 and model:
        limit = (
            f"the model alone, at rest, takes {model.median / values[1]:.2f}x RedisVL's p99 there"
        )
    shown = (
        f"{ratio:.3g}x ({milliseconds(values[0])} and {milliseconds(values[1])} ms "
        f"at {both[0].load})"
    )
    return Aim(what, aim, shown, ratio <= 0.2, limit)


def _exact(found: Found) -> Iterator[Aim]:
    gets = "redis-py's pipelined GETs"
    limit = "likely what a lookup does beyond a GET, in Python (make bench-smoke counts its calls)"
    span = found.compared("exact")
    yield _aim("exact hits/s, 256 callers", f"≥ 0.6x {gets}", span, 0.6, limit)
    near = found.compared("local")
    yield _aim("the same with local_answers", f"≥ 5x {gets}", near, 5.0, limit)


def _lag(found: Found) -> Aim:
    what, aim = f"event loop lag, p99, {found.callers} callers", "≤ 5 ms"
    group = found.group("ours", found.callers)
    if group is None or not len(group.times("lag")):
        return Aim(what, aim, "not measured", None)
    lags = [Histogram.decode(result.lag).percentile(99.0) for result in group.results]
    span = Span.of([lag for lag in lags if lag is not None])
    met = span.median <= 0.005
    cpus = found.lookups["machine"]["cpus"]
    limit = f"likely the {cpus} CPUs, shared by the loop, a thread each and Redis (not profiled)"
    return Aim(what, aim, f"{ms(span)} ms", met, "" if met else limit)


def _embedder(found: Found) -> Aim:
    what = "embedder, tokens/s of a CPU, cosine ≥ 0.999"
    aim = "≥ 2x the best padded onnxruntime"
    span = found.packed_to_padded()
    if span is None or found.embedder is None:
        return Aim(what, aim, "not measured", None)
    padded = found.share_of_peak(found.best_padded)
    packed = found.share_of_peak("packed, 1 CPU")
    met = span.median >= 2.0 and found.embedder["cosine"] >= 0.999
    limit = (
        f"the best padded way already runs at {padded:.0%} of the float32 matrix peak: at the "
        f"whole peak packing would gain {1 / padded:.2g}x"
    )
    shown = f"{times(span)}, {packed:.0%} of the peak, cosine {found.embedder['cosine']:.5f}"
    return Aim(what, aim, shown, met, "" if met else limit)


def _memory(found: Found) -> Aim:
    what, aim = "memory over raw vectors + texts, 100k entries", "report"
    rows = found.scale.get("100000", {}).get("kinds", {}).get("rows", ())
    shown = [
        f"{row['dtype']} {row['overhead']:.2f}x ({row['bytes_per_entry']:,.0f} bytes)"
        for row in rows
        if row["index"] == "hnsw"
    ]
    return Aim(what, aim, "; ".join(shown) or "not measured", None)
