"""Proxies over HTTP."""

from __future__ import annotations

from benchmarks.bench.figures import Found
from benchmarks.bench.report.curves import curves_chart, lines
from semcache_async.load.measured.cells import ms, rate
from semcache_async.load.measured.figures import HITS
from semcache_async.load.reports.report import Chapter, Table

__all__ = ["chapter"]


def chapter(found: Found) -> Chapter:
    lead = (
        "Proxies in front of one simulated LLM, under one load generator. It shares the CPUs with "
        "them: of quick answers it takes a good part itself."
    )
    closed = lines(group for group in found.http if not group.is_open)
    opened = lines(group for group in found.http if group.is_open)
    many = f"Over HTTP, {found.callers} callers"
    charts = [
        curves_chart(title, note, curves)
        for title, note, curves in (
            (many, "From when it was sent.", closed),
            ("At equal load", "From when a request was due.", opened),
        )
        if curves
    ]
    rows = [
        [
            group.name,
            group.load,
            rate(group.achieved),
            ms(group.lookup_percentile(50.0)),
            ms(group.lookup_percentile(99.0)),
            f"{sum(len(h) for s, h in group.by_source.items() if s in HITS) / len(group.all):.1%}",
            f"{sum(group.merged.errors.values())}",
        ]
        for group in found.http
        if len(group.all)
    ]
    heads = ("load", "answers/s", "p50 ms of hits", "p99 of hits", "hits", "failed")
    said = "Medians over rounds (and their range)."
    return Chapter("Over HTTP", lead, charts, [Table("By load", ("", *heads), rows, said)])
