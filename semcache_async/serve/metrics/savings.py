"""What was saved in each of the last minutes: a ring of sums in a process's row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from semcache_async.serve.metrics.shared_rows import Cells

__all__ = ["CELLS", "COLUMNS", "MINUTES", "last_hour", "note"]

MINUTES = 60
COLUMNS = ("avoided", "llm_calls", "seconds", "tokens", "usd")
"""LLM calls that hits and shared calls made needless, those that were made, the seconds that
callers of hits did not wait, and what hits and shared calls saved."""
_WIDTH = 1 + len(COLUMNS)
CELLS = MINUTES * _WIDTH
"""Numbers of one ring: each minute's number, and its sums."""


def note(cells: Cells, at: int, minute: int, amounts: Sequence[float]) -> None:
    """Add to the sums of ``minute`` in the ring that begins at ``at``."""
    slot = at + minute % MINUTES * _WIDTH
    if cells[slot] != minute:  # what lies there is an hour old, and nobody reads it
        for cell in range(slot + 1, slot + _WIDTH):
            cells[cell] = 0.0
        cells[slot] = minute
    for cell, amount in enumerate(amounts, slot + 1):
        cells[cell] += amount


def last_hour(rings: Iterable[Sequence[float]], minute: int) -> dict[str, list[float]]:
    """The sums of all ``rings`` by minute, the last one under way, for each of ``COLUMNS``."""
    found = {name: [0.0] * MINUTES for name in COLUMNS}
    for ring in rings:
        for slot in range(0, CELLS, _WIDTH):
            back = minute - int(ring[slot])
            if 0 <= back < MINUTES:
                for cell, sums in enumerate(found.values(), slot + 1):
                    sums[MINUTES - 1 - back] += ring[cell]
    return found
