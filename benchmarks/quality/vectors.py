"""Every text embedded once, for all rows; kept on disk, so that the next run starts at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semcache_async.embed import TextEmbedder
from semcache_async.types import Piece

__all__ = ["Remembered"]

_AT_ONCE = 1_024


class _Read(NamedTuple):
    """A text and its tokens, as long as they are."""

    text: str
    ids: Any

    def __len__(self) -> int:
        return len(self.ids)


class Remembered:
    """A ``TokenEmbedder`` that has embedded all that will be asked for."""

    def __init__(self, embedder: TextEmbedder, folder: Path | None = None) -> None:
        self._embedder = embedder
        self.dim, self.fingerprint = embedder.dim, embedder.fingerprint
        self.window, self.max_distance = embedder.window, embedder.max_distance
        self.token_budget, self.streams = embedder.token_budget, 1
        self._file = folder / f"vectors-{embedder.fingerprint[:16]}.npz" if folder else None
        self._known: dict[str, NDArray[np.float32]] = {}
        embedder.embed(["Is anybody there?"])  # one alone, before several threads
        if self._file is not None and self._file.is_file():
            with np.load(self._file) as kept:
                self._known = dict(zip(kept["texts"].tolist(), kept["vectors"], strict=True))

    def learn(self, texts: Iterable[str]) -> int:
        """Embed those that are new; returns how many. Texts too long for the model are left."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        tokens = self._embedder.tokenise(new) if new else []
        new = [text for text, ids in zip(new, tokens, strict=True) if 0 < len(ids) <= self.window]
        for at in range(0, len(new), _AT_ONCE):
            part = new[at : at + _AT_ONCE]
            self._known.update(zip(part, self._embedder.embed(part), strict=True))
        if new and self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(
                self._file,
                texts=np.array(list(self._known)),
                vectors=np.stack(list(self._known.values())),
            )
        return len(new)

    def readable_text(self, text: str) -> bool:
        """Has it a vector?"""
        return text in self._known

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.learn(texts)
        rows = [self._known[text] for text in texts]
        return np.stack(rows) if rows else np.empty((0, self.dim), np.float32)

    def tokenise(self, texts: Sequence[str]) -> list[_Read]:
        return [_Read(*both) for both in zip(texts, self._embedder.tokenise(texts), strict=True)]

    def readable(self, tokens: _Read) -> bool:
        return self._embedder.readable(tokens.ids)

    def embed_tokens(self, items: Sequence[_Read]) -> NDArray[np.float32]:
        return self.embed([item.text for item in items])

    def pieces(self, text: str) -> Sequence[Piece]:
        return self._embedder.pieces(text)
