"""Differences between two texts that the embedding model could not see.

A tokenizer drops things before the model reads: case, accents, vowel signs, control and zero-width
characters, white space. Two questions that differ in those alone have one vector, so a distance
says nothing about them; what was dropped is compared here, piece by piece.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from semcache_async.text.layout import loose_gaps
from semcache_async.text.prompt import BEFORE_I, compose, small_first

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from semcache_async.types import Piece

__all__ = ["Reading", "erases"]

_LINE_END = re.compile(r"(?<![^\S\n])[^\S\n]+(?=\n)")
_QUOTING = '"`\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a\u300c\u300d\u300e\u300f'
# What plain writing does not hold: quotes, the signs of code, an indented line.
_NOT_PLAIN = re.compile(
    rf"[{_QUOTING}\\{{}}\[\]<>=+*|^#@~_$&]|(?<!\w)['/]|['/](?!\w)|(?<!\w)[-.]\w|(?<!\d)%|\n\s"
)
_BLANKS = " \u00a0\u2009\u202f\u3000"
_WITHIN_WORDS = dict.fromkeys(map(ord, "-/'\u2019"))
_CONTRACTED = re.compile("(?<=\\w)['\u2019].*")
_LONG = 3
"""Letters of a word from which on its case seldom tells it from another."""
_MARKS = (",", ";", ":", "?")
_CLOSES_SENTENCE = (".", "?", "!", "\u2026", "\u3002", "\uff1f", "\uff01")
_SENTENCE_MARKS = "?!.,;:\u2026\u00bf\u00a1"
_NO_DECOMPOSITION = str.maketrans(
    {"\u0111": "d", "\u0142": "l", "\u0131": "i", "\xf8": "o", "\xdf": "ss", "\xe6": "ae"}
)
Key = int | tuple[int, ...]


class Reading:
    """A text as the model read it: units of one or more tokens, each with the characters that it
    stands for (its ``ink``) and the white space before it (its ``gap``).

    A unit's ink runs to where the next one begins, so that it holds what the tokenizer dropped
    there. Tokens that share a character, and those that begin with a mark or a Hangul vowel, are
    one unit. ``pieces`` are ``(id, start, end)`` in order of ``start``, without special tokens.
    """

    def __init__(self, text: str, pieces: Iterable[Piece]) -> None:
        keys, starts = _units(text, pieces)
        self.text = text
        self.keys: tuple[Key, ...] = tuple(keys)
        self.plain = not _NOT_PLAIN.search(text)
        self.before = compose(text[: starts[0]] if starts else text).strip()
        """What was dropped before the first unit."""
        inks, gaps, gap = [], [], ""
        for start, end in pairwise([*starts, len(text)]):
            span = text[start:end]
            ink = span.rstrip()
            inks.append(ink if ink.isascii() else compose(ink))
            gaps.append(gap)
            gap = span[len(ink) :]
            if gap not in ("", " "):
                gap = _written_gap(gap, self.plain)
        if self.plain:
            _settle(inks, gaps)
        self.inks: tuple[str, ...] = tuple(inks)
        self.gaps: tuple[str, ...] = tuple(gaps)

    @cached_property
    def canonical(self) -> str:
        """The text in NFC, without outer space, spaces that end a line, and CR before LF."""
        text = compose(self.text).strip()
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        return _LINE_END.sub("", text) if "\n" in text else text

    @cached_property
    def folded_inks(self) -> tuple[str, ...]:
        return tuple(map(str.casefold, self.inks))

    @cached_property
    def level_inks(self) -> tuple[str, ...]:
        """The inks without case, except those of short words, of those that are not letters
        alone, and of those after a number (units)."""
        inks = list(self.inks)
        start, counted = 0, False
        for end in range(1, len(inks) + 1):
            if end == len(inks) or self.gaps[end]:
                word = "".join(self.inks[start:end]).rstrip(".,;:?!)").lstrip("(")
                letters = _CONTRACTED.sub("", word).translate(_WITHIN_WORDS)
                if len(letters) >= _LONG and letters.isalpha() and not counted:
                    inks[start:end] = map(str.casefold, inks[start:end])
                elif letters == "i" and end < len(inks):
                    inks[start] = "I"
                start, counted = end, letters[-1:].isdigit()
        return tuple(inks)

    @cached_property
    def words(self) -> list[Key]:
        """Its units but the signs."""
        pairs = zip(self.keys, self.inks, strict=True)
        return [key for key, ink in pairs if any(map(str.isalnum, ink))]

    @cached_property
    def loose_gaps(self) -> tuple[str, ...]:
        """The gaps without what cannot matter in code."""
        if self.plain and "(" not in self.text and "\n" not in self.text:
            return self.gaps
        return loose_gaps(self.text, self.inks, self.gaps)

    @cached_property
    def free(self) -> frozenset[int]:
        """Units whose capital says nothing: the first of a prompt of three words or more, and of a
        sentence in it; all, where every long word has one."""
        inks, gaps = self.inks, self.gaps
        spaced = [i for i, gap in enumerate(gaps) if gap]
        if len(spaced) < 2:
            return frozenset()
        if self._titled:
            return frozenset(range(len(inks)))
        first = {0} if "".join(inks[: spaced[0]]).translate(_WITHIN_WORDS).isalpha() else set()
        if inks[0] in ("\u00bf", "\u00a1"):
            first.add(1)
        ends = _CLOSES_SENTENCE
        return frozenset(
            first.union(
                i
                for i in spaced
                if (inks[i - 1].endswith(ends) or (self.plain and "\n" in gaps[i]))
            )
        )

    @cached_property
    def _titled(self) -> bool:
        words = [word for word in self.text.split() if len(word) > 3 and word[0].isalpha()]
        return (
            self.plain
            and len(words) > 2
            and all(word[0].isupper() for word in words)
            and not self.text.isupper()
        )

    @cached_property
    def one_case(self) -> bool:
        """Typed plainly: three words or more, all small or all capital, no digits, colons, quotes
        or code."""
        text = self.text
        return (
            (text.islower() or text.isupper())
            and self.plain
            and len(text.split(None, 2)) > 2
            and not any(char.isdigit() or char == ":" for char in text)
        )

    @cached_property
    def bare(self) -> bool:
        """Typed plainly in small letters without accents (but n with a tilde has a key of its own),
        and without a closing mark."""
        text = self.text.replace("\xf1", "n")
        return text.isascii() and text.islower() and self.one_case and text.rstrip()[-1:].isalpha()

    def skeleton(self, spared: str = "") -> str:
        """What it says, without case, the accents of letters but those of ``spared``, marks of
        sentences, and more than one space."""
        letters = [
            char if char in spared or char.isascii() else unicodedata.normalize("NFD", char)[0]
            for char in compose(self.text).casefold()
            if char not in _SENTENCE_MARKS
        ]
        return " ".join("".join(letters).translate(_NO_DECOMPOSITION).split())


def erases(a: Reading, b: Reading, *, lenient: bool) -> bool:
    """Do the texts differ in something that the model could not see?

    Where both hold the same tokens in the same order, at the beginning and at the end, ink and
    gaps have to agree. Between, each unit that both hold has to have the same inks as often, or
    where one holds it more often, those of the other among them. What has no counterpart, the model
    saw: it is the distance's business. Compositions (NFC), outer white space, spaces that end a
    line, CR LF, and the capital that begins a sentence or stands in a title are no difference.

    ``lenient`` excuses four habits: a prompt typed in one case is no other than one with capitals;
    where two prompts in plain writing do not say the same words, the case of those with three
    letters or more does not count; one typed in small ASCII letters without a closing mark is no
    other than one with accents, if nothing else differs; and white space in code that cannot matter
    does not count.
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


def _units(text: str, pieces: Iterable[Piece]) -> tuple[list[Key], list[int]]:
    """The keys of the units and where each begins."""
    keys: list[Key] = []
    starts: list[int] = []
    last_end = 0
    for number, start, end in pieces:
        while start < end and text[start].isspace():
            start += 1
        joined = start < last_end or (start < len(text) and _continues(text[start]))
        if joined and keys:
            before = keys[-1]
            keys[-1] = (before, number) if isinstance(before, int) else (*before, number)
        else:
            keys.append(number)
            starts.append(start)
        last_end = max(end, last_end)
    return keys, starts


def _continues(char: str) -> bool:
    """A mark, or a vowel or final consonant of decomposed Hangul."""
    return char > "\u02ff" and (
        "\u1160" <= char <= "\u11ff" or unicodedata.category(char)[0] == "M"
    )


def _written_gap(gap: str, plain: bool) -> str:
    """White space as it counts: in plain writing, a run of blanks is one space."""
    if "\n" in gap or "\r" in gap:
        return _LINE_END.sub("", gap.replace("\r\n", "\n"))
    return " " if plain and not gap.strip(_BLANKS) else gap


def _settle(inks: list[str], gaps: list[str]) -> None:
    """Plain writing as it counts: the pronoun I is a capital; spaces beside marks do not count
    between words, nor beside Han characters."""
    last = len(inks) - 1
    for i, ink in enumerate(inks):
        if ink == "i":
            if 0 < i < last and inks[i - 1].lower() in BEFORE_I and gaps[i + 1] != "-":
                inks[i] = "I"
        elif ink in _MARKS:
            if not gaps[i]:
                pass
            elif i and inks[i - 1][-1:].isalpha() and (i == last or gaps[i + 1]):
                gaps[i] = ""
        if gaps[i] == "" and i > 1 and inks[i - 1] in _MARKS:
            if ink[:1].isalpha() and inks[i - 2][-1:].isalpha():
                gaps[i] = " "
        elif gaps[i] == " " and i and (_is_han(ink[:1]) or _is_han(inks[i - 1][-1:])):
            gaps[i] = ""


def _is_han(char: str) -> bool:
    return "\u3400" <= char <= "\u9fff"
