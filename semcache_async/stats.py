"""What the cache counts, and how the counts relate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
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


def counter(text: str) -> dict[str, str]:
    """What a field is that only grows."""
    return {"help": text, "kind": "counter"}


def gauge(text: str) -> dict[str, str]:
    """What a field is that comes and goes."""
    return {"help": text, "kind": "gauge"}


def fact(text: str) -> dict[str, str]:
    """What a field is that cannot be summed over processes."""
    return {"help": text, "kind": "fact"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats(Mapping[str, Any]):
    """A snapshot: every field by attribute or by name; ``dict(stats)`` is ready for JSON.

    Whoever shows the numbers takes names, kinds and meanings from the fields' ``metadata``.
    """

    requests: int = field(metadata=fact("Requests ended"))
    exact: int = field(metadata=counter("Requests answered by the exact tier"))
    semantic: int = field(metadata=counter("Requests answered by the semantic tier"))
    shared: int = field(metadata=counter("Requests answered by another caller's flight"))
    generated: int = field(metadata=counter("Requests answered by the LLM call they started"))
    bypassed: int = field(metadata=counter("Requests answered by the LLM without the cache"))
    shed: int = field(metadata=counter("Requests turned away"))
    failed: int = field(metadata=counter("Requests that raised, or whose caller was cancelled"))
    cancelled: int = field(
        metadata=counter("Requests whose caller went away; also among the failed")
    )
    llm_calls: int = field(metadata=counter("LLM calls begun, bypassing ones included"))
    llm_errors: int = field(metadata=counter("LLM calls that failed"))
    not_stored: int = field(metadata=counter("Answers delivered but not stored"))
    lookups: int = field(metadata=counter("Lookups that never call the LLM"))
    lookup_hits: int = field(metadata=counter("Lookups that found an answer"))
    store_errors: int = field(metadata=counter("Store operations that failed"))
    embed_errors: int = field(metadata=counter("Prompts that could not be embedded"))
    lookup_timeouts: int = field(
        metadata=counter("Lookups that ran out of time and counted as misses")
    )

    flights: int = field(metadata=gauge("LLM calls under way, storing included"))
    waiting: int = field(metadata=gauge("Callers that wait for an LLM call"))
    queued: int = field(metadata=gauge("Items that wait for a batch of any kind"))
    connections: int = field(metadata=gauge("Open connections to Redis"))
    embedder: str = field(metadata=fact("Backend and precision: onnxruntime-f32-packed, ..."))
    embedded_texts: int = field(metadata=counter("Texts that the embedding model has run"))
    embed_batches: int = field(metadata=counter("Packs that the embedding model has run"))
    embed_fill: float = field(metadata=fact("Mean share of a pack's budget that was used, 0..1"))
    embed_remembered: int = field(metadata=counter("Texts whose vector was still in memory"))
    exact_batches: int = field(metadata=counter("Pipelines that exact lookups took"))
    search_batches: int = field(metadata=counter("Pipelines that searches took"))
    searches: int = field(metadata=counter("Semantic searches"))

    def __getitem__(self, name: str) -> Any:
        if name not in self.__dataclass_fields__:
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return (part.name for part in fields(self))

    def __len__(self) -> int:
        return len(self.__dataclass_fields__)
