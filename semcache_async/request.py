"""One request on its way through the flow: what was asked, and what is known of it so far."""

from __future__ import annotations

import random
import time
from collections.abc import Collection
from typing import Any

from semcache_async.config import CacheConfig, check_age, check_max_distance, check_ttl
from semcache_async.errors import ConfigError, PromptError
from semcache_async.flow.flight import Flight
from semcache_async.text.decide import Policy
from semcache_async.text.prompt import check_text, normalise
from semcache_async.types import (
    Answer,
    Entry,
    EntryKey,
    Record,
    Scope,
    Source,
    Timings,
    Vector,
)

__all__ = ["Request", "check_answer", "check_tags", "remembered"]


class Request:
    """A checked prompt with its key, policy and, as the flow goes, vector and timings."""

    __slots__ = (
        "_began",
        "_config",
        "_tags",
        "_ttl_s",
        "embed_s",
        "embedded",
        "exact_s",
        "generate_s",
        "key",
        "max_age_s",
        "policy",
        "prompt",
        "reads",
        "search_s",
        "store_failed",
        "vector",
        "writes",
    )

    def __init__(
        self,
        prompt: str,
        key: EntryKey,
        tags: tuple[str, ...],
        ttl_s: float | None,
        policy: Policy,
        max_age_s: float | None,
        use: tuple[bool, bool],
        config: CacheConfig,
    ) -> None:
        self._began = time.perf_counter()
        self._config = config
        self._tags = tags
        self._ttl_s = ttl_s
        self.prompt = prompt
        self.key = key
        self.policy = policy
        self.max_age_s = max_age_s
        """Seconds since an entry was stored beyond which it is a miss; None: any age will do."""
        self.reads, self.writes = use
        """May be answered from the cache or another's flight; may be kept for others."""
        if len(prompt) * 4 > config.max_prompt_bytes and self.oversize:
            self.reads = self.writes = False
        self.vector: Vector | None = None
        self.embedded = False
        """The embedder was asked; ``vector`` stays None where it could not answer."""
        self.store_failed = False
        """The store failed this request once; it is not asked again on its behalf."""
        self.exact_s = self.embed_s = self.search_s = self.generate_s = 0.0

    @classmethod
    def make(
        cls,
        prompt: object,
        scope: object,
        tags: Collection[str],
        ttl_s: float | None,
        max_distance: float | None,
        config: CacheConfig,
        *,
        max_age_s: float | None = None,
        use: tuple[bool, bool] = (True, True),
    ) -> Request:
        """Raises ``PromptError`` or ``ConfigError`` for arguments that make no sense."""
        text = check_text("prompt", prompt)
        if not isinstance(scope, Scope):
            raise ConfigError(f"scope must be a Scope, not {type(scope).__name__}.")
        limit = config.max_distance
        if max_distance is not None:
            limit = min(limit, check_max_distance(max_distance))
        if ttl_s is not None:
            check_ttl("ttl_s", ttl_s)
        if max_age_s is not None:
            check_age(max_age_s)
        key = EntryKey(scope, normalise(text))
        known_tags = check_tags(tags) if tags else ()
        return cls(text, key, known_tags, ttl_s, Policy(limit), max_age_s, use, config)

    @property
    def oversize(self) -> bool:
        """Is the prompt over ``max_prompt_bytes``? Then it bypasses the cache."""
        return len(self.prompt.encode()) > self._config.max_prompt_bytes

    def accepts(self, entry: Entry) -> bool:
        """Is the entry young enough?"""
        return self.max_age_s is None or time.time() - entry.created_at <= self.max_age_s

    def flight(self) -> Flight[Any]:
        """A new flight with this request as its leader."""
        return Flight(self.key, self.prompt, self.vector, self._tags, time.time())

    def record(self, text: str, started_at: float) -> Record:
        """What to store as this prompt's answer, each tier's TTL shortened by the jitter."""
        config = self._config
        fraction = 1.0 - config.ttl_jitter * random.random()  # noqa: S311 - spreads expiry
        return Record(
            key=self.key,
            prompt=self.prompt,
            text=text,
            vector=self.vector,
            tags=self._tags,
            exact_ttl_s=(self._ttl_s or config.exact_ttl_s) * fraction,
            semantic_ttl_s=(self._ttl_s or config.semantic_ttl_s) * fraction,
            started_at=started_at,
        )

    def hit(self, source: Source, entry: Entry, distance: float) -> Answer:
        """A stored entry as this request's answer."""
        return Answer(
            text=entry.text,
            source=source,
            distance=distance,
            matched_prompt=entry.prompt,
            entry_id=entry.id,
            age_s=max(0.0, time.time() - entry.created_at),
            timings=self.timings(),
        )

    def answer(
        self,
        text: str,
        source: Source,
        *,
        entry_id: str | None = None,
        distance: float | None = None,
        matched_prompt: str | None = None,
    ) -> Answer:
        """A fresh text as this request's answer."""
        return Answer(
            text=text,
            source=source,
            distance=distance,
            matched_prompt=matched_prompt,
            entry_id=entry_id,
            timings=self.timings(),
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


def remembered(entry: Entry) -> Answer:
    """An exact hit from this process's own memory."""
    return Answer(
        text=entry.text,
        source=Source.EXACT,
        distance=0.0,
        matched_prompt=entry.prompt,
        entry_id=entry.id,
        age_s=max(0.0, time.time() - entry.created_at),
    )


def check_answer(text: object, config: CacheConfig) -> str:
    """``text`` itself if it can be kept, else ``PromptError``."""
    answer = check_text("answer", text)
    if len(answer.encode()) > config.max_answer_bytes:
        raise PromptError(f"The answer is longer than max_answer_bytes={config.max_answer_bytes}.")
    return answer


def check_tags(tags: object) -> tuple[str, ...]:
    """The tags, each a non-blank str, in order and without repeats."""
    if isinstance(tags, str) or not isinstance(tags, Collection):
        raise ConfigError("tags must be a collection of str; wrap a single one: tags=('x',).")
    return tuple(dict.fromkeys(check_text("tag", tag) for tag in tags))
