"""Guards over the form of a text: code, marks, names, and frames with a payload."""

from __future__ import annotations

from collections.abc import Sequence

from semcache_async.text.guards.analysis import Analysis
from semcache_async.text.guards.difference import Difference, ends
from semcache_async.text.guards.reading.words import Token, fold

__all__ = ["code", "entities", "marks", "reworded", "template"]


_PUNCTUATION = frozenset('()"`;:,.')


def code(d: Difference) -> bool:
    """Another token, operator or nesting within code."""
    one, two = d.a.code, d.b.code
    if d.a.squeezed and d.a.squeezed == d.b.squeezed:
        return d.a.indents != d.b.indents
    if one == two:
        nested = len(d.a.indents) == len(d.b.indents) and d.a.indents != d.b.indents
        return bool(one) and nested and d.small
    if d.a.pieces and d.b.pieces and _other_piece(d.a.pieces, d.b.pieces):
        return True
    if not one or not two:
        return False
    signs = [
        [p for p in parts if p not in _PUNCTUATION and not p[-1].isalnum()] for parts in (one, two)
    ]
    if sorted(signs[0]) != sorted(signs[1]):
        return True
    if signs[0] != signs[1] and not (d.left or d.right):
        return True
    return not (_named_in(one, d.b) and _named_in(two, d.a))


def _named_in(parts: Sequence[str], other: Analysis) -> bool:
    """Whether every name and number within code occurs in the other prompt, as code or not."""
    there = {token.raw for token in other.tokens}
    there.update(other.code)
    lows = other.words
    return all(
        part in there or (part.islower() and part in lows) for part in parts if part[-1].isalnum()
    )


_SIGNS = frozenset("{}[]<>=+*|&^~\\_;()$@#%/-!?")


def _other_piece(one: Sequence[str], two: Sequence[str]) -> bool:
    """Whether two texts are the same but for one piece of code."""
    start, end = ends(one, two)
    left, right = one[start : len(one) - end], two[start : len(two) - end]
    if not left or not right or len(left) > 2 or len(right) > 2:
        return False
    here, there = ("".join(side).replace('"', "").strip("?!.,()") for side in (left, right))
    return here != there and not _SIGNS.isdisjoint(here) and not _SIGNS.isdisjoint(there)


_FRAME = 14
_LINES = 4


def template(d: Difference) -> bool:
    """A long common frame: what is put into it decides."""
    if d.a.rest != d.b.rest:
        return True
    for one, other in ((d.a, d.b), (d.b, d.a)):
        if one.quoted and other.quoted:
            other_span = any(span not in other.flat for span in one.quoted)
            if other_span and len(d.left) + len(d.right) <= 12 and not _harmless_quotes(d):
                return True
    left, right = d.content()
    if not (left or right):
        return False
    if _is_form(d):
        return True
    if min(len(d.a.words), len(d.b.words)) < _FRAME:
        return False
    if not (left and right) and min(len(d.a.words), len(d.b.words)) < 2 * _FRAME:
        return False
    return not reworded(d)


def _is_form(d: Difference) -> bool:
    """Whether the prompts are one form, filled in twice: of several lines, half are the same."""
    one, two = _lines(d.a.text), _lines(d.b.text)
    fewer = min(len(one), len(two))
    return fewer >= _LINES and 2 * len(one & two) >= fewer


def _lines(text: str) -> set[str]:
    return {line for line in map(str.strip, text.split("\n")) if line} if "\n" in text else set()


def _harmless_quotes(d: Difference) -> bool:
    return not d.left and not d.right and d.a.code == d.b.code and bool(d.a.code)


def reworded(d: Difference) -> bool:
    """Whether the words around are so different that the frame is none."""
    one, two = d.a.words, d.b.words
    start, end = ends(one, two)
    return start + end < 0.6 * min(len(one), len(two)) or start + end < _FRAME


def entities(d: Difference) -> bool:
    """A name, or another word that no dictionary has, in the place of another one."""
    if "name" not in d.kinds and "word" not in d.kinds:
        return False
    left, right = d.content()
    if not left or not right or len(left) > 3 or len(right) > 3:
        return False
    if not d.near(4 if d.small else 2):
        return False
    one = [t for t in left if _named(t, d.a)]
    two = [t for t in right if _named(t, d.b)]
    return bool(one and two)


def _named(token: Token, of: Analysis) -> bool:
    if token.kind == "name":
        return True
    if token.kind != "word" or token.raw == token.low:
        return False
    return of.tokens[0] is not token and of.text != of.text.upper()


def marks(d: Difference) -> bool:
    """An accent, a vowel sign or an emoji that makes another word."""
    if d.a.text.isascii() and d.b.text.isascii():
        return False
    left, right = d.of("sign")
    if left and right:
        return True
    return d.small and any(
        one.low != two.low and fold(one.low) == fold(two.low) for one in d.left for two in d.right
    )
