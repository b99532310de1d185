"""A text as a tokenizer would read it that drops what tokenizers drop."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from semcache_async.types import Piece

__all__ = ["folded_pieces", "lowered_pieces"]

_WORD_OR_SIGN = re.compile(r"[^\W_]+|[\W_]")
_NO_DECOMPOSITION = str.maketrans({"\u0111": "d", "\u0142": "l", "\u0131": "i", "\xf8": "o"})
_ACCENTS = re.compile("[\u0300-\u036f\u3099\u309a]")
_DROPPED = ("C", "M", "Z")
"""Categories: control and format characters, marks, spaces."""


def folded_pieces(text: str) -> tuple[Piece, ...]:
    """Its words and signs. Equal ids, within this process, where two of them differ in nothing but
    case, accents, vowel signs, width, compatibility forms (NFKC) or what is invisible."""
    return _pieces(text, _fold)


def lowered_pieces(text: str) -> tuple[Piece, ...]:
    """The same for a model that sees more: where they differ in nothing but case, accents and the
    voicing marks of kana."""
    return _pieces(text, _lower)


def _pieces(text: str, fold: Callable[[str], str]) -> tuple[Piece, ...]:
    shape = text if text.isascii() else "".join(map(_in_words, text))
    spans = (found.span() for found in _WORD_OR_SIGN.finditer(shape))
    return tuple(
        Piece(hash(folded), start, end) for start, end in spans if (folded := fold(text[start:end]))
    )


def _in_words(sign: str) -> str:
    """A letter in place of a mark, or of what is invisible within a word."""
    kind = unicodedata.category(sign)
    return "x" if kind[0] == "M" or kind == "Cf" else sign


def _fold(word: str) -> str:
    plain = _lower(unicodedata.normalize("NFKC", word))
    return "".join(sign for sign in plain if not unicodedata.category(sign).startswith(_DROPPED))


def _lower(word: str) -> str:
    if word.isascii():
        return word.casefold().strip()
    plain = unicodedata.normalize("NFD", word).casefold().strip()
    return _ACCENTS.sub("", plain).translate(_NO_DECOMPOSITION)
