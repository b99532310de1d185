"""How long an answer lives: by tier, by what it is about, with a stale end and a cap."""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from semcache_async.config import CacheConfig, TTLRule
from semcache_async.types import Scope

__all__ = ["Lifetimes", "lifetimes"]


_WORD = re.compile(r"\w+")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
"""Thai, Lao, Burmese, Khmer, Kana and Han."""


class Lifetimes(NamedTuple):
    """Seconds from when an answer is stored, each with ``stale_s`` at its end."""

    exact_s: float
    semantic_s: float
    stale_s: float


def lifetimes(
    config: CacheConfig,
    prompt: str,
    scope: Scope,
    tags: Sequence[str],
    ttl_s: float | None,
    *,
    renewable: bool = True,
) -> Lifetimes:
    """Those of an answer to ``prompt`` that is stored now; ``ttl_s``: what its caller asks for. The
    jitter shortens both tiers alike; what is not ``renewable`` is never stale."""
    exact_s, semantic_s, stale_s = config.exact_ttl_s, config.semantic_ttl_s, config.stale_ttl_s
    meant = [rule for rule in config.ttl_rules if _means(rule, prompt, scope, tags)]
    if meant:
        exact_s = semantic_s = min(rule.ttl_s for rule in meant)
        given = [rule.stale_ttl_s for rule in meant if rule.stale_ttl_s is not None]
        stale_s = min(given, default=stale_s)
    stale_s *= renewable
    if ttl_s is not None:
        exact_s = semantic_s = min(ttl_s, exact_s) if meant else ttl_s
    fraction = 1.0 - config.ttl_jitter * random.random()  # noqa: S311 - spreads expiry
    exact_s, semantic_s = exact_s * fraction, semantic_s * fraction
    cap_s = config.max_ttl_s
    if cap_s is None:
        return Lifetimes(exact_s + stale_s, semantic_s + stale_s, stale_s)
    return Lifetimes(min(cap_s, exact_s + stale_s), min(cap_s, semantic_s + stale_s), stale_s)


def _means(rule: TTLRule, prompt: str, scope: Scope, tags: Collection[str]) -> bool:
    named = ((rule.models, (scope.model,)), (rule.namespaces, (scope.namespace,)))
    for patterns, values in (*named, (rule.tags, tags)):
        if patterns and not _meets(patterns, values):
            return False
    return not rule.words or _says(prompt, rule.words)


def _says(prompt: str, phrases: Sequence[str]) -> bool:
    spaced, whole = _spaced(prompt), prompt.casefold()
    return any(
        one.casefold() in whole if _UNSPACED.search(one) else _spaced(one) in spaced
        for one in phrases
    )


def _spaced(text: str) -> str:
    """Its words with a space before, between and after them."""
    return f" {' '.join(_WORD.findall(text.casefold()))} "


def _meets(patterns: Sequence[str], values: Collection[str]) -> bool:
    return any(fnmatchcase(value, pattern) for pattern in patterns for value in values)
