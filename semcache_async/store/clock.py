"""Redis's clock as this process knows it: never ahead of the truth."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["ServerClock"]

_EVERY_S = 1.0
"""How often to ask, along with commands that go anyway."""
_DRIFT = 0.000_5
"""How much faster or slower than Redis's this host's clock may run: what NTP may do to either."""


class ServerClock:
    """Unix seconds by Redis's ``TIME``, carried forward by this host's monotonic clock.

    An answer to ``TIME`` was true at some moment between sending and receiving. ``now`` takes the
    latter, so it is early by a round trip at most and never late: a moment read here lies before
    every invalidation that begins after it, whatever any host's own clock says. The wall clock of
    this host plays no part.
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        ahead: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.monotonic = monotonic
        self._ahead = ahead
        """Seconds added to what Redis says: for tests that let time pass."""
        self._at = 0.0
        """When, by ``monotonic``, the clock stood between ``_low`` and ``_high``."""
        self._low = self._high = 0.0
        self._asked_at = -_EVERY_S

    def now(self) -> float:
        """Unix seconds, early by a round trip at most. Before the first answer, 0 or so."""
        passed = self.monotonic() - self._at
        return self._low + passed * (1 - _DRIFT) + self._ahead()

    def due(self) -> bool:
        """Is it time to ask again? Says so once."""
        now = self.monotonic()
        if now - self._asked_at < _EVERY_S:
            return False
        self._asked_at = now
        return True

    def learn(self, sent: float, reply: object) -> float | None:
        """Take in the reply to a ``TIME`` that was sent at ``sent`` by ``monotonic``, and return
        the moment it names; None for an error, which teaches nothing."""
        if not isinstance(reply, list):
            return None
        said = int(reply[0]) + int(reply[1]) / 1e6
        now = self.monotonic()
        low, high = self._bounds(now)
        latest = said + (now - sent) * (1 + _DRIFT)
        if low <= latest and said <= high:
            said_low, latest = max(low, said), min(high, latest)
        else:  # the first answer, or a clock that was set
            said_low = said
        self._at, self._low, self._high = now, said_low, latest
        return said + self._ahead()

    def _bounds(self, now: float) -> tuple[float, float]:
        passed = now - self._at
        return self._low + passed * (1 - _DRIFT), self._high + passed * (1 + _DRIFT)
