"""Fences: what keeps an answer out that began to be made before it was invalidated.

A fence is a key of its own for each thing that can be invalidated, holding the latest moment, by
Redis's clock, at which that was done. It is raised before anything is deleted, and never lowered
(``ZADD GT``). A write reads the fences of its records under ``WATCH`` and is executed only if none
has moved since, so that no answer slips between the reading and the writing: one that is written
before a fence is raised is there for the deletion to find.

A full Redis may evict a fence, which is used as little as an entry that nobody asks for. So each is
noted in a log of its period too, one key that every write looks into: what is used so much stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from semcache_async.config import CacheConfig
from semcache_async.errors import StaleWriteError
from semcache_async.store.wire import Command
from semcache_async.types import Record

__all__ = ["Fences"]

_MEMBER = b"at"
_LIFE_MIN_S = 3_600.0
_PERIOD_S = 3_600.0
"""Of a log: one for all, whatever each believes to be the longest flight."""


class Fences:
    """Commands on fences, and what their replies mean. Moments are microseconds in Redis."""

    def __init__(self, config: CacheConfig) -> None:
        longest_s = config.generate_timeout_s + 10 * config.store_timeout_s
        self.life_s = max(_LIFE_MIN_S, 2 * longest_s)
        """A fence outlives every flight; an answer that began earlier is stale unseen."""
        self._periods = 1 + ceil(self.life_s / _PERIOD_S)
        self.reads = 1 + self._periods
        """Replies to ``reading`` for each name."""

    def raising(self, names: Sequence[str], moment: float) -> list[Command]:
        """Raise each to ``moment``, in Unix seconds by Redis's clock."""
        life_ms = int(self.life_s * 1_000)
        commands: list[Command] = [("MULTI",)]
        score = int(moment * 1e6) + 1
        for name in names:
            log, member = self._logged(name, moment)
            commands.append(("ZADD", name, "GT", score, _MEMBER))
            commands.append(("PEXPIRE", name, life_ms, "NX"))
            commands.append(("PEXPIRE", name, life_ms, "GT"))
            commands.append(("ZADD", log, "GT", score, member))
            commands.append(("PEXPIRE", log, 2 * life_ms))
        return [*commands, ("EXEC",)]

    def reading(self, names: Sequence[str], now: float) -> list[Command]:
        """Read each, under ``WATCH``: so many replies for each name as ``reads`` says."""
        commands: list[Command] = []
        for name in names:
            commands.append(("ZSCORE", name, _MEMBER))
            moments = (now - n * _PERIOD_S for n in range(self._periods))
            commands += [("ZSCORE", *self._logged(name, moment)) for moment in moments]
        return commands

    @staticmethod
    def keep_out(made_at: float, moments: Sequence[float | None]) -> bool:
        """Was any of the fences that read ``moments`` raised at ``made_at`` or later?"""
        raised = max((moment for moment in moments if moment is not None), default=0.0)
        return raised >= made_at * 1e6

    def refusal(
        self, record: Record, moments: Sequence[float | None], now: float
    ) -> StaleWriteError | None:
        """Why ``record`` may not be written, where ``moments`` are the replies of its fences."""
        if self.keep_out(record.started_at, moments):
            return StaleWriteError(
                "An invalidation came after this answer began to be made, so it is not kept."
            )
        if record.started_at < now - self.life_s:
            return StaleWriteError(
                f"This answer began to be made more than {self.life_s:g} s ago, longer than "
                "invalidations are remembered, so it is not kept."
            )
        return None

    def _logged(self, name: str, moment: float) -> tuple[str, str]:
        """Where a fence is noted at a moment."""
        place, _, member = name.rpartition(":")
        return f"{place}:log:{int(moment // _PERIOD_S)}", member
