"""What the words of two prompts say against serving one's answer to the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from semcache_async.flow.recent import Recent
from semcache_async.protocols import Embedder, TokenEmbedder
from semcache_async.text.erased import Reading, erases
from semcache_async.text.folded import folded_pieces, lowered_pieces
from semcache_async.text.guards import DOUBT, Analysis, Kind, Verdict, analyse, verdict
from semcache_async.types import Piece

__all__ = ["Wording"]

_CASED, _BARE = "US k\u0105t", "us kat"

_REMEMBERED = 4_096
ERASED = "erased"


class Wording:
    """The readings and analyses of prompts, the last ones remembered, each tenant's own: those of a
    long text take a millisecond, which would tell another tenant that it was asked before.

    What the embedder drops is known where it tells of its tokens. One that sees case and accents
    may still put words close together that differ in them alone: those are compared as if they were
    dropped, and where it tells nothing, all that tokenizers drop. Guards, and that, say nothing of
    the texts of an embedder whose ``guarded`` is False (``testing.AngleEmbedder``'s are labels, not
    questions).
    """

    def __init__(
        self, embedder: Embedder | None, *, lenient: bool, guards: Collection[str]
    ) -> None:
        """``embedder``: None where none reads them yet (``read_by``)."""
        self._lenient = lenient
        self._guards = frozenset(guards)
        self._pieces: list[Callable[[str], Sequence[Piece]]] = []
        self._readings = Recent[tuple[str | None, str], tuple[Reading, ...]](_REMEMBERED)
        self._analyses = Recent[tuple[str | None, str], Analysis](_REMEMBERED)
        self.erased = self.guarded = self.doubted = 0
        """Candidates refused, by kind."""
        if embedder is not None:
            self.read_by(embedder)

    def read_by(self, embedder: Embedder) -> None:
        """From now on."""
        guarded = getattr(embedder, "guarded", True)
        self._pieces = list(_pieces_of(embedder, guarded))
        if not guarded:
            self._guards = frozenset()

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
        if not self._pieces:
            return False
        ones, others = self._read(prompt, tenant), self._read(candidate, tenant)
        for one, other in zip(ones, others, strict=True):
            if erases(one, other, lenient=self._lenient):
                return True
        return False

    def objects(self, prompt: str, candidate: str, *, tenant: str | None = None) -> bool:
        """Do the words of the two speak against serving one's answer to the other? Not counted."""
        if not self._guards:
            return False
        return self._verdict(prompt, candidate, tenant).kind is not Kind.ACCEPT

    def _verdict(self, prompt: str, candidate: str, tenant: str | None) -> Verdict:
        one, other = self._analysis(prompt, tenant), self._analysis(candidate, tenant)
        return verdict(one, other, self._guards)

    def _read(self, text: str, tenant: str | None) -> tuple[Reading, ...]:
        readings = self._readings.get((tenant, text))
        if readings is None:
            readings = tuple(Reading(text, pieces(text)) for pieces in self._pieces)
            self._readings.put((tenant, text), readings)
        return readings

    def _analysis(self, text: str, tenant: str | None) -> Analysis:
        analysis = self._analyses.get((tenant, text))
        if analysis is None:
            analysis = analyse(text)
            self._analyses.put((tenant, text), analysis)
        return analysis


def _pieces_of(embedder: Embedder, guarded: bool) -> Iterator[Callable[[str], Sequence[Piece]]]:
    """The ways in which texts are taken apart to be compared."""
    if not isinstance(embedder, TokenEmbedder):
        if guarded:
            yield folded_pieces
        return
    yield embedder.pieces
    cased, bare = ([piece.id for piece in embedder.pieces(text)] for text in (_CASED, _BARE))
    if cased != bare:
        yield lowered_pieces
