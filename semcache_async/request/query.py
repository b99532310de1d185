"""What is asked of the cache: checked at the edge, and never changed on its way."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from semcache_async.config import (
    CacheConfig,
    check_age,
    check_max_distance,
    check_ttl,
    check_widen,
)
from semcache_async.errors import ConfigError, PromptError
from semcache_async.request.ttl import lifetimes
from semcache_async.text.cacheable import says_who_asks
from semcache_async.text.decide import Policy
from semcache_async.text.prompt import check_text, normalise
from semcache_async.types import EntryKey, Record, Scope, Vector

__all__ = ["Query", "check_answer", "check_scope", "check_tags", "read_query"]


class Query(msgspec.Struct, frozen=True, gc=False):
    """A checked prompt with its key and all that was asked along with it."""

    prompt: str
    key: EntryKey
    policy: Policy
    tags: tuple[str, ...] = ()
    ttl_s: float | None = None
    max_age_s: float | None = None
    """Seconds since an entry was made beyond which it is a miss; None: any age will do."""
    reads: bool = True
    """May be answered from the cache or another's flight."""
    writes: bool = True
    """Its answer may be kept for others."""
    crew: str = ""
    """Whose LLM call it may share: that of callers who name the same."""
    widen: tuple[str, ...] = ()
    """Fields of the scope that a stored answer of other wording may differ in."""
    wary: bool = False
    """Is it to be found out whether prompt and answer are about one person's own?"""
    personal: bool = False
    """The prompt is."""

    def vetted(self) -> Query:
        """This, with an answer that nobody else gets where the prompt says who asks."""
        if not says_who_asks(self.prompt):
            return self
        return msgspec.structs.replace(self, writes=False, personal=True)

    @property
    def scope(self) -> Scope:
        """Its scope, of whatever version."""
        return self.key.scope.unversioned()

    def pinned(self, scope: Scope) -> Query:
        """The same under its namespace's version."""
        return msgspec.structs.replace(self, key=EntryKey(scope, self.key.normalised))

    @property
    def flight(self) -> EntryKey:
        """Under what its LLM call is found by others."""
        if not self.crew:
            return self.key
        scope = self.key.scope
        attributes = {**scope.attributes, "crew": self.crew}
        return EntryKey(msgspec.structs.replace(scope, attributes=attributes), self.key.normalised)

    def record(
        self,
        config: CacheConfig,
        text: str,
        vector: Vector | None,
        *,
        tags: tuple[str, ...],
        started_at: float,
        made_s: float | None = None,
        claim: str | None = None,
    ) -> Record:
        """What to store as this prompt's answer. ``made_s``: seconds that its LLM call took; None
        for one that was brought from outside, which is never stale: there is nobody to renew it."""
        lives = lifetimes(
            *(config, self.prompt, self.key.scope, tags, self.ttl_s), renewable=made_s is not None
        )
        return Record(
            key=self.key,
            prompt=self.prompt,
            text=text,
            vector=vector,
            tags=tags,
            exact_ttl_s=lives.exact_s,
            semantic_ttl_s=lives.semantic_s,
            stale_s=lives.stale_s,
            made_s=made_s or 0.0,
            slides=config.sliding_ttl,
            started_at=started_at,
            claim=claim,
        )


def read_query(
    prompt: object,
    scope: object,
    config: CacheConfig,
    policy: Callable[[Scope], Policy],
    *,
    tags: Collection[str] = (),
    ttl_s: float | None = None,
    max_distance: float | None = None,
    max_age_s: float | None = None,
    reads: bool = True,
    writes: bool = True,
    crew: str = "",
    widen: Collection[str] = (),
    vetted: bool = False,
) -> Query:
    """``policy`` gives a scope's own, which ``max_distance`` may tighten; ``vetted``: what is
    personal has been seen to. Raises ``PromptError`` or
    ``ConfigError`` for arguments that make no sense."""
    text = check_text("prompt", prompt)
    scope = scope if isinstance(scope, Scope) else check_scope(scope)
    wanted = policy(scope)
    if max_distance is not None:
        wanted = wanted.at_most(check_max_distance(max_distance))
    if ttl_s is not None:
        check_ttl("ttl_s", ttl_s)
    if max_age_s is not None:
        check_age(max_age_s)
    if widen:
        widen = check_widen(widen, config.widenable)
    known_tags = check_tags(tags) if tags else ()
    if len(text) * 4 > config.max_prompt_bytes and is_oversize(text, config):
        reads = writes = False
        wording = text
    else:
        wording = normalise(text)
    key = EntryKey(scope, wording)
    return Query(
        *(text, key, wanted, known_tags, ttl_s, max_age_s, reads, writes, crew, tuple(widen)),
        config.refuse_personal and not vetted,
    )


def is_oversize(prompt: str, config: CacheConfig) -> bool:
    """Is the prompt over ``max_prompt_bytes``? Then it bypasses the cache."""
    return len(prompt.encode()) > config.max_prompt_bytes


def check_answer(text: object, config: CacheConfig) -> str:
    """``text`` itself if it can be kept, else ``PromptError``."""
    answer = check_text("answer", text)
    if len(answer.encode()) > config.max_answer_bytes:
        raise PromptError(f"The answer is longer than max_answer_bytes={config.max_answer_bytes}.")
    return answer


def check_scope(scope: object) -> Scope:
    """``scope`` itself, if it is one."""
    if not isinstance(scope, Scope):
        raise ConfigError(f"scope must be a Scope, not {type(scope).__name__}.")
    return scope


def check_tags(tags: object) -> tuple[str, ...]:
    """The tags, each a non-blank str, in order and without repeats."""
    if isinstance(tags, str) or not isinstance(tags, Collection):
        raise ConfigError("tags must be a collection of str; wrap a single one: tags=('x',).")
    return tuple(dict.fromkeys(check_text("tag", tag) for tag in tags))
