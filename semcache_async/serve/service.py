"""What all handlers share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from semcache_async.cache import SemanticCache
from semcache_async.errors import StoreError
from semcache_async.serve.completions.flow import Completions
from semcache_async.serve.journal import Journal
from semcache_async.serve.keys import KeyRing
from semcache_async.serve.metrics.metrics import Metrics
from semcache_async.serve.readiness import Readiness
from semcache_async.serve.settings import Settings
from semcache_async.serve.upstream.routing import Upstreams
from semcache_async.types import ModelState

if TYPE_CHECKING:
    from semcache_async.serve.telemetry import Telemetry

__all__ = ["Service"]


@dataclass(slots=True, kw_only=True)
class Service:
    """One process's cache and what stands around it."""

    cache: SemanticCache
    settings: Settings
    keys: KeyRing
    upstreams: Upstreams
    metrics: Metrics
    journal: Journal
    telemetry: Telemetry | None = None
    """What tells OpenTelemetry of it, if anything does."""
    draining: bool = False
    """No new work: this process is about to end."""
    completions: Completions = field(init=False)
    readiness: Readiness = field(init=False)

    def __post_init__(self) -> None:
        self.completions = Completions(
            *(self.cache, self.upstreams, self.settings, self.metrics, self.journal),
            answered=None if self.telemetry is None else self.telemetry.answered,
        )
        self.readiness = Readiness(self.cache)

    async def measured(self) -> Sequence[ModelState]:
        """The models with what their indexes hold; none where the store does not say in time."""
        if self.cache.stats().store_up:
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(self.cache.config.store_timeout_s):
                    return await self.cache.measured_models()
        return ()
