"""Load on the terminal: each run while it lasts, then the tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

from rich import box
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from semcache_async.load.asking.tally import Tally
from semcache_async.load.measured.cells import milliseconds
from semcache_async.load.measured.figures import focus_of, grouped
from semcache_async.load.measured.histogram import Histogram
from semcache_async.load.measured.result import Result
from semcache_async.load.reports.report import Table as Figures
from semcache_async.load.reports.summary import latency_table, loads_tables, warnings
from semcache_async.load.runs import Watch
from semcache_async.shell import in_background

__all__ = ["print_tables", "shown_on"]

_TICK_S, _LINE_S = 0.25, 5.0
_COLUMNS = 5


def shown_on(console: Console) -> Watch:
    """A live table on a terminal, else a line every few seconds."""

    @asynccontextmanager
    async def watch(tally: Tally, name: str) -> AsyncIterator[None]:
        console.print(f"[bold]{escape(name)}[/] ...", soft_wrap=True)
        work = _live if console.is_terminal else _lines
        try:
            async with in_background(work(tally, console)):
                yield
        finally:
            console.print(f"  {_line(tally)}", soft_wrap=True)

    return watch


def print_tables(results: Sequence[Result], console: Console) -> None:
    """Latency by source of each load (of many, only of the highest that was kept up with), the
    loads, and the warnings."""
    groups = grouped(results)
    shown = groups if len(groups) <= 2 else [focus_of(groups)]
    for group in shown:
        _print(latency_table(group), console)
    for table in loads_tables(groups) if len(results) > 1 else ():
        if table.rows:
            _print(table, console)
    for warning in warnings(groups):
        console.print(f"[yellow]{escape(warning)}[/]", soft_wrap=True)


async def _live(tally: Tally, console: Console) -> None:
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(_panel(tally), refresh=True)
            await asyncio.sleep(_TICK_S)


async def _lines(tally: Tally, console: Console) -> None:
    while True:
        await asyncio.sleep(_LINE_S)
        console.print(f"  {_line(tally)}", soft_wrap=True)


def _line(tally: Tally) -> str:
    return ", ".join(f"{name} {value}" for name, value in _summary(tally))


def _summary(tally: Tally) -> Iterator[tuple[str, str]]:
    now = tally.clock()
    measured = min(now, tally.closes) - tally.opens
    total = tally.sources.total()
    phase = "elapsed" if measured > 0 else "warming up"
    yield phase, f"{max(0.0, now - tally.began):.1f} s" if tally.began else "0.0 s"
    yield "under way", f"{tally.in_flight:,}"
    for source, count in tally.sources.most_common():
        yield source, f"{count / total:.1%}"
    if measured > 0 and tally.began:
        times = Histogram()
        for latency in tuple(tally.latency.values()):
            times.add(latency)
        p50, p99 = (milliseconds(value) for value in times.percentiles([50.0, 99.0]))
        yield "answers/s", f"{tally.done / measured:,.0f}"
        yield "p50", f"{p50} ms"
        yield "p99", f"{p99} ms"


def _panel(tally: Tally) -> Table:
    cells = [f"[dim]{name}[/] {value}" for name, value in _summary(tally)]
    numbers = Table.grid(padding=(0, 3))
    for first in range(0, len(cells), _COLUMNS):
        numbers.add_row(*cells[first : first + _COLUMNS])
    panel = Table.grid()
    done = min(tally.clock(), tally.closes) - tally.began if tally.began else 0.0
    whole = tally.warm_up_s + tally.duration_s
    panel.add_row(ProgressBar(total=whole, completed=done, width=60))
    panel.add_row(numbers)
    return panel


def _print(table: Figures, console: Console) -> None:
    shown = Table(box=box.SIMPLE_HEAD)
    for number, head in enumerate(table.head):
        shown.add_column(head, justify="right" if number else "left")
    for row in table.rows:
        shown.add_row(*map(escape, row), style="bold" if row[0] == "all" else None)
    console.print(f"\n[bold]{escape(table.title)}[/]")
    console.print(shown)
    if table.note:
        console.print(f"[dim]{escape(table.note)}[/]")
