"""A progress line on the terminal, for the one slow thing this package ever does by itself."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ["Progress"]

_EVERY_S = 0.2


class Progress:
    """Shows the step and the megabytes below ``directory``; silent unless stderr is a terminal.

    ``with Progress(title, directory, enabled=True) as say: say("building")``.
    """

    def __init__(self, title: str, directory: Path, *, enabled: bool) -> None:
        self._title, self._directory = title, directory
        self._enabled = enabled and sys.stderr.isatty()
        self._step = "starting"
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._status: Any = None

    def __enter__(self) -> Progress:
        if self._enabled:
            from rich.console import Console

            self._status = Console(stderr=True).status(self._line())
            self._status.start()
            self._thread = threading.Thread(target=self._watch, name="semcache-progress")
            self._thread.start()
        return self

    def __call__(self, step: str) -> None:
        """Names the step under way."""
        self._step = step

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is not None:
            self._done.set()
            self._thread.join()
            self._status.stop()

    def _watch(self) -> None:
        while not self._done.wait(_EVERY_S):
            self._status.update(self._line())

    def _line(self) -> str:
        size = 0
        for path in self._directory.rglob("*"):
            try:
                size += path.stat().st_size if path.is_file() else 0
            except OSError:
                continue
        return f"Model {self._title}: {self._step} ({size / 1e6:.0f} MB on disk)"
