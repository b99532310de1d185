"""Guards over what single words mean: opposites, negation, more and less, all and some, when and
where, was and will be, and the form of the answer."""

from __future__ import annotations

from semcache_async.text.guards.analysis import Analysis
from semcache_async.text.guards.difference import Difference
from semcache_async.text.guards.form import reworded
from semcache_async.text.guards.reading.lists import (
    SETS,
    SIDES,
)
from semcache_async.text.guards.reading.unspaced import unspaced_negation, unspaced_opposites
from semcache_async.text.guards.sameness import opposite

__all__ = [
    "antonyms",
    "comparison",
    "conditions",
    "answer_format",
    "negation",
    "quantifiers",
    "question",
]


def negation(d: Difference) -> bool:
    """A "not", "no", "without" or "unless" too many or too few."""
    left, right = d.a.negations, d.b.negations
    if d.flipped:
        return False
    if d.a.unspaced and d.b.unspaced and not (left or right):
        return unspaced_negation(d)
    if (left - right) % 2 == 0:
        soft = d.of("negation")
        return left == right == 0 and bool(soft[0]) != bool(soft[1]) and d.near(2)
    if not d.near(4) and not d.alike(0.65):
        return False
    if len(d.left) > 4 or len(d.right) > 4 or not d.common:
        return False
    fewer = d.left if left < right else d.right
    more = d.right if left < right else d.left
    if any(token.kind == "negation" for token in fewer):
        return False
    if any(token.kind == "quantifier" and token.key in {"none", "only"} for token in fewer):
        return False
    if any(opposite(one.low, two.low) for one in fewer for two in more):
        return False
    return not (_complaint(d.a, d.b) or _complaint(d.b, d.a))


def _complaint(one: Analysis, two: Analysis) -> bool:
    """Whether one prompt says that something cannot be done and the other asks how to do it."""
    if one.question or two.question not in {"how", "where"}:
        return False
    words = one.words
    return any(
        word == "not" and index and words[index - 1] in {"can", "could"}
        for index, word in enumerate(words)
    )


def antonyms(d: Difference) -> bool:
    """A word in the place of its opposite."""
    if len(d.left) > 4 or len(d.right) > 4:
        return False
    flips = 0
    for one in d.left:
        for two in d.right:
            if opposite(one.low, two.low) or opposite(one.key, two.key):
                flips += 1
    if flips:
        return (flips + d.a.negations + d.b.negations) % 2 == 1 and not _turned(d)
    if unspaced_opposites(d):
        return True
    if d.left or d.right:
        return False
    return _particles(d)


_SIDED = frozenset(pair for one, two in SIDES for pair in ((one, two), (two, one)))
"""Particles and their opposites."""


def _turned(d: Difference) -> bool:
    """Whether opposite words stand between arguments that have changed places ("longer than the
    red one", "shorter than the blue one")."""
    one, two = d.sequences()
    return one != two and sorted(one) == sorted(two) and len(d.left) == 1 and len(d.right) == 1


def _particles(d: Difference) -> bool:
    """Whether otherwise equal words differ in one particle and its opposite ("on", "off")."""
    one, two = list(d.a.words), list(d.b.words)
    if len(one) != len(two):
        return False
    pairs = [(x, y) for x, y in zip(one, two, strict=True) if x != y]
    return len(pairs) <= 2 and any(pair in _SIDED for pair in pairs)


def comparison(d: Difference) -> bool:
    """More or less, at least or at most."""
    if "compare" not in d.kinds:
        return False
    left, right = d.of("compare")
    if not (left and right):
        return False
    up = frozenset({"more", "max", "at-least"})
    sides = [{("up" if t.key in up else "down") for t in side} for side in (left, right)]
    bound = [{t.key for t in side} & {"at-least", "at-most", "exactly"} for side in (left, right)]
    if bound[0] and bound[1]:
        return bound[0] != bound[1]
    return sides[0].isdisjoint(sides[1]) and not _turned(d)


def quantifiers(d: Difference) -> bool:
    """All, some, none, only; first, last, next; one of several."""
    if not d.kinds & {"quantifier", "ordinal"}:
        return False
    left, right = d.of("ordinal")
    if left and right and len(d.left) <= 4 and len(d.right) <= 4:
        return True
    left, right = d.of("quantifier")
    if not d.near(4) and not d.alike(0.7):
        return False
    if len(d.left) > 4 or len(d.right) > 4 or not d.common:
        return False
    if left and right:
        return {t.key for t in left}.isdisjoint({t.key for t in right})
    if left or right:
        keys = {t.key for t in left or right}
        others = d.right if left else d.left
        if "all" in keys and any(t.kind in {"number", "compare", "ordinal"} for t in others):
            return True
        if "only" in keys and "just" in (d.b if left else d.a).words:
            return False
        if "only" in keys or "none" in keys:
            return d.small and d.a.negations == d.b.negations
    return False


def conditions(d: Difference) -> bool:
    """What was and what will be; if, unless, once, already."""
    if not d.small or not (d.near(4) or d.alike(0.65)):
        return False
    if "condition" in d.kinds:
        left, right = d.of("condition")
        if left and right:
            return True
        keys = {token.key for token in left or right}
        if keys & {"even-if"}:
            return True
    if d.a.tense * d.b.tense < 0:
        return True
    if d.a.tense != d.b.tense and d.a.question == d.b.question == "whether" and d.near(1):
        return not d.left and not d.right
    if d.a.must != d.b.must and d.a.question == d.b.question == "whether":
        return not (d.left or d.right)
    return False


_PLACED = SETS["placed-questions"]
"""Questions after one thing, whatever else they say."""
_TIMELY = SETS["timely"]


def question(d: Difference) -> bool:
    """Another question about the same thing: when, where, why, who, how much, how long."""
    one, two = d.a.question, d.b.question
    if one == two or d.named or one in d.b.questions or two in d.a.questions:
        return False
    left, right = d.content()
    if len(left) > 1 or len(right) > 1 or not d.common:
        return False
    both = one in _PLACED and two in _PLACED
    if both and not (left or right):
        return {one, two} not in _KINDRED
    if not d.near(4) and reworded(d):
        return False
    if both:
        return True
    placed, other = (one, two) if one in _PLACED else (two, one)
    if placed not in _PLACED or not other:
        return False
    if placed == "when" and other == "what" and not _TIMELY.isdisjoint(d.a.words):
        return False
    if placed == "where" and other in {"how", "whether"}:
        return False
    return not (left or right) or d.near(2)


_KINDRED = ({"where", "who"}, {"long", "count"}, {"much", "count"})
"""Questions that may ask for the same in other words."""


def answer_format(d: Difference) -> bool:
    """Another language, form, tone, length or reader of the answer."""
    if "language" in d.kinds:
        left, right = d.of("language")
        if left and right and (d.small or len(left) == len(right) == 1):
            return True
    if "format" in d.kinds:
        left, right = d.of("format")
        if left and right and (len(d.left) <= 6 and len(d.right) <= 6):
            return True
    return False
