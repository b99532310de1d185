"""The one report writer: titles, tables and charts, as Markdown, a PNG, JSON and an HTML page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from semcache_async.load.extra import LoadError
from semcache_async.load.reports.drawing import Chart, colours, save_png, svg

__all__ = ["Chapter", "Report", "Table", "write_report"]


class Table(NamedTuple):
    """Cells as people read them; the first column is text, the others are numbers."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


class Chapter(NamedTuple):
    """Tables without rows are left out."""

    title: str
    lead: str = ""
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()

    @property
    def shown(self) -> list[Table]:
        return [table for table in self.tables if table.rows]


class Report(NamedTuple):
    """All that is to be said."""

    title: str
    lead: str
    chapters: Sequence[Chapter]
    cards: Sequence[tuple[str, str, str]] = ()
    """The main figures: value, unit, what it is."""
    warnings: Sequence[str] = ()
    """What a reader must know before believing the figures."""
    facts: Mapping[str, Sequence[tuple[str, str]]] = {}
    """Names and what is to be said of them, by title."""

    @property
    def charts(self) -> list[Chart]:
        return [chart for chapter in self.chapters for chart in chapter.charts]


def write_report(
    report: Report, directory: Path, name: str, figures: Mapping[str, str], *, page: bool = False
) -> Path:
    """Write ``NAME.md``, ``NAME.png`` and the files of raw ``figures`` into ``directory``, made
    where it is missing, and with ``page`` ``NAME.html``, which asks nobody for anything; returns
    the path of what to read. Raises ``LoadError`` where that cannot be written."""
    texts = {**figures, f"{name}.md": "\n".join(_markdown(report, f"{name}.png"))}
    if page:
        texts[f"{name}.html"] = "\n".join(_page(report)) + "\n"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            new = directory / f"{file}.new"
            new.write_text(text, encoding="utf-8")
            new.replace(directory / file)
        if report.charts:
            save_png(report.charts, directory / f"{name}.png")
    except OSError as error:
        raise LoadError(f"The report cannot be written: {error}") from error
    return directory / (f"{name}.html" if page else f"{name}.md")


# -- Markdown


def _markdown(report: Report, picture: str) -> Iterator[str]:
    yield f"# {report.title}\n\n{report.lead.strip()}\n"
    if report.cards:
        yield "\n".join(f"- **{value}{unit}** {what}" for value, unit, what in report.cards) + "\n"
    for warning in report.warnings:
        yield f"> {_one_line(warning)}\n"
    if report.charts:
        yield f"![Charts of everything below]({picture})\n"
    for chapter in report.chapters:
        yield f"## {chapter.title}\n"
        if chapter.lead:
            yield f"{chapter.lead}\n"
        for table in chapter.shown:
            yield f"### {table.title}\n"
            yield f"| {' | '.join(map(_cell, table.head))} |"
            yield f"|---|{'---:|' * (len(table.head) - 1)}"
            for row in table.rows:
                yield f"| {' | '.join(map(_cell, row))} |"
            yield f"\n{table.note}\n" if table.note else ""
    for title, rows in report.facts.items():
        yield f"## {title}\n"
        yield from (f"- {name}: {_one_line(value)}" for name, value in rows)
        yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)


# -- HTML


def _page(report: Report) -> Iterator[str]:
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(report.title)}</title>"
    yield f"<style>{_style()}</style></head><body><main>"
    yield f'<h1>{escape(report.title)}</h1><p class="faint">{escape(report.lead)}</p>'
    yield '<div class="cards">'
    for value, unit, what in report.cards:
        yield f'<div class="card"><b>{escape(value)}<small>{escape(unit)}</small></b>'
        yield f'<span class="faint">{escape(what)}</span></div>'
    yield "</div>"
    for warning in report.warnings:
        yield f'<p class="warning">{escape(warning)}</p>'
    for number, chapter in enumerate(report.chapters):
        yield f'<h2>{escape(chapter.title)}</h2><p class="faint">{escape(chapter.lead)}</p>'
        yield '<div class="charts">'
        for place, chart in enumerate(chapter.charts):
            yield f"<figure><figcaption>{escape(chart.title)}</figcaption>"
            yield svg(chart, f"p{number}c{place}")
            yield f'<p class="note">{escape(chart.note)}</p></figure>'
        yield "</div>"
        for table in chapter.shown:
            yield from _section(table)
    for title, rows in report.facts.items():
        yield f"<section><h3>{escape(title)}</h3><table><tbody>"
        for name, value in rows:
            yield f'<tr><td class="faint">{escape(name)}</td>'
            yield f'<td class="words">{escape(value)}</td></tr>'
        yield "</tbody></table></section>"
    yield "</main></body></html>"


def _section(table: Table) -> Iterator[str]:
    yield f'<section><h3>{escape(table.title)}</h3><div class="scroll"><table><thead><tr>'
    yield "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    yield "</tr></thead><tbody>"
    for row in table.rows:
        yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
    yield "</tbody></table></div>"
    yield f'<p class="note">{escape(table.note)}</p></section>' if table.note else "</section>"


def _style() -> str:
    """For light and dark, and for phones."""
    light, dark = ("; ".join(f"--{n}: {c}" for n, c in colours(theme).items()) for theme in (0, 1))
    return (
        f":root {{ color-scheme: light dark; --paper: #f8fafc; --card: #ffffff; {light}; }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark}; }} }}\n"
        + Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    )
