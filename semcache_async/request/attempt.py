"""One task's way through the tiers on behalf of one query: what it knows so far, and its time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from semcache_async.protocols import Span
from semcache_async.request.query import Query
from semcache_async.types import (
    Answer,
    Entry,
    Neighbour,
    Source,
    Timings,
    Vector,
    cosine_distance,
)

__all__ = ["Attempt", "remembered"]


class Attempt:
    """A query with its vector, once that is known, and timings. A flight makes one of its own."""

    __slots__ = (
        "_began",
        "ask_until",
        "asked",
        "bulk",
        "embed_failed",
        "embed_s",
        "embedded",
        "emits",
        "exact_s",
        "generate_s",
        "near",
        "query",
        "refused",
        "renews",
        "replaces",
        "search_s",
        "served",
        "shadow",
        "span",
        "unready",
        "vector",
    )

    def __init__(
        self, query: Query, *, bulk: bool = False, emits: Any = None, span: Span | None = None
    ) -> None:
        self._began = time.perf_counter()
        self.query = query
        self.span = span
        """What records it."""
        self.bulk = bulk
        """One of many, which lets others go first."""
        self.emits = emits
        """The type of what its LLM call emits; None where other processes cannot be told of it."""
        self.vector: Vector | None = None
        self.embedded = False
        """The embedder has answered; ``vector`` is None for a prompt that it cannot read whole."""
        self.embed_failed = False
        """It failed or was late; it is asked once more when there is something to store."""
        self.unready = False
        """There was no embedder yet."""
        self.asked: tuple[str, ...] = ()
        """The prompts that a verifier was asked to compare it with."""
        self.ask_until = 0.0
        """When, by the loop's clock, it is too late to ask."""
        self.refused: tuple[Neighbour, ...] = ()
        """Near enough, but not served."""
        self.near: Sequence[Neighbour] = ()
        """The neighbours that were found in the query's own scope, nearest first: what others are
        worth here tells nothing of it."""
        self.served: Neighbour | None = None
        """The one by meaning, of its own scope, whose answer was found good enough."""
        self.shadow: Neighbour | None = None
        """The one that shadow mode held back."""
        self.renews: Entry | None = None
        """What was found and is to be made anew: it is stale, or soon will be."""
        self.replaces: Entry | None = None
        """What this is to bring a newer answer than."""
        self.exact_s = self.embed_s = self.search_s = self.generate_s = 0.0

    def anew(self) -> Attempt:
        """Another attempt at the same query, which knows what this one knows of it."""
        other = Attempt(self.query, span=self.span)
        other.vector, other.embedded = self.vector, self.embedded
        other.embed_failed, other.unready = self.embed_failed, self.unready
        other.near, other.served, other.shadow = self.near, self.served, self.shadow
        other.asked, other.ask_until = self.asked, self.ask_until
        other.replaces = self.renews
        return other

    def vetted(self) -> Query:
        """Its query from now on: one that says who asks, with an answer that nobody else gets."""
        if self.query.writes and self.query.wary:
            self.query = self.query.vetted()
        return self.query

    def distance_to(self, vector: Vector | None) -> float | None:
        """Cosine distance of the prompt; None where one of the two has no vector."""
        if self.vector is None or vector is None:
            return None
        return cosine_distance(self.vector, vector)

    def hit(
        self,
        source: Source,
        entry: Entry,
        distance: float,
        now: float,
        *,
        stale: bool = False,
        widened: bool = False,
    ) -> Answer:
        """A stored entry as this attempt's answer."""
        return Answer(
            text=entry.text,
            source=source,
            distance=distance,
            matched_prompt=entry.prompt,
            entry_id=entry.id,
            widened=widened,
            age_s=max(0.0, now - entry.created_at),
            last_validated=entry.validated_at or entry.created_at,
            stale=stale,
            timings=self.timings(),
            refused=self.refused,
        )

    def answer(
        self,
        text: str,
        source: Source,
        *,
        entry_id: str | None,
        distance: float | None,
        matched_prompt: str | None,
        made_at: float,
        age_s: float,
    ) -> Answer:
        """A fresh text as this attempt's answer."""
        return Answer(
            text=text,
            source=source,
            distance=distance,
            matched_prompt=matched_prompt,
            entry_id=entry_id,
            age_s=age_s,
            last_validated=made_at,
            timings=self.timings(),
            refused=self.refused,
            shadow=self.shadow,
        )

    def timings(self) -> Timings:
        """Seconds spent so far."""
        return Timings(
            exact_s=self.exact_s,
            embed_s=self.embed_s,
            search_s=self.search_s,
            generate_s=self.generate_s,
            total_s=time.perf_counter() - self._began,
        )


def remembered(entry: Entry, now: float) -> Answer:
    """An exact hit from this process's own memory."""
    return Answer(
        text=entry.text,
        source=Source.EXACT,
        distance=0.0,
        matched_prompt=entry.prompt,
        entry_id=entry.id,
        age_s=max(0.0, now - entry.created_at),
        last_validated=entry.validated_at or entry.created_at,
    )
