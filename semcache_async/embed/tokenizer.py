"""A model's own tokenizer, which neither cuts nor pads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from semcache_async.embed.wording import brief
from semcache_async.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["open_tokenizer", "unknown_token"]


def open_tokenizer(path: Path) -> Any:
    """A ``tokenizers.Tokenizer`` that neither cuts nor pads, whatever its file says.

    Batches are tokenised on the calling thread unless the environment's TOKENIZERS_PARALLELISM
    says otherwise: they are small, and the other cores are busy embedding.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tokenizers import Tokenizer

    if not path.is_file():
        raise ModelError(f"{path} is missing; fetch the model again, with its fast tokenizer.")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise ModelError(
            f"{path} is not a tokenizer file ({brief(error)}); fetch it again."
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def unknown_token(tokenizer: Any) -> int | None:
    for token in ("[UNK]", "<unk>"):
        number: int | None = tokenizer.token_to_id(token)
        if number is not None:
            return number
    return None
