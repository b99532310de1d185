"""What all handlers share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from semcache_async.cache import SemanticCache

if TYPE_CHECKING:
    from semcache_async.serve.journal import Journal
    from semcache_async.serve.keys import KeyRing
    from semcache_async.serve.metrics import Metrics
    from semcache_async.serve.settings import Settings
    from semcache_async.serve.upstream import Upstream

__all__ = ["Caller", "Service"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as the API key says."""

    tenant: str = ""
    admin: bool = False
    """May see and remove other tenants' entries, and review hits."""


@dataclass(slots=True, kw_only=True)
class Service:
    """One process's cache and what stands around it."""

    cache: SemanticCache
    settings: Settings
    keys: KeyRing
    """``keys.caller(request) -> Caller``; raises ``Unauthorized``."""
    upstream: Upstream
    metrics: Metrics
    journal: Journal
    draining: bool = field(default=False)
    """No new work: this process is about to end."""
