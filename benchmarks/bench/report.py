"""The report: one HTML page that asks nobody for anything, Markdown with a PNG, and the records."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench import tables, tables_more, words
from benchmarks.bench.aims import aims_table
from benchmarks.bench.charts import (
    curves,
    http_charts,
    intents_chart,
    lookup_charts,
    offered_charts,
    peak_chart,
)
from benchmarks.bench.figures import Found, read_found
from semcache_async.load.charts import percentile_curves
from semcache_async.load.drawing import Chart, save_png, svg
from semcache_async.load.page import facts_section, style_sheet, table_section
from semcache_async.load.report import markdown_table
from semcache_async.load.tables import Table

__all__ = ["render"]

TITLE = "semcache_async: benchmark"

_STYLE = """
h2.part { font-size: 21px; letter-spacing: -0.01em; margin: 36px 0 4px; }
.met, .unmet { font-weight: 600; }
.met { color: var(--c2); } .unmet { color: var(--c1); }
.aims td { white-space: normal; text-align: left; vertical-align: top; }
.aims th { text-align: left; }
.charts { grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); }
nav { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 0 0 8px; font-size: 14px; }
a { color: var(--c0); }
@media (max-width: 600px) {
  .aims thead { display: none; }
  .aims tr, .aims td { display: block; padding: 1px 0; }
  .aims tr { padding: 8px 0; }
  .aims tr + tr { border-top: 1px solid var(--grid); }
  .aims tr + tr td { border-top: 0; }
  .aims td:first-child { font-weight: 600; padding-left: 0; }
  .aims td:last-child { color: var(--faint); }
}
"""


class Part(NamedTuple):
    """A chapter of the report."""

    title: str
    lead: str
    charts: list[Chart]
    tables: list[Table]


def render(out: Path, results: Path) -> Path:
    """``bench.html``, ``bench.md``, ``bench.png`` and ``bench.json`` into ``results``, of the
    records in ``out``; returns the page's path."""
    found = read_found(out)
    chapters = list(parts(found))
    results.mkdir(parents=True, exist_ok=True)
    html = "\n".join(_page(found, chapters)) + "\n"
    (results / "bench.html").write_text(html, encoding="utf-8")
    (results / "bench.md").write_text("\n".join(_markdown(found, chapters)), encoding="utf-8")
    (results / "bench.json").write_text(json.dumps(found.records), encoding="utf-8")
    if drawn := [chart for part in chapters for chart in part.charts]:
        save_png(drawn, results / "bench.png")
    return results / "bench.html"


def parts(found: Found) -> Iterator[Part]:
    """Those that there are figures for."""
    if found.results:
        yield Part(
            "Lookups",
            f"{found.callers} callers, each asking again once answered, and one caller at rest.",
            list(lookup_charts(found)),
            [
                *(tables.lookups(found), tables.against_ours(found), tables.costs(found)),
                tables.callers_table(found),
            ],
        )
        yield Part(
            "Offered load",
            "What users see: requests come when they come.",
            list(offered_charts(found)),
            [tables.offered(found), tables.equal_load(found)],
        )
    if turns := found.records.get("intents", {}).get("turns"):
        lead = "How often the LLM is asked where many ask the same, in other words, at once."
        yield Part("LLM calls", lead, [intents_chart(turns)], list(tables_more.intents(found)))
    yield Part(
        "What each part is worth",
        "Ours with one thing taken out.",
        list(_ablation_chart(found)),
        [tables_more.ablation(found)],
    )
    if found.embedder or "compared" in found.records.get("parts", {}):
        drawn = [peak_chart(found)] if found.embedder else []
        lead = "How much of what the model and Redis could do remains."
        yield Part("Parts", lead, drawn, [tables_more.parts(found), tables_more.embedder(found)])
    if found.http:
        lead = (
            "Proxies in front of one simulated LLM, under one load generator. It shares the CPUs "
            "with them: of quick answers it takes a good part itself."
        )
        yield Part("Over HTTP", lead, list(http_charts(found)), [tables_more.http(found)])
    yield Part("Entries", "What they cost.", [], [tables_more.scale(found)])
    yield Part("Noise", "What two runs of the same differ by.", [], [tables.noise(found)])


def _ablation_chart(found: Found) -> Iterator[Chart]:
    names = [name for name in found.labels if name == "ours" or name.startswith("ours-")]
    groups = [group for name in names if (group := found.group(name, found.callers))]
    if len(groups) > 1:
        yield Chart(
            f"Ours without packs or pipelines, {found.callers} callers",
            "Each curve merges the histograms of all rounds.",
            lambda axes: percentile_curves(axes, curves(groups)),
        )


# -- HTML


def _page(found: Found, chapters: Iterable[Part]) -> Iterator[str]:
    chapters = list(chapters)
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{TITLE}</title>"
    yield f"<style>{style_sheet()}{_STYLE}</style></head><body><main>"
    yield f'<h1>{TITLE}</h1><p class="faint">{escape(words.lead(found))}</p>'
    yield '<div class="cards">'
    for value, unit, what in words.cards(found):
        yield f'<div class="card"><b>{escape(value)}<small>{escape(unit)}</small></b>'
        yield f'<span class="faint">{escape(what)}</span></div>'
    yield "</div><nav>"
    for number, part in enumerate(chapters):
        yield f'<a href="#part{number}">{escape(part.title)}</a>'
    yield "</nav>"
    for doubt in words.doubts(found):
        yield f'<p class="warning">{escape(doubt)}</p>'
    yield f'<div class="aims">{_judged("".join(table_section(aims_table(found))))}</div>'
    for number, part in enumerate(chapters):
        yield f'<h2 class="part" id="part{number}">{escape(part.title)}</h2>'
        yield f'<p class="faint">{escape(part.lead)}</p><div class="charts">'
        for place, chart in enumerate(part.charts):
            yield f"<figure><figcaption>{escape(chart.title)}</figcaption>"
            yield f"{svg(chart, f'p{number}c{place}')}"
            yield f'<p class="note">{escape(chart.note)}</p></figure>'
        yield "</div>"
        for table in part.tables:
            if table.rows:
                yield from table_section(table)
    for title, rows in _facts(found):
        yield from facts_section(title, rows)
    yield "</main></body></html>"


def _judged(table: str) -> str:
    table = table.replace("<td>met</td>", '<td class="met">met</td>')
    return table.replace("<td>not met</td>", '<td class="unmet">not met</td>')


def _facts(found: Found) -> Iterator[tuple[str, Iterator[tuple[str, str]]]]:
    yield "How it was measured", words.method(found)
    yield "Who took part", words.contenders(found)
    yield "Measured on", words.runs(found)


# -- Markdown


def _markdown(found: Found, chapters: Iterable[Part]) -> Iterator[str]:
    yield f"# {TITLE}\n\n{words.lead(found)}\n"
    for value, unit, what in words.cards(found):
        yield f"- **{value}{unit}** {what}"
    yield ""
    for doubt in words.doubts(found):
        yield f"> {_one_line(doubt)}\n"
    yield from markdown_table(aims_table(found))
    yield "![Charts of everything below](bench.png)\n"
    for part in chapters:
        yield f"# {part.title}\n\n{part.lead}\n"
        for table in part.tables:
            if table.rows:
                yield from markdown_table(table)
    for title, rows in _facts(found):
        yield f"# {title}\n"
        for name, value in rows:
            yield f"- {name}: {_one_line(value)}"
        yield ""


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)
