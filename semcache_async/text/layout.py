"""White space in code: what of it cannot matter."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["loose_gaps"]

_PAIRS = {'"': '"', "`": "`", "\u201c": "\u201d", "\u201e": "\u201c", "\u00ab": "\u00bb", "'": "'"}
_OPENING, _CLOSING = "([{", ")]}"
_SIGNS = re.compile(r"\w+|\W")
_EDGES = "()[]{},\"'`"
_ABOUT_SPACE = re.compile(r"\b(?:make|tab|indent|space|whitespace)", re.IGNORECASE)


def loose_gaps(text: str, inks: Sequence[str], gaps: Sequence[str]) -> tuple[str, ...]:
    """``gaps`` (each the white space before the unit of the same index) without what cannot matter.

    Outside quotes, an indent is only its rank among those of the text, where all are of spaces or
    all of tabs and the text speaks of neither; blank lines do not count; nor does the break after
    the first line where that ends with a closing mark or a colon and the next is not indented. In
    the brackets of a call, or of a JSON object or list, spaces count between two words and between
    two signs only.
    """
    signs: list[str] = []
    before: list[str] = []
    places: list[int] = []
    for ink, gap in zip(inks, gaps, strict=True):
        parts = _SIGNS.findall(ink) or [ink]
        places.append(len(signs))
        signs += parts
        before += [gap] + [""] * (len(parts) - 1)
    loose = _loose(text, signs, before)
    return tuple(loose[place] for place in places)


def _loose(text: str, inks: Sequence[str], gaps: Sequence[str]) -> list[str]:
    """The same where each ink is a word or a sign."""
    about_space = bool(_ABOUT_SPACE.search(text))
    ranks = {} if about_space else _ranks(gaps)
    loose: list[str] = []
    quote = ""
    depth = 0
    lines = 0
    for i, (ink, gap) in enumerate(zip(inks, gaps, strict=True)):
        before = inks[i - 1] if i else ""
        if quote:
            pass
        elif "\n" in gap:
            indent = gap[gap.rindex("\n") + 1 :]
            if not about_space:
                gap = "\n" + ranks.get(indent, indent)
            if not lines and gap == "\n" and before[-1:] in (".", "?", "!", ":"):
                gap = " "
            lines += 1
        elif depth and before and _touching(before, ink):
            gap = ""
        loose.append(gap)
        if quote:
            quote = "" if ink == quote else quote
        elif ink in _PAIRS and not _is_apostrophe(ink, before, gap) and not _is_fence(inks, i):
            quote = _PAIRS[ink]
        elif ink in _CLOSING:
            depth = max(0, depth - 1)
        elif ink in _OPENING and (depth or _opens(inks, gaps, i)):
            depth += 1
    return loose


def _ranks(gaps: Sequence[str]) -> dict[str, str]:
    """Each indent's rank among all, or nothing where they are of spaces and of tabs."""
    indents = {gap[gap.rindex("\n") + 1 :] for gap in gaps if "\n" in gap} | {""}
    if len(set("".join(indents))) > 1:
        return {}
    return {indent: "\t" * rank for rank, indent in enumerate(sorted(indents, key=len))}


def _touching(before: str, ink: str) -> bool:
    """Has white space between the two no meaning, in brackets? It has between two words, between
    two signs (``+ +``) and beside a full stop (``1. 5``)."""
    one, other = before[-1:], ink[:1]
    if one in ("", ".") or other in ("", "."):
        return False
    if one in _EDGES or other in _EDGES:
        return True
    return _is_word(one) != _is_word(other)


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _is_apostrophe(ink: str, before: str, gap: str) -> bool:
    return ink == "'" and not gap and before[-1:].isalnum()


def _is_fence(inks: Sequence[str], i: int) -> bool:
    return inks[i] == "`" and (inks[i + 1 : i + 2] == ("`",) or inks[max(0, i - 1) : i] == ("`",))


def _opens(inks: Sequence[str], gaps: Sequence[str], i: int) -> bool:
    """A round bracket right after a word, or a list or object of JSON."""
    before, after = inks[i - 1] if i else "", inks[i + 1] if i + 1 < len(inks) else ""
    if inks[i] == "(":
        return bool(before) and not gaps[i] and _is_word(before[-1])
    if inks[i] == "{":
        return after == '"'
    return bool(after) and (after in "\"'{[" or after.isdigit()) and not before[-1:].isalnum()
