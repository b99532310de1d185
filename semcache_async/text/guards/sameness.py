"""Which different words say the same, and which the opposite."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from semcache_async.text.guards.reading.lexicon import lemma, lexicon
from semcache_async.text.guards.reading.lists import ANTONYMS, SETS
from semcache_async.text.guards.reading.words import Token, fold, stem

__all__ = ["PLAIN", "as_typed", "initials", "joint", "opposite", "same", "sloppy"]


def _pairs() -> frozenset[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for one, *others in ANTONYMS:
        for two in others:
            found |= {(one, two), (two, one)}
    return frozenset(found)


_OPPOSITES = _pairs()

_REVERSING = (
    "un", "in", "im", "ir", "il", "dis", "non", "de", "des", "dés", "mis", "ent", "anti", "not"
)  # fmt: skip

_PREFIXES = tuple(
    pair
    for one, two in (("ein", "aus"), ("an", "ab"), ("an", "aus"), ("auf", "zu"), ("hinzu", "weg"))
    for pair in ((one, two), (two, one))
)

_OPPOSITE_STEMS = frozenset((stem(one), stem(two)) for one, two in _OPPOSITES)

_ENDINGS = SETS["endings"]


@lru_cache(maxsize=1 << 14)
def opposite(one: str, two: str) -> bool:
    """Whether two words in lower case are opposites."""
    if (one, two) in _OPPOSITES:
        return True
    base, other = lemma(one), lemma(two)
    if (base, other) in _OPPOSITES:
        return True
    words = lexicon().words
    if base not in words and other not in words and (stem(one), stem(two)) in _OPPOSITE_STEMS:
        return True
    known = lexicon().antonyms
    if (min(base, other), max(base, other)) in known or (min(one, two), max(one, two)) in known:
        return True
    if len(base) > len(other):
        base, other = other, base
    for x, y in _PREFIXES:
        if one.startswith(x) and two.startswith(y) and len(one) > len(x) + 3:
            rest, end = one[len(x) :], two[len(y) :]
            if rest == end or _inflected(rest, end):
                return True
    if len(base) < 4 or not other.endswith(base):
        return False
    return other[: -len(base)] in _REVERSING


@lru_cache(maxsize=1 << 14)
def _near_miss(one: str, two: str) -> bool:
    """Whether one word is the other with one letter too many, too few, wrong or two swapped."""
    if (
        one == two
        or min(len(one), len(two)) < 4
        or one[0] != two[0]
        or abs(len(one) - len(two)) > 1
    ):
        return False
    if len(one) >= 7 and one[-1] == two[-1] and sorted(one) == sorted(two):
        return True
    start = 0
    while start < min(len(one), len(two)) and one[start] == two[start]:
        start += 1
    a, b = one[start:], two[start:]
    if len(a) == len(b):
        return a[1:] == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
    return a == b[1:] or a[1:] == b


def _inflected(one: str, two: str) -> bool:
    """Whether two words that no lexicon knows look like forms of one word."""
    shared = 0
    for x, y in zip(one, two, strict=False):
        if x != y:
            break
        shared += 1
    if shared < 4 or shared < 0.55 * max(len(one), len(two)):
        return False
    return (one[shared:] in _ENDINGS or not one[shared:]) and (
        two[shared:] in _ENDINGS or not two[shared:]
    )


def same(one: Token, two: Token) -> bool:
    """Whether two different tokens are known to say the same."""
    if one.kind == "number" or two.kind == "number":
        return False
    if one.meanings and two.meanings and not one.meanings.isdisjoint(two.meanings):
        return True
    if one.kind not in PLAIN or two.kind not in PLAIN:
        return False
    if one.key == two.key:
        return True
    low, other = one.low, two.low
    if one.kind == "name" or two.kind == "name":
        plain = low.isascii() and other.isascii()
        if not plain and _folded(low, other):
            return True
        if (
            plain
            and one.kind != two.kind
            and (_near_miss(low, other) or _near_miss(one.key, two.key))
        ):
            return (one if one.kind == "name" else two).raw.islower()
        if one.kind == two.kind == "name" and one.raw == low and two.raw == other:
            return _inflected(low, other)
    return False


def sloppy(text: str) -> bool:
    """Whether a text was typed in haste: no accents, no capitals."""
    return text.isascii() and text == text.lower()


def as_typed(one: Token, two: Token) -> bool:
    """Whether one word is the other without its accents."""
    if one.kind not in PLAIN or two.kind not in PLAIN or one.low.isascii() == two.low.isascii():
        return False
    return len(one.low) > 3 and fold(one.low) == fold(two.low)


_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})


def _folded(one: str, two: str) -> bool:
    """Whether one word is the other as typed without accents. A short word may be another one."""
    if one.translate(_UMLAUTS) == two.translate(_UMLAUTS):
        return True
    if not (one.isascii() or two.isascii()) or fold(one) != fold(two):
        return False
    return len(one) >= 8 or fold(one) in lexicon().words


PLAIN = frozenset({"word", "name", "format", "language"})

_BETWEEN_DIGITS = re.compile(r"(?<=\d)[._-](?=\d)|\A-(?=\d)")


def _spelling(token: Token) -> str:
    """A token as it is compared with others run together: signs between digits count."""
    if token.kind == "number":
        plain = token.raw.isdigit() and not token.meanings
        text = token.low if plain else token.key + "".join(token.meanings)
    elif token.kind == "identifier":
        text = token.key
    else:
        return token.low
    return _BETWEEN_DIGITS.sub("p", text)


def joint(tokens: Iterable[Token]) -> str:
    return "".join(c for token in tokens for c in _spelling(token) if c.isalnum() or c == "+")


def initials(one: list[Token], two: list[Token]) -> bool:
    """Whether one name is the initials of what the other prompt spells out."""
    if len(one) != 1 or not 2 <= len(two) <= 5:
        return False
    return one[0].low == "".join(token.low[0] for token in two)
