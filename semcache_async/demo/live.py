"""The demo while it runs: what was answered so far, and showing it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from semcache_async.load.traffic.workload import Arrival
from semcache_async.shell import in_background
from semcache_async.testing import SimulatedLLM
from semcache_async.types import Answer, Source

__all__ = ["Outcome", "Traffic", "shown"]

_LEAD_S = 0.2
_TICK_S, _LINE_S = 0.25, 5.0
_COLUMNS = 5


class Outcome(NamedTuple):
    """One answered request."""

    arrival: Arrival
    answer: Answer
    latency_s: float
    """From when it was due."""


class Traffic:
    """What happened so far."""

    def __init__(self, llm: SimulatedLLM) -> None:
        self.llm = llm
        self.began = time.perf_counter() + _LEAD_S
        """When the first second starts, on ``time.perf_counter``'s clock."""
        self.outcomes: list[Outcome] = []
        self.latencies: list[float] = []
        self.sources: Counter[Source] = Counter()

    def add(self, outcome: Outcome) -> None:
        """One more request was answered."""
        self.outcomes.append(outcome)
        self.latencies.append(outcome.latency_s)
        self.sources[outcome.answer.source] += 1

    def summary(self) -> list[tuple[str, str]]:
        """Names and values, ready to show."""
        done = len(self.outcomes)
        elapsed = max(1e-9, time.perf_counter() - self.began)
        p50, p99 = np.percentile(self.latencies, [50, 99]) * 1_000 if done else (0.0, 0.0)
        rows = [("elapsed", f"{max(0.0, elapsed):.1f} s"), ("answered", f"{done:,}")]
        rows += [
            (source.value, f"{self.sources[source] / max(1, done):.1%}")
            for source in (Source.EXACT, Source.SEMANTIC, Source.SHARED, Source.GENERATED)
        ]
        return [
            *rows,
            ("LLM calls", f"{self.llm.calls:,}"),
            ("lookups/s", f"{done / elapsed:,.0f}"),
            ("p50", f"{p50:,.1f} ms"),
            ("p99", f"{p99:,.0f} ms"),
        ]


@asynccontextmanager
async def shown(traffic: Traffic, total: int, console: Console) -> AsyncIterator[None]:
    """A live table on a terminal, else a line every few seconds."""
    watch = _watch_live if console.is_terminal else _watch_lines
    async with in_background(watch(traffic, total, console)):
        yield


async def _watch_live(traffic: Traffic, total: int, console: Console) -> None:
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(_panel(traffic, total), refresh=True)
            await asyncio.sleep(_TICK_S)


async def _watch_lines(traffic: Traffic, total: int, console: Console) -> None:
    while True:
        await asyncio.sleep(_LINE_S)
        line = ", ".join(f"{name} {value}" for name, value in traffic.summary())
        console.print(line, soft_wrap=True)


def _panel(traffic: Traffic, total: int) -> Table:
    cells = [f"[dim]{name}[/] {value}" for name, value in traffic.summary()]
    numbers = Table.grid(padding=(0, 3))
    for first in range(0, len(cells), _COLUMNS):
        numbers.add_row(*cells[first : first + _COLUMNS])
    panel = Table.grid()
    panel.add_row(ProgressBar(total=total, completed=len(traffic.outcomes), width=60))
    panel.add_row(numbers)
    return panel
