"""Says so when a call into a runtime does not come back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from semcache_async.embed.runtimes.forks import ForkLock

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
        self._began: dict[int, list[float]] = {}
        self._lock = ForkLock()
        self.thread: threading.Thread | None = None
        """Looks at the calls; None while there are none."""
        self._said = False

    def __enter__(self) -> None:
        self._began.setdefault(threading.get_ident(), []).append(self._clock())
        if self.thread is None:
            self._start()

    def __exit__(self, *_: Any) -> None:
        me = threading.get_ident()
        began = self._began[me]
        began.pop()
        if not began:
            del self._began[me]

    def check(self) -> bool:
        """Is any call late? The first time, it is logged."""
        now = self._clock()
        waited = [now - began[0] for began in list(self._began.values()) if began]
        late = [seconds for seconds in waited if seconds > self._limit_s]
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
        self.thread = None

    def _start(self) -> None:
        with self._lock:
            if self.thread is None:
                self.thread = threading.Thread(
                    target=self._look, name="semcache-watch", daemon=True
                )
                self.thread.start()

    def _look(self) -> None:
        while True:
            time.sleep(self._limit_s / 3)
            self.check()
            with self._lock:
                if not self._began:
                    self.thread = None
                    return
