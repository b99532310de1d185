"""Pieces with digits: numbers, amounts, dates, times, versions, identifiers."""

# ruff: noqa: RUF001  (letters of many scripts are the subject here)

from __future__ import annotations

import re

from semcache_async.text.guards.reading.lists import (
    CURRENCIES,
    UNITS,
    UNITS_BY_CASE,
)
from semcache_async.text.guards.reading.words import Token, same_hand_made, word

__all__ = ["identifier", "number", "with_digits"]

_AMOUNT = re.compile(
    r"(?P<before>us\$|r\$|a\$|c\$|[$€£¥₹₩₽]|[a-z]{3}(?=\d))?"
    r"(?P<sign>[-+])?"
    r"(?P<digits>\d+(?:[.,'’ ]\d+)*)"
    r"(?P<after>\D{0,12})\Z",
    re.IGNORECASE,
)

_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})\Z")

_DOTTED_DATE = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4}|\d{2})?\Z")

_RANGE = re.compile(r"([1-9]\d{0,3})[-–]([1-9]\d{0,3})\Z")

_POWER = re.compile(r"\d{1,3}e\d{1,2}\Z")

_AGED = re.compile(r"(\d{1,3})((?:-[^\W\d_]+){2,4})\Z")

_SLASHED_DATE = re.compile(r"(\d{1,2})/(\d{1,2})(?:/(\d{4}))?\Z")

_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::\d{2})?(am|pm)?\Z")

_FRACTION = re.compile(r"(\d{1,2})/(\d{1,2})\Z")

_VERSION = re.compile(r"v?(\d+(?:\.\d+)*(?:\.x)?)\Z")

_QUARTER = re.compile(r"q([1-4])\Z")

_DECADE = re.compile(r"(?:19|20)?(\d0)s\Z")

_YEAR = re.compile(r"fy(?:20)?(\d{2})\Z")

_LETTERS_NUMBER = re.compile(r"([^\W\d_]{2,})(\d+(?:\.\d+)+)\Z")


def number(value: float) -> str:
    """The one spelling of a value."""
    return f"{value:.12g}"


def _amount(core: str) -> tuple[Token, ...] | None:
    found = _AMOUNT.match(core)
    if found is None:
        return None
    digits, after = found["digits"], found["after"].strip().strip("-")
    value, exact = _value(digits)
    if value is None:
        return None
    tokens: list[Token] = []
    low = after.lower()
    before = found["before"]
    if (low in {"k", "k.", "tsd"} and after != "K") or (low == "k" and not before):
        value, exact, low, after = value * 1e3, "", "", ""
    elif low in {"m", "mn", "mio", "million"} and (before or len(low) > 1):
        value, exact, low, after = value * 1e6, "", "", ""
    elif low in {"b", "bn"} and (before or len(low) > 1):
        value, exact, low, after = value * 1e9, "", "", ""
    if found["sign"] == "-":
        value, exact = -value, ("-" + exact) if exact else ""
    key = number(value)
    if exact and not before and not low and ("." in exact) and not exact.endswith(".00"):
        key = exact.removesuffix(".0")
    if found["sign"] == "+":
        key = "+" + key
    if before:
        unit = CURRENCIES.get(before.lower())
        if unit is None:
            return None
        tokens.append(Token("currency", unit, before.lower(), before))
    sign = found["sign"] or ""
    tokens.append(Token("number", key, sign + digits, sign + digits))
    if not after:
        return tuple(tokens)
    if low in {"st", "nd", "rd", "th", "er", "º", "ª", ".º", "o", "a", ".o", ".a", "ème", "e"}:
        return (Token("ordinal", key, core.lower(), core),)
    if low in {"am", "pm", "a.m", "p.m"}:
        return (*tokens, Token("function", low.replace(".", ""), low, after))
    unit = UNITS_BY_CASE.get(after) or UNITS.get(low)
    if unit is not None:
        return (*tokens, Token("unit", unit, low, after))
    if low in CURRENCIES:
        return (*tokens, Token("currency", CURRENCIES[low], low, after))
    if after[0] == "-" or (len(low) > 2 and low.isalpha()):
        return (
            (*tokens, *(word(each) for each in after.split("-") if each))
            if after.strip("-").isalpha()
            else None
        )
    return None


def _value(digits: str) -> tuple[float | None, str]:
    """The value of digits with separators, and their exact spelling where that may matter
    (a version's "3.10" is not 3.1)."""
    if digits.isdigit():
        return (float(digits), digits) if len(digits) <= 12 else (None, "")
    parts = re.split(r"[.,'’ ]", digits)
    separators = re.sub(r"\d", "", digits)
    if len(digits) > 24:
        return None, ""
    thousands = len(parts[0]) <= 3 and all(len(part) == 3 for part in parts[1:])
    if (
        len(set(separators)) == 1
        and thousands
        and (separators[0] != "." or len(parts) > 2 or parts[1] == "000")
    ):
        return float("".join(parts)), ""
    if len(parts) == 2:
        return float(f"{parts[0]}.{parts[1]}"), f"{parts[0]}.{parts[1]}"
    if separators[-1] != separators[0] and all(len(part) == 3 for part in parts[1:-1]):
        return float("".join(parts[:-1]) + "." + parts[-1]), ""
    return None, ""


def _release(version: str) -> str:
    """A version without the zeros that say nothing: 2.0.0 is 2."""
    while version.endswith((".0", ".x")):
        version = version[:-2]
    return version


_BETWEEN_DIGITS = re.compile(r"(?<=\d)[-–/.](?=\d)")

_LONG_CODE = 9


def identifier(low: str) -> str:
    """An id without the signs that people leave out: all of a long code's ("978-0-123"), and of
    a short one those between letters and digits ("E-204", but 1-23 is not 12-3)."""
    if sum(map(str.isdigit, low)) < _LONG_CODE:
        low = _BETWEEN_DIGITS.sub("_", low)
    return "".join(c for c in low if c.isalnum() or c == "_")


def _slashed(found: re.Match[str]) -> str:
    """A date with slashes, where it is clear which number is the month."""
    one, two = int(found[1]), int(found[2])
    if not (12 < one <= 31 and 1 <= two <= 12) and not (12 < two <= 31 and 1 <= one <= 12):
        return ""
    return f"{found[3] or ''}-{min(one, two):02}-{max(one, two):02}"


def with_digits(core: str, low: str, ends_with_dot: bool) -> tuple[Token, ...]:
    """What a piece with digits in it is."""
    if found := _DATE.match(low):
        return (Token("date", f"{found[1]}-{int(found[2]):02}-{int(found[3]):02}", low, core),)
    if found := _RANGE.match(low):
        return tuple(Token("number", number(int(part)), part, part) for part in found.groups())
    if found := _POWER.match(low):
        value = float(low)
        return (Token("number", number(value), low, core),) if value < 1e15 else ()
    if (found := _AGED.match(low)) is not None:
        rest = [word(each) for each in found[2].split("-") if each]
        return (Token("number", found[1], found[1], found[1]), *rest)
    if (slashed := _SLASHED_DATE.match(low)) and (date := _slashed(slashed)):
        return (Token("date", date, low, core),)
    dotted = _DOTTED_DATE.match(low + "." if ends_with_dot and low.count(".") == 1 else low)
    if dotted and 1 <= int(dotted[1]) <= 31 and 1 <= int(dotted[2]) <= 12:
        year = dotted[3] or ""
        year = "20" + year if len(year) == 2 else year
        return (Token("date", f"{year}-{int(dotted[2]):02}-{int(dotted[1]):02}", low, core),)
    if found := _TIME.match(low):
        hour = int(found[1])
        if found[3]:
            hour = hour % 12 + (12 if found[3] == "pm" else 0)
        return (Token("date", f"{hour:02}:{found[2]}", low, core),)
    if found := _QUARTER.match(low):
        return (Token("date", low, low, core),)
    if found := _DECADE.match(low):
        return (Token("date", found[1] + "s", low, core),)
    if found := _YEAR.match(low):
        return (word("fy"), Token("number", "20" + found[1], low, core))
    if (found := _FRACTION.match(low)) and 0 < int(found[1]) < int(found[2]) <= 10:
        return (Token("number", number(int(found[1]) / int(found[2])), low, core),)
    if amount := _amount(core):
        return amount
    if (found := _VERSION.match(low)) and (low[0] == "v" or low.count(".") > 1):
        return (Token("version", _release(found[1]), low, core),)
    if found := _LETTERS_NUMBER.match(low):
        return (
            word(core[: len(found[1])]),
            Token("version", _release(found[2]), found[2], found[2]),
        )
    return (Token("identifier", identifier(low), low, core, same_hand_made(low)),)
