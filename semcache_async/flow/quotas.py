"""How much of a cache one tenant may use, counted in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from semcache_async.config import CacheConfig
from semcache_async.errors import OverloadedError, QuotaError
from semcache_async.flow.recent import Recent

__all__ = ["Quotas", "TokenBucket"]

Clock = Callable[[], float]
Count = Callable[[str], Awaitable[int]]
"""How many entries a tenant has."""

_TENANTS = 10_000
"""Remembered at once; who was forgotten begins anew."""
_COUNTED_S = 5.0
_VERDICTS_S = 60.0


class TokenBucket:
    """``rate`` a second on average, and what ``burst_s`` allow at once. A clock that jumps back
    lends nothing."""

    def __init__(
        self, rate: float | None, clock: Clock = time.monotonic, *, burst_s: float = 60.0
    ) -> None:
        self._rate = rate
        self._most = 0.0 if rate is None else max(1.0, rate * burst_s)
        self._left = self._most
        self._clock = clock
        self._at = clock()

    def take(self) -> bool:
        """One, if there is one left."""
        if self._rate is None:
            return True
        now = self._clock()
        self._left = min(self._most, self._left + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


@dataclass(slots=True)
class _Entries:
    count: int
    due: float


class Quotas:
    """What each tenant has used of ``CacheConfig.tenant_...``."""

    def __init__(self, config: CacheConfig, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._most_flights = config.tenant_flights
        self._most_entries = config.tenant_entries
        self._writes_rate = config.tenant_writes
        self._verdicts_rate = config.tenant_verdicts
        self._flights: dict[str, int] = {}
        self._writes: Recent[str, TokenBucket] = Recent(_TENANTS)
        self._verdicts: Recent[str, TokenBucket] = Recent(_TENANTS)
        self._entries: Recent[str, _Entries] = Recent(_TENANTS)
        self._counting: dict[str, asyncio.Task[_Entries]] = {}

    @contextmanager
    def flight(self, tenant: str) -> Iterator[None]:
        """One of the tenant's flights; raises ``OverloadedError`` where it has too many."""
        if self._most_flights is None:
            yield
            return
        flying = self._flights.get(tenant, 0)
        if flying >= self._most_flights:
            raise OverloadedError(
                f"This tenant has {flying} LLM calls under way, as many as tenant_flights allows; "
                "ask again when one has ended."
            )
        self._flights[tenant] = flying + 1
        try:
            yield
        finally:
            self._flights[tenant] -= 1
            if not self._flights[tenant]:
                del self._flights[tenant]

    async def write(self, tenant: str, count: Count) -> None:
        """An answer is about to be stored; raises ``QuotaError`` where it may not be, and what
        ``count`` raises."""
        most = self._most_entries
        known = None if most is None else await self._count(tenant, count)
        if known is not None and most is not None and known.count >= most:
            raise QuotaError(
                f"This tenant has the {most} entries that tenant_entries allows; nothing more is "
                "stored until some have gone."
            )
        if not self._take(self._writes, tenant, self._writes_rate, 1.0):
            raise QuotaError(
                f"This tenant stores more than the {self._writes_rate:g} answers a second that "
                "tenant_writes allows; store it again later."
            )
        if known is not None:
            known.count += 1

    def recount(self) -> None:
        """Entries may have gone: count before the next write."""
        self._entries.clear()

    def verdict(self, tenant: str) -> bool:
        """May one more of the tenant's requests become evidence?"""
        return self._take(self._verdicts, tenant, self._verdicts_rate, _VERDICTS_S)

    async def _count(self, tenant: str, count: Count) -> _Entries:
        """As of some seconds ago, and what was written here since. However many wait for it, it is
        counted once, and they all add to the same."""
        known = self._entries.get(tenant)
        if known is not None and self._clock() < known.due:
            return known
        counting = self._counting.get(tenant)
        if counting is None:
            counting = asyncio.create_task(self._counted(tenant, count))
            self._counting[tenant] = counting
            counting.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(counting)

    async def _counted(self, tenant: str, count: Count) -> _Entries:
        try:
            known = _Entries(await count(tenant), self._clock() + _COUNTED_S)
        finally:
            del self._counting[tenant]
        self._entries.put(tenant, known)
        return known

    def _take(
        self, buckets: Recent[str, TokenBucket], tenant: str, rate: float | None, burst_s: float
    ) -> bool:
        if rate is None:
            return True
        bucket = buckets.get(tenant)
        if bucket is None:
            bucket = TokenBucket(rate, self._clock, burst_s=burst_s)
            buckets.put(tenant, bucket)
        return bucket.take()
