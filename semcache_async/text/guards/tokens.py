"""From text to tokens: what each piece of a prompt is, by itself.

A text is cut at white space, and each piece is read once (``read``, remembered for short pieces).
Every pattern is anchored and free of nested repetition, so the cost is linear in the text.
"""

# ruff: noqa: RUF001  (letters of many scripts are the subject here)

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from semcache_async.text.guards.lexicon import lemma, lexicon, meanings
from semcache_async.text.guards.lists import (
    CONTRACTIONS,
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

__all__ = ["Piece", "Token", "fold", "number", "read", "same_hand_made", "stem", "word"]


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


class Piece(NamedTuple):
    tokens: tuple[Token, ...]
    ends: bool
    """Whether a sentence or clause ends with it, so that a capital after it says nothing."""
    unspaced: str = ""
    """What it holds of scripts without spaces."""
    codelike: bool = False


_NONE: frozenset[str] = frozenset()


def _hand_made() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for index, group in enumerate(SYNONYMS):
        for each in group:
            found.setdefault(each, set()).add(f"#{index}")
    return {each: frozenset(ids) for each, ids in found.items()}


_SAME = _hand_made()
_STEM_ENDINGS = SETS["stem-endings"]


def stem(word: str) -> str:
    """What is left of a word of another language without the ending that its form may have."""
    for size in (5, 4, 3, 2, 1):
        if len(word) >= size + 4 and word[-size:] in _STEM_ENDINGS:
            return word[:-size]
    return word


_SAME_STEM: dict[str, frozenset[str]] = {}
for _word, _ids in _SAME.items():
    _SAME_STEM[stem(_word)] = _SAME_STEM.get(stem(_word), _NONE) | _ids

_LEAD = "\"'`“”‘’«»„‚‹›([{¿¡*_~#>|-–—…,.;:"
_TRAIL = "\"'`“”‘’«»„‚‹›)]}.,;:!?…*_~|-–—。、，？！：；」』）؟،"
_ENDS = frozenset(".!?:;。？！…؟")
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]+)"
)
_CODE = frozenset("{}[]<>=+*|&^~\\_;()$@#%")
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
_DOTTED = re.compile(r"[a-z][a-z\d-]*(?:\.[a-z][a-z\d-]*){1,8}\Z")
_INITIALS = re.compile(r"(?:[A-Za-z]\.){1,5}[A-Za-z]\Z")
_RUN_ON = re.compile(r"[A-Za-z]?[a-z]+\.[A-Z][a-z]*\Z")
_QUARTER = re.compile(r"q([1-4])\Z")
_DECADE = re.compile(r"(?:19|20)?(\d0)s\Z")
_YEAR = re.compile(r"fy(?:20)?(\d{2})\Z")
_LETTERS_NUMBER = re.compile(r"([^\W\d_]{2,})(\d+(?:\.\d+)+)\Z")
_WITHIN = re.compile(r"[^\W_]+(?:\.[^\W_]+)*|[^\w\s]|_")
_SURE_UNITS = frozenset(
    {"kg", "km", "cm", "mm", "ml", "mg", "lb", "oz", "gb", "tb", "kw", "hz", "px"}
)
_DECADES = {"twenties": "20", "thirties": "30", "sixties": "60", "seventies": "70",
            "eighties": "80", "nineties": "90", "fifties": "50", "forties": "40"}  # fmt: skip
_FLAG_OR_INDEX = re.compile(r"[`\"']?(?:--?[A-Za-z]|[\[({]+[-:\d]*[:\]=]|\+[a-z]|[\[{]\S*[:=])")
_CLOSING = re.compile(r"\d(?:\]\)|\)\]|\}\)|\)\)|\]\]|\};)")
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
    return _SAME.get(one, _NONE)


def number(value: float) -> str:
    """The one spelling of a value."""
    return f"{value:.12g}"


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
        senses = meanings(low) | meanings(base) | _SAME.get(low, _NONE) | _SAME.get(base, _NONE)
        if base in FUNCTION and base != low and len(base) > 3:
            return Token("function", base, low, raw)
        if base in lexicon().words:
            return Token("word", base, low, raw, senses)
        return Token("name", base, low, raw, senses | _SAME_STEM.get(stem(low), _NONE))
    low = low.translate(_SPELLINGS)
    return Token(
        "name",
        low,
        low,
        raw,
        _SAME.get(low, _NONE) | _SAME.get(fold(low), _NONE) | _SAME_STEM.get(stem(low), _NONE),
    )


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
        return (*tokens, *read(after.lstrip("-")).tokens) if after.strip("-").isalpha() else None
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


def _identifier(low: str) -> str:
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


def _with_digits(core: str, low: str, ends_with_dot: bool) -> tuple[Token, ...]:
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
        if found[3] and hour % 12 + (12 if found[3] == "pm" else 0) != hour:
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
    return (Token("identifier", _identifier(low), low, core, _SAME.get(low, _NONE)),)


def _read(piece: str) -> Piece:
    ends = piece[-1] in _ENDS or (len(piece) > 1 and piece[-2] in _ENDS)
    core = piece.lstrip(_LEAD).rstrip(_TRAIL)
    whole = piece[0] != "-" and len(piece) - len(core) <= 3 and _letters(core)
    if whole and not _UNSPACED.search(core):
        plain = CONTRACTIONS.get(core.lower())
        return Piece(tuple(map(word, plain)) if plain else (word(core),), ends)
    if not any(map(str.isalnum, core)):
        return _signs(piece if piece.isascii() else core, ends)
    if core[-1].isdigit() and _CLOSING.search(piece):
        return _code(piece, ends)
    if piece[0] in "-([{+`\"'" and _FLAG_OR_INDEX.match(piece):
        return _code(piece, ends)
    low = core.lower()
    if low.startswith(("http://", "https://", "www.")) or "://" in low:
        address = low.split("://", 1)[-1]
        address = address if piece[-1] in ";}" else address.rstrip("/")
        return Piece((Token("identifier", address, low, core),), ends)
    if core.count("@") == 1 and "." in core.split("@")[1]:
        return Piece((Token("identifier", low, low, core),), ends)
    if _UNSPACED.search(core):
        return _mixed(core, ends)
    low = low.replace("’", "'")
    if low in CONTRACTIONS:
        return Piece(tuple(word(each) for each in CONTRACTIONS[low]), ends)
    if "'" in low and low.replace("'", "").isalpha():
        return Piece(_apostrophe(core.replace("’", "'")), ends)
    if low in UNITS:
        return Piece((Token("unit", UNITS[low], low, core),), ends)
    if low.rstrip("+#") != low and low.rstrip("+#").isalpha():
        return Piece((Token("name", low, low, core),), ends)
    letters = core.replace("-", "")
    if letters.isalpha():
        known = KIND_WORDS.get(low) or KIND_WORDS.get(low.replace("-", ""))
        if known:
            return Piece((Token(known[0], known[1], low, core),), ends)
        if low in NUMBERS:
            return Piece((Token("number", str(NUMBERS[low]), low, core),), ends)
        if low.endswith("-free") and len(low) > 6:
            without = Token("negation", "not", "without", "without")
            return Piece((without, word(core[:-5])), ends)
        if not (core[0] == "-" or piece.startswith("-")):
            return Piece(tuple(word(each) for each in core.split("-") if each), ends)
    if core.replace("/", "").isalpha() and "//" not in core and piece[0] != "/":
        return Piece(tuple(word(each) for each in core.split("/") if each), ends)
    if _INITIALS.match(core):
        return Piece((word(core.replace(".", "")),), ends)
    if _RUN_ON.match(core):
        return Piece(tuple(word(each) for each in core.split(".")), ends)
    if low.endswith(".js") and core[:-3].isalpha():
        return Piece((word(core[:-3]),), ends)
    if _DOTTED.match(low):
        return Piece((Token("identifier", low, low, core),), ends)
    spare = core.replace("-", "").replace("/", "")
    if piece[0] in "$€£¥₹₩₽" or any(c.isdigit() for c in core):
        lead = piece[0] if piece[0] in "-+$€£¥₹₩₽" and core[0].isdigit() else ""
        if not any(c in _CODE for c in core.strip("%$+").replace("$", "")):
            tail = piece[len(core) :].startswith(".") or piece.endswith(".")
            return Piece(_with_digits(lead + core, (lead + core).lower(), tail), ends)
    if low.replace("_", "").isalnum():
        return Piece((Token("identifier", low, low, core),), ends)
    if any(c in _CODE for c in core) or "." in core or not spare.isalpha():
        return _code(piece, ends)
    return Piece((Token("identifier", _identifier(low), low, core),), ends)


def _letters(core: str) -> bool:
    """Whether a piece is one word: letters, and the marks that some scripts put on them."""
    if core.isalpha():
        return True
    if core.isascii() or not core[:1].isalpha():
        return False
    return all(c.isalpha() or unicodedata.category(c)[0] == "M" for c in core)


def _apostrophe(core: str) -> tuple[Token, ...]:
    low = core.lower()
    if low.endswith("'s"):
        return (word(core[:-2]),)
    head, _, rest = core.partition("'")
    if head.lower() == "n":
        return (word(rest),) if rest else ()
    if len(head) <= 2 and rest:
        return (word(head), word(rest.replace("'", ""))) if head else (word(rest),)
    return (word(core.replace("'", "")),)


def _signs(piece: str, ends: bool) -> Piece:
    """A piece without letters or digits: an emoji, an operator, or plain punctuation."""
    if piece.isascii():
        if piece == "&":
            return Piece((word("and"),), False)
        if piece == "%":
            return Piece((Token("unit", "%", "%", "%"),), False)
        if any(c in "=<>+*|^~{}[]\\;" for c in piece) or piece in {"-", "--", "/", "()"}:
            plain = piece in {"*", "-", "--", "**", "/"}
            return Piece((Token("code", piece, piece, piece),), ends, "", not plain)
        return Piece((), ends)
    signs = tuple(
        Token("sign", c, c, c) for c in piece if unicodedata.category(c) in {"So", "Sm", "Sc"}
    )
    return Piece(
        tuple(
            Token("currency", CURRENCIES[t.key], t.low, t.raw) if t.key in CURRENCIES else t
            for t in signs
        ),
        ends,
    )


def _mixed(core: str, ends: bool) -> Piece:
    tokens: list[Token] = []
    unspaced: list[str] = []
    for index, part in enumerate(_UNSPACED.split(core)):
        if index % 2:
            unspaced.append(part)
        elif part.strip():
            inner = _read(part)
            tokens += inner.tokens
    return Piece(tuple(tokens), ends, "".join(unspaced))


def _code(piece: str, ends: bool) -> Piece:
    """A piece that looks like code: its parts, with quotes of one kind and no final punctuation."""
    core = piece.strip("`\"'").rstrip(".,!?:`\"'")
    if core.startswith("(") and core.count("(") > core.count(")"):
        core = core[1:]
    if core.endswith(")") and core.count(")") > core.count("("):
        core = core[:-1]
    core = core.replace("'", '"')
    if not core:
        return Piece((), ends)
    if core.startswith("-") and core[1:].isalpha() and len(core) <= 5 and core[1:2] != "-":
        return Piece(tuple(Token("code", "-" + c, c, c) for c in core[1:]), ends, "", True)
    simple = core.strip('"“”„«»()[]*_,;')
    if simple.isalpha():
        return Piece((word(simple),), ends)
    tokens = tuple(
        Token("code", part, part.lower(), part) for part in _WITHIN.findall(core) if part != '"'
    )
    return Piece(tokens, ends, "", True)


_SHORT = 48
_LONGEST = 400
_remembered = lru_cache(maxsize=1 << 16)(_read)


def read(piece: str) -> Piece:
    """What a piece without white space holds."""
    if len(piece) <= _SHORT:
        return _remembered(piece)
    if len(piece) <= _LONGEST:
        return _read(piece)
    parts = [_read(piece[i : i + _LONGEST]) for i in range(0, len(piece), _LONGEST)]
    return Piece(
        tuple(token for part in parts for token in part.tokens),
        parts[-1].ends,
        "".join(part.unspaced for part in parts),
        any(part.codelike for part in parts),
    )
