"""Guards over the form of a text: code, marks, names, and frames with a payload."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from semcache_async.text.guards.analysis import Analysis
from semcache_async.text.guards.difference import Difference, ends
from semcache_async.text.guards.tokens import Token, fold

__all__ = ["code", "entities", "marks", "reworded", "template"]


def code(d: Difference) -> bool:
    """Another token, operator or indentation within code."""
    one, two = d.a.code, d.b.code
    if d.a.squeezed and d.a.squeezed == d.b.squeezed:
        return d.a.indents != d.b.indents
    if one == two:
        return (
            bool(one)
            and len(d.a.indents) == len(d.b.indents)
            and d.a.indents != d.b.indents
            and d.small
        )
    if d.a.pieces and d.b.pieces and _other_piece(d.a.pieces, d.b.pieces):
        return True
    if not one or not two:
        return False
    if sorted(one) == sorted(two) and "-" not in "".join(one):
        return len(d.left) == 0 and len(d.right) == 0 and one != two
    plain = [tuple(part for part in code if part not in '()"`;:,.') for code in (one, two)]
    if sorted(plain[0]) == sorted(plain[1]):
        return plain[0] != plain[1] and not all(p.startswith("-") or len(p) == 1 for p in plain[0])
    extra = d.a.words if len(one) < len(two) else d.b.words
    short, long = (plain[0], plain[1]) if len(plain[0]) < len(plain[1]) else (plain[1], plain[0])
    return not (
        Counter(short) <= Counter(long)
        and len(short) < len(long)
        and all(part.lower() in extra for part in Counter(long) - Counter(short))
    )


_SIGNS = frozenset("{}[]<>=+*|&^~\\_;()$@#%/-!?")


def _other_piece(one: Sequence[str], two: Sequence[str]) -> bool:
    """Whether two texts are the same but for one piece of code."""
    start, end = ends(one, two)
    left, right = one[start : len(one) - end], two[start : len(two) - end]
    if not left or not right or len(left) > 2 or len(right) > 2:
        return False
    return all(
        not _SIGNS.isdisjoint(" ".join(side).strip("?!.,()")) for side in (left, right)
    ) and ("".join(left).strip("?!.,") != "".join(right).strip("?!.,"))


_FRAME = 14


def template(d: Difference) -> bool:
    """A long common frame: what is put into it decides."""
    if d.a.rest != d.b.rest:
        return True
    for one, other in ((d.a, d.b), (d.b, d.a)):
        if one.quoted and other.quoted:
            text = " ".join(other.text.split()).casefold()
            other_span = any(span not in text for span in one.quoted)
            if other_span and len(d.left) + len(d.right) <= 12 and not _harmless_quotes(d):
                return True
    if min(len(d.a.words), len(d.b.words)) < _FRAME:
        return False
    left, right = d.content()
    if not (left or right):
        return False
    if not (left and right) and min(len(d.a.words), len(d.b.words)) < 2 * _FRAME:
        return False
    return not reworded(d)


def _harmless_quotes(d: Difference) -> bool:
    return not d.left and not d.right and d.a.code == d.b.code and bool(d.a.code)


def reworded(d: Difference) -> bool:
    """Whether the words around are so different that the frame is none."""
    one, two = d.a.words, d.b.words
    start, end = ends(one, two)
    return start + end < 0.6 * max(len(one), len(two)) or start + end < _FRAME


def entities(d: Difference) -> bool:
    """A name, or another word that no dictionary has, in the place of another one."""
    if "name" not in d.kinds and "word" not in d.kinds:
        return False
    left, right = d.content()
    if not left or not right or len(left) > 3 or len(right) > 3 or not d.small:
        return False
    if not d.near(4):
        return False
    one = [t for t in left if _named(t, d.a)]
    two = [t for t in right if _named(t, d.b)]
    return bool(one and two)


def _named(token: Token, of: Analysis) -> bool:
    if token.kind == "name":
        return token.low.isascii() or token.raw != token.low or True
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
    for one in d.left:
        for two in d.right:
            if one.low != two.low and fold(one.low) == fold(two.low) and d.small:
                return True
    return False
