"""A cross-encoder: both texts of a pair in one pass, to one score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semcache_async.embed.tokenizer import pair_tokens, reserved

if TYPE_CHECKING:
    from semcache_async.embed.embedder import TextEmbedder

__all__ = ["PairVerifier"]

_CHARACTERS_A_TOKEN = 16
"""A pair with more for each token of the window is not read."""


class PairVerifier:
    """A ``Verifier`` made by ``load_verifier``. Safe from several threads; ``score`` blocks, and
    releases the GIL for nearly all its time."""

    def __init__(self, embedder: TextEmbedder, tokenizer: Any, second: int) -> None:
        """``embedder``: of vectors that are one score; ``second``: by how much the ids of a pair's
        second text are higher."""
        self._embedder = embedder
        self._tokenizer = tokenizer
        self._second = second
        self._reserved = reserved(tokenizer)
        self._framing = self._reserved_in(tokenizer.encode("", "").ids)
        self.window = embedder.window
        """The most tokens two texts may have together, special ones included."""
        self.token_budget = embedder.token_budget
        self.streams = embedder.streams
        self.backend = embedder.backend
        """Runtime, precision and layout, such as ``onnxruntime-f32-packed``."""

    def __repr__(self) -> str:
        return f"<PairVerifier {self.backend} window={self.window}>"

    def score(self, pairs: Sequence[tuple[str, str]], /) -> NDArray[np.float32]:
        """Float32 ``[len(pairs)]`` of 0..1, on the calling thread; NaN for a pair that it cannot
        read whole: longer than the window, or with characters that its vocabulary lacks. Raises
        ``EmbeddingError`` where the runtime fails."""
        scores = np.full(len(pairs), np.nan, np.float32)
        longest = self.window * _CHARACTERS_A_TOKEN
        short = [n for n, pair in enumerate(pairs) if sum(map(len, pair)) <= longest]
        items = pair_tokens(self._tokenizer, [pairs[n] for n in short], self._second)
        read = {n: ids for n, ids in zip(short, items, strict=True) if self._reads(ids)}
        if read:
            scores[list(read)] = self._embedder.embed_tokens(list(read.values()))[:, 0]
        return scores

    def _reads(self, ids: NDArray[np.int32]) -> bool:
        """Does it fit, and does each token stand for text?"""
        plain = ids % self._second if self._second else ids
        return len(ids) <= self.window and self._reserved_in(plain.tolist()) == self._framing

    def _reserved_in(self, tokens: list[int]) -> int:
        return sum(map(self._reserved.__contains__, tokens))
