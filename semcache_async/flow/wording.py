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
    """The readings and analyses of prompts, the last ones remembered, each tenant's own: those of a
    long text take a millisecond, which would tell another tenant that it was asked before.

    What an embedder does not tell of its tokens is not compared; guards say nothing of the texts of
    an embedder whose ``guarded`` is False (``testing.AngleEmbedder``'s are labels, not questions).
    """

    def __init__(self, embedder: Embedder, *, lenient: bool, guards: Collection[str]) -> None:
        self._embedder = embedder if isinstance(embedder, TokenEmbedder) else None
        self._lenient = lenient
        self._guards = frozenset(guards) if getattr(embedder, "guarded", True) else frozenset()
        self._readings = Recent[tuple[str | None, str], Reading](_REMEMBERED)
        self._analyses = Recent[tuple[str | None, str], Analysis](_REMEMBERED)
        self.erased = self.guarded = self.doubted = 0
        """Candidates refused, by kind."""

    def refusal(self, prompt: str, candidate: str, *, tenant: str | None = None) -> str | None:
        """``erased`` where the two differ in what the embedder drops, the name of the guard that
        refuses or doubts, ``doubt`` for any other small difference; None where none does.
        ``tenant``: whose prompts they are; None for the cache's own purposes."""
        if prompt == candidate:
            return None
        if self.erases(prompt, candidate, tenant=tenant):
            self.erased += 1
            return ERASED
        if not self._guards:
            return None
        found = self._verdict(prompt, candidate, tenant)
        if found.kind is Kind.ACCEPT:
            return None
        if found.kind is Kind.REFUSE:
            self.guarded += 1
        else:
            self.doubted += 1
        return found.guard or DOUBT

    def erases(self, prompt: str, candidate: str, *, tenant: str | None = None) -> bool:
        """Do the two differ in what the embedder drops?"""
        if self._embedder is None:
            return False
        texts = (prompt, candidate)
        one, other = (self._reading(self._embedder, text, tenant) for text in texts)
        return erases(one, other, lenient=self._lenient)

    def objects(self, prompt: str, candidate: str, *, tenant: str | None = None) -> bool:
        """Do the words of the two speak against serving one's answer to the other? Not counted."""
        if not self._guards:
            return False
        return self._verdict(prompt, candidate, tenant).kind is not Kind.ACCEPT

    def _verdict(self, prompt: str, candidate: str, tenant: str | None) -> Verdict:
        one, other = self._analysis(prompt, tenant), self._analysis(candidate, tenant)
        return verdict(one, other, self._guards)

    def _reading(self, embedder: TokenEmbedder, text: str, tenant: str | None) -> Reading:
        reading = self._readings.get((tenant, text))
        if reading is None:
            reading = Reading(text, embedder.pieces(text))
            self._readings.put((tenant, text), reading)
        return reading

    def _analysis(self, text: str, tenant: str | None) -> Analysis:
        analysis = self._analyses.get((tenant, text))
        if analysis is None:
            analysis = analyse(text)
            self._analyses.put((tenant, text), analysis)
        return analysis
