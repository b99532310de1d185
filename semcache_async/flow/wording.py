"""What the words of two prompts say against serving one's answer to the other."""

from __future__ import annotations

from collections.abc import Collection

from semcache_async.flow.recent import Recent
from semcache_async.protocols import Embedder, TokenEmbedder
from semcache_async.text.erased import Reading, erases
from semcache_async.text.guards import DOUBT, Analysis, Kind, Verdict, analyse, verdict

__all__ = ["Wording"]

_REMEMBERED = 4_096
ERASED = "erased"


class Wording:
    """The readings and analyses of prompts, the last ones remembered.

    What an embedder does not tell of its tokens is not compared; guards say nothing of the texts of
    an embedder whose ``guarded`` is False (``testing.AngleEmbedder``'s are labels, not questions).
    """

    def __init__(self, embedder: Embedder, *, lenient: bool, guards: Collection[str]) -> None:
        self._embedder = embedder if isinstance(embedder, TokenEmbedder) else None
        self._lenient = lenient
        self._guards = frozenset(guards) if getattr(embedder, "guarded", True) else frozenset()
        self._readings = Recent[str, Reading](_REMEMBERED)
        self._analyses = Recent[str, Analysis](_REMEMBERED)
        self.erased = self.guarded = self.doubted = 0
        """Candidates refused, by kind."""

    def refusal(self, prompt: str, candidate: str) -> str | None:
        """``erased`` where the two differ in what the embedder drops, the name of the guard that
        refuses or doubts, ``doubt`` for any other small difference; None where none does."""
        if prompt == candidate:
            return None
        if self.erases(prompt, candidate):
            self.erased += 1
            return ERASED
        if not self._guards:
            return None
        found = self._verdict(prompt, candidate)
        if found.kind is Kind.ACCEPT:
            return None
        if found.kind is Kind.REFUSE:
            self.guarded += 1
        else:
            self.doubted += 1
        return found.guard or DOUBT

    def erases(self, prompt: str, candidate: str) -> bool:
        """Do the two differ in what the embedder drops?"""
        if self._embedder is None:
            return False
        one, other = (self._reading(self._embedder, text) for text in (prompt, candidate))
        return erases(one, other, lenient=self._lenient)

    def objects(self, prompt: str, candidate: str) -> bool:
        """Do the words of the two speak against serving one's answer to the other? Not counted."""
        return bool(self._guards) and self._verdict(prompt, candidate).kind is not Kind.ACCEPT

    def _verdict(self, prompt: str, candidate: str) -> Verdict:
        return verdict(self._analysis(prompt), self._analysis(candidate), self._guards)

    def _reading(self, embedder: TokenEmbedder, text: str) -> Reading:
        reading = self._readings.get(text)
        if reading is None:
            reading = Reading(text, embedder.pieces(text))
            self._readings.put(text, reading)
        return reading

    def _analysis(self, text: str) -> Analysis:
        analysis = self._analyses.get(text)
        if analysis is None:
            analysis = analyse(text)
            self._analyses.put(text, analysis)
        return analysis
