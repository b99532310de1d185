"""The guard over roles: who does what to whom, from where to where."""

from __future__ import annotations

from collections.abc import Sequence

from semcache_async.text.guards.analysis import Analysis
from semcache_async.text.guards.difference import Difference
from semcache_async.text.guards.reading.lists import (
    COORDINATORS,
    SETS,
)
from semcache_async.text.guards.reading.unspaced import unspaced_roles
from semcache_async.text.guards.reading.words import Token

__all__ = ["Identity", "roles"]

_DIRECTED = SETS["directed"]


_ENGLISH = frozenset(
    [
        "the",
        "is",
        "are",
        "how",
        "what",
        "can",
        "do",
        "does",
        "i",
        "my",
        "from",
        "and",
        "of",
        "for",
        "to",
    ]
)


def _directed(tokens: Sequence[Token]) -> frozenset[str]:
    """The direction words of a prompt's language: in English, "a" is none."""
    if any(token.low in _ENGLISH for token in tokens):
        return _DIRECTED - {"a"}
    return _DIRECTED


def _bindings(tokens: tuple[Token, ...]) -> dict[tuple[str, str], str]:
    """What each content token is bound by: the direction word nearest before it."""
    found: dict[tuple[str, str], str] = {}
    pending = ""
    directed = _directed(tokens)
    for token in tokens:
        if token.kind == "function":
            if token.low in directed:
                pending = token.low
            continue
        if pending and token.kind not in {"negation", "must", "question"}:
            found.setdefault((token.kind, token.key), pending)
            pending = ""
    return found


def roles(d: Difference) -> bool:
    """Who does what to whom: the same words with two of them in each other's place."""
    if d.a.unspaced and d.b.unspaced and unspaced_roles(d):
        return True
    if len(d.left) > 2 or len(d.right) > 2 or d.common < 2:
        return False
    one, two = d.sequences()
    if one == two or len(one) != len(two):
        return False
    here = _bindings(d.a.tokens)
    there = _bindings(d.b.tokens)
    moved = [i for i, (x, y) in enumerate(zip(one, two, strict=True)) if x != y]
    changed = {one[i] for i in moved}
    turned = [x for x in changed if here.get(x) and there.get(x) and here[x] != there[x]]
    exchanged = {(here[x], there[x]) for x in turned}
    if any((after, before) in exchanged for before, after in exchanged):
        return True
    bound = [x for x in changed if x in here or x in there]
    if bound and all(here.get(x) == there.get(x) for x in bound):
        return False
    first, last = moved[0], moved[-1] + 1
    swap = _swap(one[first:last], two[first:last])
    if swap is None or _passive(d):
        return False
    if 2 < len(one) == len(swap[0]) + len(swap[1]):
        return False
    if _coordinated(d.a, *swap):
        return False
    return _same_frame(d, *swap)


_LONGEST_NAME = 3

Identity = tuple[str, str]


def _swap(one: list[Identity], two: list[Identity]) -> tuple[list[Identity], list[Identity]] | None:
    """The two runs that have changed places, where that is all that has changed."""
    size = len(one)
    for head in range(1, min(_LONGEST_NAME, size - 1) + 1):
        for tail in range(1, min(_LONGEST_NAME, size - head) + 1):
            middle = one[head : size - tail]
            if two == one[size - tail :] + middle + one[:head]:
                return one[:head], one[size - tail :]
    return None


_ARTICLES = SETS["articles"]


def _same_frame(d: Difference, one: list[Identity], two: list[Identity]) -> bool:
    """Whether the two prompts are the same words in the same order but for the runs named."""
    places = {identity[1] for identity in (*one, *two)}
    left = [t.low for t in d.a.tokens if t.key not in places and t.low not in _ARTICLES]
    right = [t.low for t in d.b.tokens if t.key not in places and t.low not in _ARTICLES]
    return left == right


_MUTUAL = SETS["mutual"]


def _coordinated(a: Analysis, one: list[Identity], two: list[Identity]) -> bool:
    """Whether two runs stand side by side ("X and Y", "X or Y", "difference between X and Y")."""
    begins, ends_at = one[-1], two[0]
    between = False
    directed = _directed(a.tokens)
    joined = any(token.key in _MUTUAL for token in a.tokens)
    for token in a.tokens:
        identity = (token.kind, token.key)
        if between:
            if identity == ends_at:
                return joined
            if token.low in COORDINATORS:
                joined = True
            elif token.low in directed or (token.kind != "function" and not joined):
                return False
        elif identity == begins:
            between = True
    return False


_PASSIVE = frozenset({"by", "von", "por", "par", "durch"})


def _passive(d: Difference) -> bool:
    """Whether one prompt says in the passive what the other says in the active."""
    return (not _PASSIVE.isdisjoint(d.a.words)) != (not _PASSIVE.isdisjoint(d.b.words))
