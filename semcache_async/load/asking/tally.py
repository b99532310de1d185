"""What is counted while requests are under way."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable

from semcache_async.load.asking.targets import Reply, RequestError, Target
from semcache_async.load.measured.histogram import Histogram
from semcache_async.load.traffic.workload import Arrival

__all__ = ["Tally"]

_TICK_S = 0.005
_EARLY_S = 0.001
"""Timers may fire this early."""


class Tally:
    """One run's figures. Measured are the requests due in the window after the warm-up; all times
    are ``clock``'s, in seconds."""

    def __init__(self, *, warm_up_s: float, duration_s: float, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.warm_up_s, self.duration_s = warm_up_s, duration_s
        self.began = self.opens = self.closes = 0.0
        self.latency: defaultdict[str, Histogram] = defaultdict(Histogram)
        """By source, from when a request was due."""
        self.service = Histogram()
        """From when it was sent."""
        self.first_token = Histogram()
        """From when it was due, of streams."""
        self.lateness = Histogram()
        """From when it was due to when it was sent."""
        self.lag = Histogram()
        """By how much the event loop's timers are late."""
        self.errors: Counter[str] = Counter()
        self.intents: set[str] = set()
        """Asked in the whole run."""
        self.sources: Counter[str] = Counter()
        """Of the whole run."""
        self.due = 0
        """Requests due in the window."""
        self.done = 0
        """Requests, whenever due, that were answered within the window."""
        self.held = 0
        """Requests that waited for another to end, so many were under way."""
        self.in_flight = self.peak = 0

    def start(self) -> None:
        """The clock runs from now on."""
        self.began = self.clock()
        self.opens = self.began + self.warm_up_s
        self.closes = self.opens + self.duration_s

    async def ask(self, target: Target, arrival: Arrival, due: float) -> None:
        """Ask, and count what becomes of it. Raises nothing but ``CancelledError``."""
        sent = self.clock()
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        self.intents.add(arrival.question.intent)
        reply, error = Reply("error"), ""
        try:
            reply = await target.ask(arrival.prompt)
        except RequestError as failure:
            error = str(failure)
        except asyncio.CancelledError:
            error = "unanswered when the run ended"
            raise
        except Exception as failure:
            error = type(failure).__name__
        finally:
            self.in_flight -= 1
            self._count(reply, error, due, sent)

    def never_sent(self, due: float) -> None:
        """A request due at ``due`` was still held when the run ended."""
        self._count(Reply("error"), "held until the run ended", due, self.clock())

    def _count(self, reply: Reply, error: str, due: float, sent: float) -> None:
        now = self.clock()
        self.sources[reply.source] += 1
        self.done += not error and self.opens <= now < self.closes
        if not self.opens <= due < self.closes:
            return
        self.due += 1
        if error:
            self.errors[error] += 1
        self.latency[reply.source].record(now - due)
        self.service.record(now - sent)
        if reply.first_token_s is not None:
            self.first_token.record(sent - due + reply.first_token_s)

    def left(self, due: float) -> None:
        """A request due at ``due`` leaves now."""
        if self.opens <= due < self.closes:
            self.lateness.record(self.clock() - due)

    async def watch_lag(self) -> None:
        """Record the lag of the event loop throughout the window. A tick that a stall swallowed
        counts with what was left of the stall."""
        due = self.opens + _TICK_S
        while due < self.closes:
            await asyncio.sleep(due - self.clock())
            now = self.clock() + _EARLY_S
            while due <= min(now, self.closes):
                self.lag.record(now - _EARLY_S - due)
                due += _TICK_S
