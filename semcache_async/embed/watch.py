"""Says so when a call into a runtime does not come back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from semcache_async.embed.forks import ForkLock

__all__ = ["Watch"]

_log = logging.getLogger(__name__)


class Watch:
    """A context around calls that should return within ``limit_s``; logs once if one does not.

    Its thread lives only while there are calls, and looks at them thrice in the limit.
    """

    def __init__(
        self, name: str, limit_s: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._limit_s = limit_s
        self._clock = clock
        self._began: dict[int, float] = {}
        self._lock = ForkLock()
        self._thread: threading.Thread | None = None
        self._said = False

    def __enter__(self) -> None:
        self._began[threading.get_ident()] = self._clock()
        if self._thread is None:
            self._start()

    def __exit__(self, *_: Any) -> None:
        self._began.pop(threading.get_ident(), None)

    def check(self) -> bool:
        """Is any call late? The first time, it is logged."""
        now = self._clock()
        late = [now - began for began in list(self._began.values()) if now - began > self._limit_s]
        if late and not self._said:
            self._said = True
            _log.error(
                "%s has not returned for %.0f s: its callers wait. Choose another backend with "
                "SEMCACHE_BACKEND, and please report it with `py-spy dump --native --pid PID`.",
                self._name,
                max(late),
            )
        return bool(late)

    def forget(self) -> None:
        """In a forked child: the parent's calls and thread are not here."""
        self._began.clear()
        self._thread = None

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._look, name="semcache-watch", daemon=True
                )
                self._thread.start()

    def _look(self) -> None:
        while True:
            time.sleep(self._limit_s / 3)
            self.check()
            with self._lock:
                if not self._began:
                    self._thread = None
                    return
