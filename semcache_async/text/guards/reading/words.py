"""Words: what a single one is, and what it is known to mean."""

# ruff: noqa: RUF001  (letters of many scripts are the subject here)

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from semcache_async.text.guards.reading.lexicon import lemma, lexicon, meanings
from semcache_async.text.guards.reading.lists import (
    CURRENCIES,
    FUNCTION,
    KIND_WORDS,
    MONTHS,
    NUMBERS,
    ORDINALS,
    SETS,
    SYNONYMS,
    UNITS,
    UNITS_BY_CASE,
    UNSURE_DAYS,
    UNSURE_MONTHS,
    WEEKDAYS,
)

__all__ = ["Token", "fold", "same_hand_made", "stem", "word"]


class Token(NamedTuple):
    kind: str
    """What it is: ``function``, ``word`` (known English), ``name`` (any other word), ``number``,
    ``identifier``, ``code``, ``sign``, or a kind of lists.KINDS_WORDS and of dates and units."""
    key: str
    """Under which equal tokens meet, within their kind."""
    low: str
    """As written, in lower case."""
    raw: str
    """As written."""
    meanings: frozenset[str] = frozenset()
    """Tokens that share one of these mean the same."""


NONE: frozenset[str] = frozenset()


def _hand_made() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for index, group in enumerate(SYNONYMS):
        for each in group:
            found.setdefault(each, set()).add(f"#{index}")
    return {each: frozenset(ids) for each, ids in found.items()}


SAME = _hand_made()

_STEM_ENDINGS = SETS["stem-endings"]


def stem(word: str) -> str:
    """What is left of a word of another language without the ending that its form may have."""
    for size in (5, 4, 3, 2, 1):
        if len(word) >= size + 4 and word[-size:] in _STEM_ENDINGS:
            return word[:-size]
    return word


def _stems() -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for each, ids in SAME.items():
        found[stem(each)] = found.get(stem(each), NONE) | ids
    return found


_SAME_STEM = _stems()

_SURE_UNITS = frozenset(
    {"kg", "km", "cm", "mm", "ml", "mg", "lb", "oz", "gb", "tb", "kw", "hz", "px"}
)

_DECADES = {"twenties": "20", "thirties": "30", "sixties": "60", "seventies": "70",
            "eighties": "80", "nineties": "90", "fifties": "50", "forties": "40"}  # fmt: skip

_HANGUL_ENDINGS = re.compile(
    r"(?:에서는|에서|으로|에게|까지|부터|은|는|이|가|을|를|의|에|로|와|과|도|나요|하나요|인가요|습니까|합니까|입니까"
    r"|예요|이에요|세요|해요|하는|하면|하려면)\Z"
)

_HANGUL_SOFT = SETS["hangul-soft"]

_SPELLINGS = str.maketrans(
    {"ँ": "ं", "ى": "ي", "أ": "ا", "إ": "ا", "آ": "ا", "ة": "ه", "ـ": None, "ё": "е"}
)
"""Letters that are written for one another in everyday typing."""


def same_hand_made(one: str) -> frozenset[str]:
    """The groups of synonyms that a word in lower case belongs to."""
    return SAME.get(one, NONE)


def fold(text: str) -> str:
    """Without accents, and with the spellings that stand for them ("ue" for "ü") undone."""
    if text.isascii():
        return text
    text = text.replace("ß", "ss").replace("ı", "i").replace("ł", "l").replace("ø", "o")
    text = text.replace("æ", "ae").replace("œ", "oe").replace("đ", "d")
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


@lru_cache(maxsize=1 << 16)
def word(raw: str) -> Token:
    """What a single word of letters is."""
    low = raw.lower()
    if len(raw) == 1 and raw != low and raw != "I":
        return Token("name", low, low, raw)
    kind = KIND_WORDS.get(low)
    if kind is not None:
        return Token(kind[0], kind[1], low, raw)
    if low in NUMBERS:
        return Token("number", str(NUMBERS[low]), low, raw)
    if low in WEEKDAYS and (raw != low or low not in UNSURE_DAYS):
        return Token("date", WEEKDAYS[low], low, raw)
    if low in MONTHS and (raw != low or low not in UNSURE_MONTHS):
        return Token("month", MONTHS[low], low, raw)
    if low in _DECADES:
        return Token("date", _DECADES[low] + "s", low, raw)
    if len(raw) <= 3 and raw in UNITS_BY_CASE and raw != low:
        return Token("caseunit", UNITS_BY_CASE[raw], low, raw)
    if low in FUNCTION and not (raw.isupper() and 2 <= len(raw) <= 3 and low in {"us", "it"}):
        return Token("function", low, low, raw)
    if low in ORDINALS:
        return Token("ordinal", ORDINALS[low], low, raw)
    if low in CURRENCIES:
        return Token("currency", CURRENCIES[low], low, raw)
    if low in UNITS and (len(low) > 2 or low in _SURE_UNITS):
        return Token("unit", UNITS[low], low, raw)
    if "\uac00" <= raw[0] <= "\ud7a3":
        if low in _HANGUL_SOFT:
            return Token("function", low, low, raw)
        root = _HANGUL_ENDINGS.sub("", low) or low
        return Token("function" if root in _HANGUL_SOFT else "name", root, low, raw)
    if low.isascii():
        base = lemma(low)
        senses = meanings(low) | meanings(base) | same_hand_made(low) | same_hand_made(base)
        if base in FUNCTION and base != low and len(base) > 3:
            return Token("function", base, low, raw)
        if base in lexicon().words:
            return Token("word", base, low, raw, senses)
        return Token("name", base, low, raw, senses | _SAME_STEM.get(stem(low), NONE))
    low = low.translate(_SPELLINGS)
    return Token(
        "name",
        low,
        low,
        raw,
        same_hand_made(low) | same_hand_made(fold(low)) | _SAME_STEM.get(stem(low), NONE),
    )
