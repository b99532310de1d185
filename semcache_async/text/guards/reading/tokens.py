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

from semcache_async.text.guards.digits import identifier, with_digits
from semcache_async.text.guards.reading.lists import (
    CONTRACTIONS,
    CURRENCIES,
    KIND_WORDS,
    NUMBERS,
    UNITS,
)
from semcache_async.text.guards.reading.words import Token, word

__all__ = ["Piece", "read"]


class Piece(NamedTuple):
    tokens: tuple[Token, ...]
    ends: bool
    """Whether a sentence or clause ends with it, so that a capital after it says nothing."""
    unspaced: str = ""
    """What it holds of scripts without spaces."""
    codelike: bool = False


_LEAD = "\"'`“”‘’«»„‚‹›([{¿¡*_~#>|-–—…,.;:"

_TRAIL = "\"'`“”‘’«»„‚‹›)]}.,;:!?…*_~|-–—。、，？！：；」』）؟،"

_ENDS = frozenset(".!?:;。？！…؟")

_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]+)"
)

_CODE = frozenset("{}[]<>=+*|&^~\\_;()$@#%")

_DOTTED = re.compile(r"[a-z][a-z\d-]*(?:\.[a-z][a-z\d-]*){1,8}\Z")

_INITIALS = re.compile(r"(?:[A-Za-z]\.){1,5}[A-Za-z]\Z")

_RUN_ON = re.compile(r"[A-Za-z]?[a-z]+\.[A-Z][a-z]*\Z")

_WITHIN = re.compile(r"[^\W_]+(?:\.[^\W_]+)*|[^\w\s]|_")

_FLAG_OR_INDEX = re.compile(r"[`\"']?(?:--?[A-Za-z]|[\[({]+[-:\d]*[:\]=]|\+[a-z]|[\[{]\S*[:=])")

_CLOSING = re.compile(r"\d(?:\]\)|\)\]|\}\)|\)\)|\]\]|\};)")


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
            return Piece(with_digits(lead + core, (lead + core).lower(), tail), ends)
    if low.replace("_", "").isalnum():
        return Piece((Token("identifier", low, low, core),), ends)
    if any(c in _CODE for c in core) or "." in core or not spare.isalpha():
        return _code(piece, ends)
    return Piece((Token("identifier", identifier(low), low, core),), ends)


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
    return Piece(
        tuple(
            Token("currency", CURRENCIES[c], c, c) if c in CURRENCIES else Token("sign", c, c, c)
            for c in piece
            if unicodedata.category(c) in {"So", "Sm", "Sc"}
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
