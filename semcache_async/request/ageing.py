"""What time does to entries: stale, due to be made anew, begun anew by hits, found right."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from semcache_async.config import CacheConfig
from semcache_async.request.attempt import Attempt
from semcache_async.types import Entry, Scope

__all__ = ["Ageing"]

_SLIDING = 64
"""Entries whose times are being begun anew, at most: one that waits comes with its next hit."""

Amend: TypeAlias = Callable[[str, Callable[[Entry], Entry | None], Scope | None], Awaitable[None]]
"""``AmendingStore.amend``, but for what it raises."""


class Ageing:
    """The times of one cache's entries, by the store's clock (``now``)."""

    def __init__(self, config: CacheConfig, now: Callable[[], float], amend: Amend) -> None:
        self._early = config.early_refresh
        self._longest_s = config.max_ttl_s
        self._now = now
        self._amend = amend
        self.sliding: dict[str, asyncio.Task[None]] = {}
        """What is being begun anew, by entry."""

    def note(self, attempt: Attempt, entry: Entry, now: float, *, exact: bool = False) -> bool:
        """Is what the semantic tier serves, or the ``exact`` one, stale? Notes whether it is to be
        made anew; else its times may begin anew."""
        if self.is_due(entry, now, exact=exact):
            attempt.renews = entry
        else:
            self.slide(entry, attempt.query.key.scope, now)
        return entry.is_stale(now, exact=exact)

    def is_due(self, entry: Entry, now: float, *, exact: bool = False) -> bool:
        """Is it to be made anew: stale, or by lot as it soon will be (Vattani, Chierichetti,
        Lowenstein: Optimal Probabilistic Cache Stampede Prevention, VLDB 2015)?"""
        if entry.stale_s and entry.is_stale(now, exact=exact):
            return True
        ahead = self._early * entry.made_s
        if not ahead:
            return False
        lot = -math.log(1.0 - random.random())  # noqa: S311 - spreads renewals
        return now + ahead * lot >= entry.fresh_until(exact=exact)

    def slide(self, entry: Entry, scope: Scope, now: float) -> None:
        """A hit: times to live that slide begin anew, written down in the background now and
        then."""
        longest_s = self._longest_s
        if not entry.slid_at or longest_s is None or entry.id in self.sliding:
            return
        if len(self.sliding) < _SLIDING and entry.slid(now, longest_s) is not None:
            task = asyncio.create_task(self._slide(entry, scope, longest_s))
            self.sliding[entry.id] = task
            task.add_done_callback(lambda _: self.sliding.pop(entry.id, None))

    async def _slide(self, entry: Entry, scope: Scope, longest_s: float) -> None:
        def slid(there: Entry) -> Entry | None:
            same = there.created_at == entry.created_at
            return there.slid(self._now(), longest_s) if same else None

        await self._amend(entry.id, slid, scope)

    async def validate(self, entry: Entry) -> None:
        """Somebody found its answer right just now."""

        def validated(there: Entry) -> Entry | None:
            if there.created_at != entry.created_at:
                return None
            return msgspec.structs.replace(there, validated_at=self._now())

        await self._amend(entry.id, validated, None)

    def close(self) -> None:
        """Write nothing more."""
        for task in list(self.sliding.values()):
            task.cancel()
