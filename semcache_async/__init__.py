"""An asyncio semantic cache for LLM answers.

A prompt flows one way: checked and normalised (``request.query``, ``text``), looked up exactly,
embedded and searched in micro-batches (``request.tiers``, ``flow``, ``embed``, ``store``), decided
upon (``text.decide``) and, where nothing is near enough, answered by one LLM call per intent
(``flow.flights``).

    cache.py      the public API                     embed/   models, packed graphs, tokeniser
    request/      what is asked, both tiers, the     store/   Redis: schema, pipelines, embedded
                  flow to an answer                  text/    wording, what is erased, the decision
    flow/         batches, flights, the breaker      serve/   the HTTP service and its page
    sharing/      one flight in all processes        cli/     the ``semcache`` command
    evidence/     what traffic teaches               bounds/  the statistics behind it
    testing/      an in-memory store, fakes          protocols.py  every seam
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from semcache_async import errors as _errors
from semcache_async.bounds.choice import Choice
from semcache_async.cache import SemanticCache
from semcache_async.config import CacheConfig, ModelRule, TTLRule
from semcache_async.errors import *  # noqa: F403 - every error is public
from semcache_async.protocols import (
    Embedder,
    Generate,
    GenerateStream,
    Judge,
    Produce,
    Store,
    Verifier,
)
from semcache_async.request.reply import Reply
from semcache_async.stats import Stats
from semcache_async.types import (
    Affected,
    Answer,
    Case,
    Entry,
    Neighbour,
    Produced,
    Scope,
    Source,
    Timings,
)

if TYPE_CHECKING:
    from semcache_async.embed import RemoteEmbedder, default_embedder

__all__ = [
    *_errors.__all__,
    "Affected",
    "Answer",
    "CacheConfig",
    "Case",
    "Choice",
    "Embedder",
    "Entry",
    "Generate",
    "GenerateStream",
    "Judge",
    "ModelRule",
    "Neighbour",
    "Produce",
    "Produced",
    "RemoteEmbedder",
    "Reply",
    "Scope",
    "SemanticCache",
    "Source",
    "Stats",
    "Store",
    "TTLRule",
    "Timings",
    "Verifier",
    "default_embedder",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("RemoteEmbedder", "default_embedder"):
        from semcache_async import embed

        return getattr(embed, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
