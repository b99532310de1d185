"""Guards over values: numbers, amounts, dates, versions, identifiers, units."""

from __future__ import annotations

from semcache_async.text.guards.analysis import Analysis
from semcache_async.text.guards.difference import Difference
from semcache_async.text.guards.reading.lists import CURRENCIES
from semcache_async.text.guards.reading.unspaced import unspaced_numbers
from semcache_async.text.guards.reading.words import Token

__all__ = ["dates", "identifiers", "numbers", "units", "versions"]


def numbers(d: Difference) -> bool:
    """A number, amount or currency that the other prompt does not have."""
    if not (d.kinds & {"number", "currency"} or "number" in d.a.typed):
        return unspaced_numbers(d)
    left, right = d.of("number")
    if left and right:
        return not _unitless(left, right)
    for token in left or right:
        if token.key != "1" and not _said(token, d.b if left else d.a):
            return d.common > 0 and (d.near(4) or d.alike(0.6))
    currencies = d.of("currency")
    if currencies[0] and currencies[1]:
        return True
    return _different_units(d, True)


def _unitless(left: list[Token], right: list[Token]) -> bool:
    """Whether the numbers are the same ones, with their unit named on one side only."""
    if sorted(t.low for t in left) != sorted(t.low for t in right):
        return False
    return all(not (t.meanings and u.meanings) for t in left for u in right if t.low == u.low)


def _said(token: Token, other: Analysis) -> bool:
    """Whether the other prompt has the number in another dress: within a name or a code."""
    return any(
        token.key in each.key or token.low in each.low
        for each in other.tokens
        if each.kind in {"identifier", "version", "ordinal", "date"}
    )


_MONEY = frozenset(CURRENCIES.values())


def _different_units(d: Difference, currencies: bool) -> bool:
    if "number" not in d.a.typed:
        return False
    units: dict[str, set[str]] = {}
    for token in d.a.tokens:
        if token.kind == "number" and token.meanings:
            units.setdefault(token.key, set()).update(token.meanings)
    if not units:
        return False
    for token in d.b.tokens:
        if token.kind == "number" and token.meanings and token.key in units:
            if not token.meanings.isdisjoint(units[token.key]):
                continue
            return currencies != token.meanings.isdisjoint(_MONEY)
    return False


def dates(d: Difference) -> bool:
    """A date, time, weekday or span of time that the other prompt does not have."""
    if "date" not in d.kinds and "month" not in d.kinds:
        return False
    left, right = d.of("date", "month")
    if left and right:
        return not _compatible(left, right)
    if any(token.key == "today" for token in left or right) or not d.near(4):
        return False
    if any(_same_hour(t, u) for t in left or right for u in (d.right if left else d.left)):
        return False
    return d.common > 0 and any(not _said(t, d.b if left else d.a) for t in left or right)


def _same_hour(time: Token, other: Token) -> bool:
    """Whether a bare number is the hour of a time ("at 9", "at 9 am")."""
    if other.kind != "number" or not time.key.endswith(":00") or not other.key.isdigit():
        return False
    hour = int(time.key[:2])
    return int(other.key) in {hour, hour - 12}


def _compatible(left: list[Token], right: list[Token]) -> bool:
    """Whether one date is the other one without its year or day of the week."""
    return any(
        one.key.endswith(two.key) or two.key.endswith(one.key) for one in left for two in right
    )


def versions(d: Difference) -> bool:
    """A version that the other prompt does not have."""
    if "version" not in d.kinds and "number" not in d.kinds:
        return False
    left, right = d.of("version")
    if left and right:
        return True
    if left or right:
        others = d.of("number")[1 if left else 0]
        key = (left or right)[0].key
        if any(token.low == key or token.key == key for token in others):
            return False
        return d.small
    left, right = d.of("number")
    return bool(left and right) and any("." in t.raw and not t.meanings for t in left + right)


def identifiers(d: Difference) -> bool:
    """An id, code, address or URL that the other prompt does not have."""
    if "identifier" not in d.kinds:
        return False
    left, right = d.of("identifier")
    if left and right:
        return True
    if not d.near(4) and not d.alike(0.6):
        return False
    sure = [
        t
        for t in left or right
        if sum(map(str.isdigit, t.key)) >= 2 or "." in t.key or "@" in t.key
    ]
    if not sure:
        return False
    other = (d.b if left else d.a).words
    flat = "".join("".join(c for c in each if c.isalnum()) for each in other)
    return any("".join(c for c in t.key if c.isalnum()) not in flat for t in sure)


def units(d: Difference) -> bool:
    """Another unit, or another case where the case carries meaning ("MW" and "mW")."""
    if d.kinds & {"unit", "caseunit"}:
        left, right = d.of("unit", "caseunit")
        if left and right and d.common:
            return True
    if _different_units(d, False):
        return True
    if d.left or d.right:
        return False
    return _case(d)


_CASED = frozenset({"word", "name", "function", "unit", "caseunit", "currency"})


def _is_i(token: Token) -> bool:
    """The pronoun, whose case says nothing."""
    return token.low == "i" and token.kind == "function"


def _case(d: Difference) -> bool:
    """Whether otherwise equal words differ in a case that makes another word of one."""
    one, two = d.a.tokens, d.b.tokens
    if len(one) != len(two):
        return False
    places = [
        index
        for index, (x, y) in enumerate(zip(one, two, strict=True))
        if index and x.raw != y.raw and x.low == y.low and x.kind in _CASED and not _is_i(x)
    ]
    if not places or len(places) > 2:
        return False
    hasty = d.a.text == d.a.text.lower() or d.b.text == d.b.text.lower()
    for index in places:
        x, y = one[index], two[index]
        if one[index - 1].kind == "number" and two[index - 1].kind == "number" and len(x.raw) <= 4:
            return True
        if x.raw != x.low and y.raw != y.low and len(x.raw) <= 3:
            return True
        if len(x.raw) == 1 and not hasty:
            return True
    return False
