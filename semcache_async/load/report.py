"""A report in a directory: one HTML page, Markdown with a PNG, and the results themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from semcache_async.load.charts import charts
from semcache_async.load.drawing import save_png
from semcache_async.load.extra import LoadError
from semcache_async.load.figures import Group, grouped
from semcache_async.load.page import page
from semcache_async.load.result import Result
from semcache_async.load.tables import Table, all_tables, machine_rows, warnings

__all__ = ["markdown_table", "render"]


def render(results: Sequence[Result], path: Path) -> Path:
    """Write ``report.html``, ``report.md``, ``report.png`` and ``results.json`` into the directory
    ``path``, made where it is missing; returns the page's path.

    Raises ``LoadError`` where there is nothing to show, matplotlib is missing or the directory
    cannot be written.
    """
    if not results:
        raise LoadError("There are no results to report.")
    groups = grouped(results)
    when = time.strftime("%Y-%m-%d %H:%M %Z")
    html = page(groups, when)
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / "results.json").write_bytes(msgspec.json.encode(results))
        (path / "report.html").write_text(html, encoding="utf-8")
        (path / "report.md").write_text("\n".join(_markdown(groups, when)), encoding="utf-8")
        save_png(charts(groups), path / "report.png")
    except OSError as error:
        raise LoadError(f"The report cannot be written: {error}") from error
    return path / "report.html"


def _markdown(groups: Sequence[Group], when: str) -> Iterator[str]:
    names = ", ".join(dict.fromkeys(group.name for group in groups))
    yield f"# Load: {names}\n\n{when}\n"
    for warning in warnings(groups):
        yield f"> {warning}\n"
    yield "![Charts of latency and throughput](report.png)\n"
    for table in all_tables(groups):
        yield from markdown_table(table)
    yield "## What was asked\n"
    for workload in dict.fromkeys(group.merged.workload for group in groups):
        yield f"- {workload}"
    for note in dict.fromkeys(note for group in groups for note in group.merged.notes):
        yield f"- {note}"
    yield "\n## Measured on\n"
    for name, value in machine_rows(groups):
        yield f"- {name}: `{value}`"
    yield ""


def markdown_table(table: Table) -> Iterator[str]:
    """Markdown of a table."""
    yield f"## {table.title}\n"
    yield f"| {' | '.join(map(_cell, table.head))} |"
    yield f"|---|{'---:|' * (len(table.head) - 1)}"
    for row in table.rows:
        yield f"| {' | '.join(map(_cell, row))} |"
    yield f"\n{table.note}\n" if table.note else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
