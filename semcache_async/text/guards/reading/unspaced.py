"""What differs in scripts without spaces between words, sign by sign."""

from __future__ import annotations

from semcache_async.text.guards.difference import Difference, ends
from semcache_async.text.guards.reading.lists import (
    UNSPACED_ANTONYMS,
    UNSPACED_NEGATION,
)

__all__ = [
    "unspaced_doubt",
    "unspaced_negation",
    "unspaced_numbers",
    "unspaced_opposites",
    "unspaced_roles",
]


def _middles(d: Difference) -> tuple[str, str]:
    """Of text in scripts without spaces, what lies between the common beginning and end."""
    one, two = d.a.unspaced, d.b.unspaced
    if one == two:
        return "", ""
    start, end = ends(one, two)
    return one[start : len(one) - end], two[start : len(two) - end]


_HAN_DIGITS = frozenset("一二三四五六七八九十百千万億亿两零〇")


def unspaced_numbers(d: Difference) -> bool:
    if not d.a.unspaced or not d.b.unspaced:
        return False
    left, right = _middles(d)
    one = [c for c in left if c in _HAN_DIGITS]
    two = [c for c in right if c in _HAN_DIGITS]
    return bool(one and two and one != two and len(left) <= 4 and len(right) <= 4)


def unspaced_negation(d: Difference) -> bool:
    left, right = _middles(d)
    if len(left) > 6 or len(right) > 6:
        return False
    one = sum(left.count(sign) for sign in UNSPACED_NEGATION)
    two = sum(right.count(sign) for sign in UNSPACED_NEGATION)
    return (one > 0) != (two > 0)


def unspaced_roles(d: Difference) -> bool:
    left, right = _middles(d)
    return (
        left != right
        and 2 <= len(left) == len(right)
        and sorted(left) == sorted(right)
        and any(sign in left for sign in "从到比对给把被から")
    )


def unspaced_opposites(d: Difference) -> bool:
    """Whether a sign stands in the place of its opposite."""
    if not (d.a.unspaced and d.b.unspaced):
        return False
    left, right = _middles(d)
    if not (left and right) or len(left) > 4 or len(right) > 4:
        return False
    if {left, right} == {"上", "下"}:
        return True
    return any(
        (one in left and two in right) or (two in left and one in right)
        for one, two in UNSPACED_ANTONYMS
        if one not in two
    )


def unspaced_doubt(d: Difference) -> bool:
    """Whether few signs differ in otherwise equal text, or none is shared, or so many come to one
    side that they say something more: what a model of spaced scripts says about such text is no
    evidence."""
    left, right = _middles(d)
    if not (left or right):
        return False
    size = max(len(left), len(right))
    longer = max(len(d.a.unspaced), len(d.b.unspaced))
    few = 8 if "\u0e00" <= (left or right)[0] <= "\u17ff" else 4
    if not (left and right) and size > 2 * few:
        return True
    if size < longer:
        return size <= few
    if size <= 2:
        return True
    return bool(left and right) and set(left).isdisjoint(right)
