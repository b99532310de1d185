"""What the model saw of two prompts: they are never matched by what it could not see."""

from __future__ import annotations

from semcache_async.flow.recent import Recent
from semcache_async.protocols import Embedder, TokenEmbedder
from semcache_async.text.decide import Reason
from semcache_async.text.erased import Reading, erases

__all__ = ["Readings"]

_REMEMBERED = 4_096


class Readings:
    """The readings of prompts by one embedder, the last ones remembered. An embedder that does not
    tell its tokens refuses nothing."""

    def __init__(self, embedder: Embedder, *, lenient: bool) -> None:
        self._embedder = embedder if isinstance(embedder, TokenEmbedder) else None
        self._lenient = lenient
        self._remembered = Recent[str, Reading](_REMEMBERED)
        self.refused = 0
        """Candidates refused."""

    def refusal(self, prompt: str, candidate: str) -> Reason | None:
        """``Reason.ERASED`` where the two differ in what the embedder drops."""
        if self._embedder is None or prompt == candidate:
            return None
        one, other = self._read(self._embedder, prompt), self._read(self._embedder, candidate)
        if not erases(one, other, lenient=self._lenient):
            return None
        self.refused += 1
        return Reason.ERASED

    def _read(self, embedder: TokenEmbedder, text: str) -> Reading:
        reading = self._remembered.get(text)
        if reading is None:
            reading = Reading(text, embedder.pieces(text))
            self._remembered.put(text, reading)
        return reading
