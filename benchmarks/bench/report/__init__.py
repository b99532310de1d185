"""The report of a comparison: a module a subject, each with its charts and tables.

aims.py     what was aimed at, and reached      lookups.py  callers, offered load, noise
intents.py  LLM calls                           parts.py    packs, pipelines, embedder, entries
http.py     proxies                             method.py   how it was measured, and on what
curves.py   colours that mean the same everywhere
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench.figures import Found
from benchmarks.bench.report import aims, http, intents, lookups, method, parts
from semcache_async.load.reports.report import Chapter, Report, write_report

__all__ = ["TITLE", "render"]

TITLE = "semcache_async: benchmark"


def render(found: Found, directory: Path) -> Path:
    """``bench.md``, ``bench.png`` and ``bench.json`` into ``directory``; returns the first's
    path."""
    report = Report(
        title=TITLE,
        lead=method.lead(found),
        cards=list(method.cards(found)),
        warnings=list(method.doubts(found)),
        chapters=list(_chapters(found)),
        facts=method.facts(found),
    )
    return write_report(report, directory, "bench", {"bench.json": json.dumps(found.records)})


def _chapters(found: Found) -> Iterator[Chapter]:
    """Those that there are figures for."""
    yield aims.chapter(found)
    if found.results:
        yield lookups.chapter(found)
        yield lookups.offered_chapter(found)
    if "turns" in found.records.get("intents", {}):
        yield intents.chapter(found)
    yield parts.ablation_chapter(found)
    if found.embedder or "compared" in found.records.get("parts", {}):
        yield parts.chapter(found)
    if found.http:
        yield http.chapter(found)
    yield parts.entries_chapter(found)
    if found.floor:
        yield lookups.noise_chapter(found)
