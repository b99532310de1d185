"""Numbers with their scale and unit, dates and times: several tokens read as one."""

from __future__ import annotations

from semcache_async.text.guards.digits import number
from semcache_async.text.guards.reading.lists import (
    MONTHS,
    NUMBERS,
    SCALES,
    UNITS,
    UNITS_BY_CASE,
)
from semcache_async.text.guards.reading.words import Token

__all__ = ["between_numbers", "numbered"]

_SPANS = {"second": (1.0, "time"), "minute": (60.0, "time"), "hour": (3600.0, "time"),
          "day": (86400.0, "time"), "week": (604800.0, "time"), "fortnight": (1209600.0, "time"),
          "month": (1.0, "months"), "year": (12.0, "months"), "decade": (120.0, "months"),
          "century": (1200.0, "months"), "%": (0.01, "")}  # fmt: skip


def _float(token: Token) -> float | None:
    if token.kind != "number":
        return None
    try:
        return float(token.key)
    except ValueError:
        return None


_FILLERS = frozenset({"of", "de", "the", "del", "den", "a", "в"})


def numbered(tokens: list[Token]) -> list[Token]:
    """Numbers with their scale and unit, times and dates as one token each."""
    out: list[Token] = []
    index = 0
    count = len(tokens)
    while index < count:
        token = tokens[index]
        kind = token.kind
        if kind == "number":
            index = _number(tokens, index, out)
        elif kind == "currency" and index + 1 < count and tokens[index + 1].kind == "number":
            index = _number(tokens, index + 1, out, token.key)
        elif token.low in _HALVES:
            out.append(Token("number", "0.5", "0.5", token.raw))
            index += 1
            while index < count and tokens[index].low in {"of", "a", "an", "de", "der", "von"}:
                index += 1
        elif token.low in _TIMES and between_numbers(tokens, index):
            sign = _TIMES[token.low]
            out.append(Token("code", sign, sign, sign))
            index += 1
        elif kind == "month" or (token.low in MONTHS and _dated(tokens, index, out)):
            index = _month(tokens, index, out)
        elif kind == "ordinal" and token.key.isdigit() and _month_near(tokens, index + 1):
            out.append(Token("number", token.key, token.low, token.raw))
            index += 1
        elif (
            token.low == "version"
            and index + 1 < count
            and tokens[index + 1].kind in {"number", "version"}
        ):
            following = tokens[index + 1]
            key = following.low if following.kind == "number" else following.key
            out.append(Token("version", key, following.low, following.raw))
            index += 2
        else:
            out.append(token)
            index += 1
    return out


_HALVES = frozenset({"half", "mitad", "moitié", "hälfte"})
_TIMES = {"times": "*", "x": "*", "mal": "*", "fois": "*", "por": "*", "veces": "*", "plus": "+",
          "más": "+", "minus": "-", "dividedby": "/", "moins": "-", "menos": "-"}  # fmt: skip
"""Words that stand for a sign between two numbers."""
_PARTS = {"third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fifth": 5, "fifths": 5,
          "sixths": 6, "eighths": 8, "tenth": 10, "tenths": 10}  # fmt: skip


def between_numbers(tokens: list[Token], index: int) -> bool:
    """Whether a word multiplies two numbers ("7 times 8")."""
    return (
        0 < index < len(tokens) - 1
        and tokens[index - 1].kind == "number"
        and tokens[index + 1].kind == "number"
    )


def _month_near(tokens: list[Token], index: int) -> bool:
    for token in tokens[index : index + 2]:
        if token.kind == "month" or token.low in MONTHS:
            return True
        if token.low not in _FILLERS:
            return False
    return False


def _dated(tokens: list[Token], index: int, out: list[Token]) -> bool:
    """Whether a word that may be a month ("may", "march") is one here."""
    before = next((t for t in reversed(out[-2:]) if t.low not in _FILLERS), None)
    if before is not None and _day(before):
        return True
    after = tokens[index + 1] if index + 1 < len(tokens) else None
    return after is not None and tokens[index].raw[:1].isupper() and (_day(after) or _year(after))


def _day(token: Token) -> bool:
    if token.kind not in {"number", "ordinal"} or not token.key.isdigit() or len(token.key) > 2:
        return False
    return 1 <= int(token.key) <= 31


def _year(token: Token) -> bool:
    return token.kind == "number" and len(token.key) == 4 and token.key[:2] in {"19", "20"}


def _month(tokens: list[Token], index: int, out: list[Token]) -> int:
    month = MONTHS.get(tokens[index].low, tokens[index].key)
    day = year = ""
    fillers: list[Token] = []
    while out and len(fillers) < 2 and out[-1].low in _FILLERS:
        fillers.append(out.pop())
    if out and _day(out[-1]):
        day = f"{int(out.pop().key):02}"
    else:
        out += reversed(fillers)
    index += 1
    if not day and index < len(tokens) and _day(tokens[index]):
        day = f"{int(tokens[index].key):02}"
        index += 1
    skip = index + (index < len(tokens) and tokens[index].low in _FILLERS)
    if skip < len(tokens) and _year(tokens[skip]):
        year = tokens[skip].key
        index = skip + 1
    key = f"{year}-{month}-{day}" if day else f"{year}-{month}"
    out.append(Token("date", key, key, key))
    return index


def _number(tokens: list[Token], index: int, out: list[Token], unit: str = "") -> int:
    """Reads one amount that begins at ``index``; the index after it."""
    token = tokens[index]
    value = _float(token)
    count = len(tokens)
    following = tokens[index + 1] if index + 1 < count else None
    index += 1
    if value is None or following is None:
        out.append(Token("number", token.key, token.low, token.raw, _unit(unit)))
        return index
    exact, low = token.key, token.low
    spelled = token.low in NUMBERS
    while following is not None and following.kind == "number":
        more = _float(following)
        if more is None:
            break
        if following.low in NUMBERS and more in SCALES and value < more:
            value *= more
        elif (
            spelled
            and following.low in NUMBERS
            and value % 10 == 0
            and value % 100 >= 20
            and more < 10
        ):
            value += more
        elif (
            token.raw.isdigit() and len(token.raw) <= 3 and following.raw.isdigit()
            and len(following.raw) == 3 and value >= 1
        ):  # fmt: skip
            value = value * 1000 + more
        else:
            break
        exact = low = number(value)
        index += 1
        following = tokens[index] if index < count else None
    if following is not None and 0 < value < _PARTS.get(following.low, 0):
        out.append(Token("number", number(value / _PARTS[following.low]), following.low, token.raw))
        index += 1
        while index < count and tokens[index].low in _FILLERS:
            index += 1
        return index
    if [each.low for each in tokens[index : index + 3]] == ["and", "a", "half"]:
        value, index = value + 0.5, index + 3
        exact = low = number(value)
        following = tokens[index] if index < count else None
    if following is not None and following.low == "grand":
        value *= 1000
        exact, low, index = number(value), number(value), index + 1
        following = tokens[index] if index < count else None
    name = ""
    if following is not None:
        if following.kind in {"unit", "currency", "caseunit"}:
            name = following.key
        elif following.low in {"am", "pm", "uhr"} and value <= 24:
            hour = (
                int(value) % 12 + (12 if following.low == "pm" else 0)
                if following.low != "uhr"
                else int(value)
            )
            out.append(Token("date", f"{hour:02}:00", f"{hour:02}:00", token.raw))
            return index + 1
        elif len(following.low) <= 2:
            name = UNITS_BY_CASE.get(following.raw) or UNITS.get(following.low, "")
    if name:
        index += 1
        if name in _SPANS:
            factor, base = _SPANS[name]
            out.append(
                Token("number", number(value * factor), number(value), token.raw, _unit(base))
            )
            return index
        if name == "cent" and value < 100:
            value, name = value / 100, ""
        exact = number(value)
    elif unit:
        exact = number(value)
    out.append(Token("number", exact, low, token.raw, _unit(name or unit)))
    return index


def _unit(name: str) -> frozenset[str]:
    return frozenset({name}) if name else frozenset()
