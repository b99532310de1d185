"""Numbers that several processes write and any of them can sum: one row a process, in one file."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

__all__ = ["Cells", "SharedRows", "shared_file"]

Cells: TypeAlias = "memoryview[float]"
"""Float64 cells. Aligned 8-byte writes are seen whole by other processes."""


@contextmanager
def shared_file(rows: int, width: int) -> Iterator[int]:
    """A file descriptor of zeros for ``rows`` processes; without a name, so it ends with them."""
    with tempfile.TemporaryFile(prefix="semcache-") as file:
        file.truncate(rows * width * 8)
        yield file.fileno()


class SharedRows:
    """``rows`` x ``width`` numbers; this process writes ``mine`` and nobody else does."""

    def __init__(self, width: int, *, row: int = 0, rows: int = 1, fd: int = -1) -> None:
        """``fd``: a ``shared_file`` of that size; -1 for memory of this process alone."""
        if fd >= 0 and os.fstat(fd).st_size != rows * width * 8:
            raise ValueError("The shared file is of another size.")
        cells: Cells = memoryview(mmap.mmap(fd, rows * width * 8)).cast("d")
        self._rows = [cells[n * width : (n + 1) * width] for n in range(rows)]
        self.mine: Cells = self._rows[row]

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, row: int, cell: int) -> float:
        """One process's number."""
        return self._rows[row][cell]

    def parts(self, start: int, stop: int) -> list[Cells]:
        """A range of each process."""
        return [row[start:stop] for row in self._rows]

    def total(self, cell: int) -> float:
        """The sum of one cell over all processes."""
        return sum(row[cell] for row in self._rows)

    def totals(self, start: int, stop: int) -> list[float]:
        """``total`` for each cell of a range."""
        return [
            sum(column) for column in zip(*[row[start:stop] for row in self._rows], strict=True)
        ]
