"""A text as the embedding model read it."""

from __future__ import annotations

import re
import unicodedata
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from semcache_async.text.layout import loose_gaps
from semcache_async.text.prompt import BEFORE_I, compose, normalise

if TYPE_CHECKING:
    from collections.abc import Iterable

    from semcache_async.types import Piece

__all__ = ["Key", "Reading"]

_LINE_END = re.compile(r"(?<![^\S\n])[^\S\n]+(?=\n)")
_QUOTING = '"`\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a\u300c\u300d\u300e\u300f'
# What plain writing does not hold: quotes, the signs of code, an indented line.
_NOT_PLAIN = re.compile(
    rf"[{_QUOTING}\\{{}}\[\]<>=+*|^#@~_$&]|(?<!\w)['/]|['/](?!\w)|(?<!\w)[-.]\w|(?<!\d)%|\n\s"
)
_BLANKS = " \u00a0\u2009\u202f\u3000"
# Full-width letters, digits and marks, and half-width katakana.
_WIDTHS = re.compile(
    "[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff65-\uff9f\uff01\uff0c\uff1a\uff1b\uff1f]+"
)
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
    one unit; so are tokens for white space and what follows them. ``pieces`` are ``(id, start,
    end)`` in order, without special tokens.
    """

    def __init__(self, text: str, pieces: Iterable[Piece]) -> None:
        keys, starts = _units(text, pieces)
        self.text = text
        self.keys: tuple[Key, ...] = tuple(keys)
        self.plain = not _NOT_PLAIN.search(text)
        self._composed = compose(text)
        composed = self._composed == text
        self.before = compose(text[: starts[0]] if starts else text).lstrip()
        """What was dropped before the first unit."""
        inks, gaps, gap = [], [], ""
        for start, end in pairwise([*starts, len(text)]):
            span = text[start:end]
            ink = span.rstrip()
            inks.append(ink if composed else compose(ink))
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
        """The text as the exact tier takes it, without spaces that end a line, and CR before LF."""
        text = normalise(self.text)
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        return _LINE_END.sub("", text) if "\n" in text else text

    @cached_property
    def folded_inks(self) -> tuple[str, ...]:
        return tuple(map(str.lower, self.inks))

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
                    inks[start:end] = map(str.lower, inks[start:end])
                elif letters == "i" and end < len(inks):
                    inks[start] = "I"
                start, counted = end, letters[-1:].isdigit()
        return tuple(inks)

    def narrowed(self, inks: tuple[str, ...]) -> tuple[str, ...]:
        """Its inks, where it is plain, with letters, digits and marks in their usual width."""
        if not self.plain or not _WIDTHS.search(self.text):
            return inks
        return tuple(_WIDTHS.sub(_usual_width, ink) for ink in inks)

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
            for char in self._composed.casefold()
            if char not in _SENTENCE_MARKS
        ]
        return " ".join("".join(letters).translate(_NO_DECOMPOSITION).split())


def _units(text: str, pieces: Iterable[Piece]) -> tuple[list[Key], list[int]]:
    """The keys of the units and where each begins."""
    keys: list[Any] = []
    starts: list[int] = []
    groups: dict[int, list[int]] = {}
    begun = last_end = 0
    for number, start, end in pieces:
        start = max(start, begun)
        while start < len(text) and text[start].isspace():
            start += 1
        if keys and (
            start < last_end or start == begun or (start < len(text) and _continues(text[start]))
        ):
            last = len(keys) - 1
            groups.setdefault(last, [keys[last]]).append(number)
        else:
            keys.append(number)
            starts.append(start)
            begun = start
        last_end = max(last_end, end)
    for index, numbers in groups.items():
        keys[index] = tuple(numbers)
    return keys, starts


def _continues(char: str) -> bool:
    """A mark, or a vowel or final consonant of decomposed Hangul."""
    return char > "\u02ff" and (
        "\u1160" <= char <= "\u11ff" or unicodedata.category(char)[0] == "M"
    )


def _usual_width(found: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", found[0])


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
        elif (
            ink in _MARKS
            and i
            and inks[i - 1][-1:].isalpha()
            and (i == last or gaps[i + 1] or inks[i + 1] in _CLOSES_SENTENCE)
        ):
            gaps[i] = ""
        if gaps[i] == "" and i > 1 and inks[i - 1] in _MARKS:
            if ink[:1].isalpha() and inks[i - 2][-1:].isalpha():
                gaps[i] = " "
        elif gaps[i] == " " and i and (_is_han(ink[:1]) or _is_han(inks[i - 1][-1:])):
            gaps[i] = ""


def _is_han(char: str) -> bool:
    return "\u3400" <= char <= "\u9fff"
