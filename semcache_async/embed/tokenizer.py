"""A model's tokenizer, opened so that it reads a prompt as text and whole."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semcache_async.embed.wording import brief
from semcache_async.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["open_tokenizer", "pair_tokens", "reserved", "write_lowering"]

_OF_SLOW_ONES = (
    *("vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model"),
)
_IN_NO_VOCABULARY = "\U0010fffd"


def open_tokenizer(path: Path) -> Any:
    """A ``tokenizers.Tokenizer`` that neither cuts nor pads, whatever its file says, and for which
    a special token that a text spells out is text.

    Batches are tokenised on the calling thread unless the environment's TOKENIZERS_PARALLELISM
    says otherwise: they are small, and the other cores are busy embedding.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tokenizers import Tokenizer

    if not path.is_file():
        raise ModelError(_missing(path))
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise ModelError(
            f"{path} is not a tokenizer file ({brief(error)}); fetch it again."
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def reserved(tokenizer: Any) -> frozenset[int]:
    """The tokens that stand for no text: special ones, and the one for unknown characters.

    SentencePiece's Unigram models have special tokens in their vocabulary, and find them in texts.
    """
    added = tokenizer.get_added_tokens_decoder().items()
    found = {number for number, token in added if token.special}
    unknown = tokenizer.model.tokenize(_IN_NO_VOCABULARY)
    if len(unknown) == 1:  # else it falls back on bytes, or drops what it does not know
        found.add(unknown[0].id)
    return frozenset(found)


def pair_tokens(
    tokenizer: Any, pairs: Sequence[tuple[str, str]], second: int
) -> list[NDArray[np.int32]]:
    """The tokens of each pair as one text, those of its second part by ``second`` higher."""
    return [
        np.array(encoding.ids, np.int32) + np.array(encoding.type_ids, np.int32) * second
        for encoding in tokenizer.encode_batch(list(pairs))
    ]


def write_lowering(path: Path) -> None:
    """Have the tokenizer of a file put texts into small letters before it reads them."""
    from tokenizers import Tokenizer, normalizers

    tokenizer = Tokenizer.from_file(str(path))
    steps = [normalizers.Lowercase(), *([tokenizer.normalizer] if tokenizer.normalizer else [])]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.save(str(path))


def _missing(path: Path) -> str:
    slow = next((name for name in _OF_SLOW_ONES if (path.parent / name).is_file()), None)
    if slow is None:
        return f"{path} is missing; fetch the model again, with its fast tokenizer."
    return (
        f"{path} is missing, and {slow} is of a slow tokenizer; write the fast one beside it with "
        f"transformers: AutoTokenizer.from_pretrained({str(path.parent)!r})"
        f".save_pretrained({str(path.parent)!r})."
    )
