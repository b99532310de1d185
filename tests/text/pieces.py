"""Readings of texts by a tokenizer like BERT's, whose vocabulary is theirs."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from semcache_async.text.erased import Reading, erases
from semcache_async.types import Piece

if TYPE_CHECKING:
    from collections.abc import Sequence

_NORMALISER = normalizers.BertNormalizer(lowercase=True)
_CUTTER = pre_tokenizers.BertPreTokenizer()
_STEMS = ("drück", "tromm")


def readings(texts: Sequence[str]) -> list[Reading]:
    """As a model reads them that knows each word of theirs, or its stem and each letter."""
    words: set[str] = set()
    for text in texts:
        words.update(word for word, _ in _CUTTER.pre_tokenize_str(_NORMALISER.normalize_str(text)))
    stems = tuple(map(_NORMALISER.normalize_str, _STEMS))
    whole = {word for word in words if not word.startswith(stems)}
    letters = set("".join(words))
    names = ["[UNK]", *sorted(whole | letters | set(stems))]
    names += [f"##{letter}" for letter in sorted(letters)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = _NORMALISER, _CUTTER
    found = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return [
        Reading(text, [Piece(number, *span) for number, span in zip(e.ids, e.offsets, strict=True)])
        for text, e in zip(texts, found, strict=True)
    ]


def refused(one: str, other: str, *, lenient: bool = True) -> bool:
    """Has the tokenizer erased a difference that counts? The same in both directions."""
    a, b = readings([one, other])
    verdict = erases(a, b, lenient=lenient)
    assert erases(b, a, lenient=lenient) == verdict
    return verdict


def decomposed(text: str) -> str:
    return unicodedata.normalize("NFD", text)
