"""An asyncio semantic cache for LLM answers.

A prompt flows one way: checked and normalised (``text``), looked up exactly, embedded and searched
in micro-batches (``tiers``, ``flow``, ``embed``, ``store``), decided upon (``text.decide``) and,
where nothing is near enough, answered by one LLM call per intent (``flow.flights``).

    cache.py     the flow, and the public API        embed/   models, packed graphs, tokeniser
    tiers.py     both tiers, failing open            store/   Redis: schema, pipelines, embedded
    flow/        batches, flights, vectors           text/    normalising and the decision
    testing.py   an in-memory store, fakes           cli.py   the ``semcache`` command
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from semcache_async.cache import SemanticCache
from semcache_async.config import CacheConfig
from semcache_async.errors import SemcacheError
from semcache_async.protocols import Embedder, Generate, Store
from semcache_async.stats import Stats
from semcache_async.types import Answer, Scope, Source, Timings

if TYPE_CHECKING:
    from semcache_async.embed import default_embedder

__all__ = [
    "Answer",
    "CacheConfig",
    "Embedder",
    "Generate",
    "Scope",
    "SemanticCache",
    "SemcacheError",
    "Source",
    "Stats",
    "Store",
    "Timings",
    "default_embedder",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "default_embedder":
        from semcache_async.embed import default_embedder

        return default_embedder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
