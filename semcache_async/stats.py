"""What the cache counts, and how the counts relate. A counter is one field here: its name, help and
kind are what metrics, pages and documents are made from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from semcache_async.bounds.intervals import measured
from semcache_async.errors import OverloadedError
from semcache_async.types import Source

__all__ = ["Counters", "Stats"]


def _counter(text: str) -> int:
    """A number that only grows."""
    count: int = field(default=0, metadata={"kind": "counter", "help": text})
    return count


def _total(text: str, kind: str) -> Any:
    """A sum of counters, as of the snapshot."""
    return field(kw_only=True, metadata={"kind": kind, "help": text})


def _gauge(text: str) -> Any:
    """A number that comes and goes."""
    return field(kw_only=True, metadata={"kind": "gauge", "help": text})


def _fact(text: str) -> Any:
    """Neither."""
    return field(kw_only=True, metadata={"kind": "fact", "help": text})


@dataclass
class Counters:
    """Counted as each request ends, so that at any moment
    ``requests = exact + semantic + shared + generated + bypassed + shed + failed``."""

    exact: int = _counter("Requests answered by the exact tier")
    semantic: int = _counter("Requests answered by the semantic tier")
    shared: int = _counter("Requests answered by another caller's flight")
    generated: int = _counter("Requests answered by the LLM call they started")
    bypassed: int = _counter("Requests answered by the LLM without the cache")
    shed: int = _counter("Requests turned away: more was asked than could be answered in time")
    failed: int = _counter("Requests that raised, or whose caller was cancelled")
    cancelled: int = _counter("Requests whose caller was cancelled; also among the failed")

    pointed: int = _counter("Semantic hits of a wording seen before: neither embedded nor searched")
    stale: int = _counter("Hits past their time to live, which are made anew meanwhile")
    renewed: int = _counter("LLM calls in the background that make a stored answer anew")
    spared_errors: int = _counter("Requests that failed with an LLM error remembered from before")
    followed: int = _counter("LLM calls saved by following one of another process")
    takeovers: int = _counter("LLM calls taken over from a process that had fallen silent")
    unclaimed: int = _counter("LLM calls that other processes could not be told of")
    llm_calls: int = _counter("LLM calls begun, bypassing ones included")
    llm_errors: int = _counter("LLM calls that raised")
    not_stored_unkept: int = _counter("Answers delivered that were not to be stored")
    not_stored_personal: int = _counter("Answers not stored: about one person's own")
    not_stored_cheap: int = _counter("Answers not stored: made in less than min_llm_s")
    not_stored_invalid: int = _counter("Answers not stored: empty, too long, or no valid text")
    not_stored_invalidated: int = _counter("Answers not stored: invalidated while being made")
    not_stored_quota: int = _counter("Answers not stored: a quota was used up")
    not_stored_store: int = _counter("Answers not stored: the store failed")
    not_stored_overtaken: int = _counter("Answers not stored: another process had taken over")
    not_stored_closed: int = _counter("Answers not stored: the cache was closed meanwhile")

    shadow_exact: int = _counter("Exact answers that shadow mode held back")
    shadow_semantic: int = _counter("Semantic answers that shadow mode held back")
    judged: int = _counter("Stored answers judged: those near a miss, and audited hits")
    judged_wrong: int = _counter("Of the judged, those that were wrong")
    audited: int = _counter("Semantic hits judged afterwards, drawn at random")
    audited_wrong: int = _counter("Of the audited hits, those that were wrong")
    feedback_right: int = _counter("Verdicts by feedback that an answer was right")
    feedback_wrong: int = _counter("Verdicts by feedback that an answer was wrong")
    judge_errors: int = _counter("Judgements without a verdict: the judge raised, was late or odd")
    judge_skips: int = _counter("Judgements not asked for: over budget, or under load")
    evidence_lost: int = _counter("Verdicts that could not be kept")

    invalidated: int = _counter("Entries deleted as somebody said so")
    bumped: int = _counter("New versions of namespaces begun: what was older is out of reach")

    lookups: int = _counter("lookup calls and items of lookup_many; not among the requests")
    lookup_hits: int = _counter("Lookups that found an answer")

    store_errors: int = _counter("Store operations that failed: misses, or answers not stored")
    embed_errors: int = _counter("Prompts that could not be embedded: the exact tier alone")
    lookup_timeouts: int = _counter("Lookups that ran out of lookup_budget_s: misses")

    def all_requests(self) -> int:
        """Requests ended so far."""
        answered = self.exact + self.semantic + self.shared + self.generated
        return answered + self.bypassed + self.shed + self.failed

    def all_not_stored(self) -> int:
        """Answers delivered but not stored, for whatever reason."""
        return sum(
            (
                *(self.not_stored_unkept, self.not_stored_invalid, self.not_stored_invalidated),
                *(self.not_stored_quota, self.not_stored_store, self.not_stored_overtaken),
                *(self.not_stored_closed, self.not_stored_personal, self.not_stored_cheap),
            )
        )

    def count_feedback(self, right: bool) -> None:
        """Somebody's verdict was kept."""
        self.feedback_right += right
        self.feedback_wrong += not right

    def count_error(self, error: BaseException) -> None:
        """One request ended with an error."""
        if isinstance(error, OverloadedError):
            self.shed += 1
            return
        self.failed += 1
        self.cancelled += isinstance(error, asyncio.CancelledError | GeneratorExit)

    def count(self, source: Source) -> None:
        """One request answered from ``source``."""
        setattr(self, source.value, getattr(self, source.value) + 1)


@dataclass(eq=False)
class Stats(Counters, Mapping[str, Any]):
    """A snapshot: every field by attribute or by name; ``dict(stats)`` is ready for JSON."""

    requests: int = _total("Requests ended", "fact")
    not_stored: int = _total("Answers delivered but not stored, for whatever reason", "counter")
    erased: int = _counter("Near prompts refused: they differ in what the model cannot see")
    guarded: int = _counter("Near prompts refused by a guard")
    doubted: int = _counter("Near prompts not served as a small difference may matter")
    verifier_asked: int = _counter("Pairs of prompts that the verifier was asked about")
    verifier_refused: int = _counter("Near prompts refused by the verifier")
    verifier_failed: int = _counter(
        "Near prompts refused unscored: the verifier raised, was late or gave no score"
    )
    unready: int = _counter("Prompts that had the exact tier only: their model was not loaded yet")
    unopened: int = _counter(
        "What lay in Redis and did not open, for want of a key or of zstd: misses"
    )
    store_skips: int = _counter("Store operations skipped while the store was out of reach")
    embedded_texts: int = _counter("Texts that the embedding model has run")
    embed_batches: int = _counter("Packs that the embedding model has run")
    embed_remembered: int = _counter("Texts whose vector was still in memory")
    embed_skips: int = _counter("Prompts not embedded while the embedder was out of reach")
    embed_requests: int = _counter("Requests to a remote embedder, its retries and probes included")
    embed_retries: int = _counter("Of those requests, the ones made once more")
    embed_tokens: int = _counter("Tokens that a remote embedder has been sent, as it counts them")
    embed_usd: float = _counter("Their price in US dollars, as far as one was told")
    exact_batches: int = _counter("Pipelines that exact lookups took")
    search_batches: int = _counter("Pipelines that searches took")
    searches: int = _counter("Semantic searches")

    flights: int = _gauge("LLM calls under way, storing included")
    waiting: int = _gauge("Callers that wait for an LLM call")
    judging: int = _gauge("Stored answers that wait to be judged, or are being judged")
    scopes: int = _gauge("Scopes served that find their own distance, counted in each process")
    scopes_proven: int = _gauge("Of those, the ones whose evidence proves target_precision")
    scopes_stopped: int = _gauge("Of those, the ones that serve nothing by meaning any more")
    scopes_broken: int = _gauge("Of those, the ones whose audited hits are below target_precision")
    llm_limit: int = _gauge("LLM calls that may be under way at once")
    llm_waiting: int = _gauge("LLM calls that wait for their turn")
    queued: int = _gauge("Items that wait for a batch of any kind")
    connections: int = _gauge("Open connections to Redis")
    embedder_up: bool = _gauge("1 while the embedder is asked, 0 while it is out of reach")
    store_up: bool = _gauge("1 while the store is asked, 0 while it is taken for unreachable")
    store_keeps: bool = _gauge("1 while answers can be written, 0 since one could not")

    store_trouble: str | None = _fact("Why the last write failed, if it did")
    elsewhere: int = _fact("Entries of other models under this name, for exact repeats alone")
    embedder: str = _fact("Backend and precision, such as onnxruntime-f32-packed")
    embed_fill: float = _fact("Mean share of a pack's budget that was used, 0..1")
    hint: str | None = _fact("What would be faster on this machine, if anything")

    @property
    def wrong_hits(self) -> tuple[float, float, float] | None:
        """The share of wrong ones among the semantic hits, as audits measure it, and its 95 %
        interval (Wilson); None without audits."""
        return measured(self.audited_wrong, self.audited)

    def __getitem__(self, name: str) -> Any:
        if name not in self.__dataclass_fields__:
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return (part.name for part in fields(self))

    def __len__(self) -> int:
        return len(self.__dataclass_fields__)
