"""What the cache counts, and how the counts relate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from semcache_async.types import Source

__all__ = ["Counters", "Stats"]


@dataclass(slots=True)
class Counters:
    """Counted as each request ends, so that at any moment
    ``requests = exact + semantic + shared + generated + bypassed + shed + failed``."""

    exact: int = 0
    """Requests answered by the exact tier."""
    semantic: int = 0
    """Requests answered by the semantic tier."""
    shared: int = 0
    """Requests answered by another caller's flight."""
    generated: int = 0
    """Requests answered by the LLM call they started."""
    bypassed: int = 0
    """Requests answered by the LLM without the cache."""
    shed: int = 0
    """Requests turned away."""
    failed: int = 0
    """Requests that raised, or whose caller was cancelled."""
    cancelled: int = 0
    """Those of ``failed`` whose caller was cancelled."""

    llm_calls: int = 0
    """LLM calls begun, bypassing ones included."""
    llm_errors: int = 0
    """LLM calls that raised."""
    not_stored: int = 0
    """Answers returned but not stored: empty, too long, not to be kept, invalidated meanwhile, or
    the store failed."""

    lookups: int = 0
    """``lookup`` calls and items of ``lookup_many``; not among ``requests``."""
    lookup_hits: int = 0
    """Those that found an answer."""

    store_errors: int = 0
    """Store operations that failed; each counts as a miss (reading) or as not stored."""
    embed_errors: int = 0
    """Prompts that could not be embedded and went on with the exact tier alone."""
    lookup_timeouts: int = 0
    """Lookups that ran out of ``lookup_budget_s`` and counted as misses."""

    @property
    def requests(self) -> int:
        """Requests ended so far."""
        answered = self.exact + self.semantic + self.shared + self.generated
        return answered + self.bypassed + self.shed + self.failed

    def count(self, source: Source) -> None:
        """One request answered from ``source``."""
        setattr(self, source.value, getattr(self, source.value) + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats(Mapping[str, Any]):
    """A snapshot: every field by attribute or by name; ``dict(stats)`` is ready for JSON."""

    requests: int
    exact: int
    semantic: int
    shared: int
    generated: int
    bypassed: int
    shed: int
    failed: int
    cancelled: int
    llm_calls: int
    llm_errors: int
    not_stored: int
    lookups: int
    lookup_hits: int
    store_errors: int
    embed_errors: int
    lookup_timeouts: int

    flights: int
    """LLM calls under way now, storing included."""
    waiting: int
    """Callers in them."""
    queued: int
    """Items waiting for a batch now, of all kinds."""
    connections: int
    """Connections to Redis open now (0 with a store of another kind)."""
    embedder: str
    """Backend and precision, e.g. ``onnxruntime-f32-packed``."""
    embedded_texts: int
    """Texts that the model has run."""
    embed_batches: int
    """Packs or batches they took."""
    embed_fill: float
    """Mean share of a pack's budget that was used, 0..1."""
    embed_remembered: int
    """Texts whose vector was still in memory."""
    exact_batches: int
    """Pipelines that the exact lookups took."""
    search_batches: int
    """Pipelines that the searches took."""
    searches: int
    """Searches in them."""

    def __getitem__(self, name: str) -> Any:
        if name not in self.__dataclass_fields__:
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return (field.name for field in fields(self))

    def __len__(self) -> int:
        return len(self.__dataclass_fields__)
