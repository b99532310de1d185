"""Differences between two texts that the embedding model could not see.

A tokenizer drops things before the model reads: case, accents, vowel signs, control and zero-width
characters, white space. Two questions that differ in those alone have one vector, so a distance
says nothing about them; what was dropped is compared here, piece by piece.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from semcache_async.text.prompt import small_first
from semcache_async.text.reading import Key, Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Reading", "erases"]


def erases(a: Reading, b: Reading, *, lenient: bool) -> bool:
    """Do the texts differ in something that the model could not see?

    Where both hold the same tokens in the same order, at the beginning and at the end, ink and
    gaps have to agree. Between, each unit that both hold has to have the same inks as often, or
    where one holds it more often, those of the other among them. What has no counterpart, the model
    saw: it is the distance's business. Compositions (NFC), outer white space, spaces that end a
    line, CR LF, and the capital that begins a sentence or stands in a title are no difference.

    ``lenient`` excuses five habits: a prompt typed in one case is no other than one with capitals;
    where two prompts in plain writing do not say the same words, the case of those with three
    letters or more does not count; one typed in small ASCII letters without a closing mark is no
    other than one with accents, if nothing else differs; white space in code that cannot matter
    does not count; nor, in plain writing, does the width of letters, digits and marks.
    """
    if a.text == b.text or not _apart(_side_of(a), _side_of(b)) or a.canonical == b.canonical:
        return False
    if not lenient:
        return True
    if _lacks_accents(a, b) or _lacks_accents(b, a):
        return False
    left, right = _side_of(a, a.loose_gaps), _side_of(b, b.loose_gaps)
    if a.one_case or b.one_case:
        left, right = left._replace(inks=a.folded_inks), right._replace(inks=b.folded_inks)
    elif a.plain and b.plain and a.words != b.words:
        left, right = left._replace(inks=a.level_inks), right._replace(inks=b.level_inks)
    left = left._replace(inks=a.narrowed(left.inks))
    right = right._replace(inks=b.narrowed(right.inks))
    return _apart(left, right)


def _lacks_accents(bare: Reading, other: Reading) -> bool:
    """Is the first the other without its accents?"""
    if not bare.bare or abs(len(bare.text) - len(other.text)) > len(other.text) // 4 + 8:
        return False
    spared = "" if bare.text.isascii() else "\xf1"
    return bare.skeleton(spared) == other.skeleton(spared)


class _Side(NamedTuple):
    """A reading as one comparison takes it."""

    keys: tuple[Key, ...]
    inks: tuple[str, ...]
    gaps: tuple[str, ...]
    free: frozenset[int]
    before: str

    def at(self, index: int) -> tuple[str, str]:
        """The unit's ink, and the gap before it where that is no usual one."""
        gap = self.gaps[index]
        return self.inks[index], gap if gap.strip("\n") not in ("", " ") else ""


def _side_of(reading: Reading, gaps: tuple[str, ...] | None = None) -> _Side:
    gaps = reading.gaps if gaps is None else gaps
    return _Side(reading.keys, reading.inks, gaps, reading.free, reading.before)


def _apart(a: _Side, b: _Side) -> bool:
    """Do the sides differ where their keys do not?"""
    if a.before != b.before:
        return True
    head = _common(a.keys, b.keys)
    rest = min(len(a.keys), len(b.keys)) - head
    tail = min(rest, _common(a.keys[::-1], b.keys[::-1])) if rest else 0
    ends = len(a.keys) - tail, len(b.keys) - tail
    return (
        _differ(a, b, 0, 0, head)
        or _differ(a, b, *ends, tail)
        or _regrouped(a.keys[head : ends[0]], b.keys[head : ends[1]])
        or _moved_differ(a, b, range(head, ends[0]), range(head, ends[1]))
    )


def _common(a: Sequence[Key], b: Sequence[Key]) -> int:
    """How many items are equal at the beginning."""
    count = 0
    for one, other in zip(a, b):  # noqa: B905
        if one != other:
            break
        count += 1
    return count


def _differ(a: _Side, b: _Side, start_a: int, start_b: int, count: int) -> bool:
    """Do ``count`` units from ``start_a`` and ``start_b`` on, with equal keys, differ in ink, or in
    a gap between them? The gap before the first one counts only if it is no usual one: what stands
    before it may have differed."""
    if not count:
        return False
    inks_a, inks_b = a.inks[start_a : start_a + count], b.inks[start_b : start_b + count]
    if inks_a != inks_b:
        for offset, (one, other) in enumerate(zip(inks_a, inks_b, strict=True)):
            if one != other:
                free = start_a + offset in a.free or start_b + offset in b.free
                if not free or small_first(one) != small_first(other):
                    return True
    if a.gaps[start_a + 1 : start_a + count] != b.gaps[start_b + 1 : start_b + count]:
        return True
    gap_a, gap_b = a.gaps[start_a], b.gaps[start_b]
    return gap_a != gap_b and "\n" in gap_a and "\n" in gap_b and a.at(start_a) != b.at(start_b)


def _regrouped(a: Sequence[Key], b: Sequence[Key]) -> bool:
    """Do both begin, or end, with the same tokens in other units? Then other characters stand for
    them: a ligature, a fraction or a unit of measure is one where another text spells it out."""
    for step in (1, -1):
        one, ends = _tokens(a[::step], step)
        other, other_ends = _tokens(b[::step], step)
        both = ends & other_ends
        if both and min(both) <= _common(one, other):
            return True
    return False


def _tokens(keys: Sequence[Key], step: int) -> tuple[list[int], set[int]]:
    """The tokens of units, and after how many of them a unit ends."""
    tokens: list[int] = []
    ends: set[int] = set()
    for key in keys:
        tokens += (key,) if isinstance(key, int) else key[::step]
        ends.add(len(tokens))
    return tokens, ends


def _moved_differ(a: _Side, b: _Side, units_a: range, units_b: range) -> bool:
    """Do units that both sides hold, in whatever order, have other inks?"""
    places: dict[Key, list[int]] = {}
    for index in units_a:
        places.setdefault(a.keys[index], []).append(index)
    shared: dict[Key, list[int]] = {}
    for index in units_b:
        if b.keys[index] in places:
            shared.setdefault(b.keys[index], []).append(index)
    return any(_surfaces_differ(a, b, places[key], indices) for key, indices in shared.items())


def _surfaces_differ(a: _Side, b: _Side, of_a: list[int], of_b: list[int]) -> bool:
    ours, theirs = Counter(map(a.at, of_a)), Counter(map(b.at, of_b))
    if ours <= theirs or theirs <= ours:
        return False
    if a.free.isdisjoint(of_a) and b.free.isdisjoint(of_b):
        return True
    ours = Counter((small_first(ink), gap) for ink, gap in map(a.at, of_a))
    theirs = Counter((small_first(ink), gap) for ink, gap in map(b.at, of_b))
    return not (ours <= theirs or theirs <= ours)
