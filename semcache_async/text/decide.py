"""The decision: may this neighbour's answer be served for that prompt?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

__all__ = [
    "UNSCORED",
    "TOO_FAR",
    "VERIFIER",
    "Candidate",
    "Decision",
    "Policy",
    "Reason",
    "Refusal",
    "Refused",
    "Standing",
    "decide",
]


class Candidate(Protocol):
    """A stored entry or the leader of a flight, seen from a prompt."""

    @property
    def distance(self) -> float:
        """Cosine distance to the prompt, 0..2."""

    @property
    def prompt(self) -> str:
        """The candidate's own prompt."""

    @property
    def notes(self) -> bytes | None:
        """What was learnt of its answer; None for one that is still being made."""


C = TypeVar("C", bound=Candidate)


class Reason(StrEnum):
    """Why a decision came out as it did."""

    ACCEPTED = "accepted"
    NO_NEIGHBOUR = "no_neighbour"
    TOO_FAR = "too_far"
    REFUSED = "refused"
    """All that were near enough were refused for their words."""


TOO_FAR = "distance"
VERIFIER = "verifier"
"""The verifier said no."""
UNSCORED = "unscored"
"""It has said nothing yet, or could not: that counts as no."""

Refusal: TypeAlias = Callable[[str, str], str | None]
"""What speaks against serving a second prompt's answer to the first, however near they are:
``erased``, the name of a guard, or ``doubt``; where a verifier speaks, ``VERIFIER`` or
``UNSCORED``."""


class Standing(StrEnum):
    """What is known of serving one candidate's answer to one prompt."""

    OPEN = "open"
    """Nothing: distance and words decide."""
    RIGHT = "right"
    """It was judged right: served, whatever distance and words say."""
    VERDICT = "verdict"
    """It lies as far off as what was judged wrong."""
    UNVERIFIED = "unverified"
    """The entry has too few verdicts to serve it at this distance."""


def _nothing(_prompt: str, _candidate: str) -> None:
    return None


def _open(_prompt: str, _candidate: Candidate) -> Standing:
    return Standing.OPEN


class Policy(NamedTuple):
    """What a neighbour has to meet."""

    max_distance: float
    """Negative: nothing is served by distance."""
    refusal: Refusal = _nothing
    standing: Callable[[str, Any], Standing] = _open
    """What is known of a candidate for a prompt."""
    ceiling: float = -1.0
    """How far, where that is more, an answer may lie that was judged right for the very prompt."""
    verifier: Refusal | None = None
    """What a verifier has said, which is heard last; None: there is none."""

    def refused_by(self, prompt: str, candidate: Candidate) -> str | None:
        """What speaks against serving a candidate's answer to a prompt; ``distance`` where nothing
        else does."""
        standing = self.standing(prompt, candidate)
        if standing is Standing.RIGHT and candidate.distance <= self.ceiling:
            return None
        if standing in (Standing.OPEN, Standing.RIGHT):
            found = self.refusal(prompt, candidate.prompt)
            if found or candidate.distance > self.max_distance:
                return found or TOO_FAR
            return self.verifier and self.verifier(prompt, candidate.prompt)
        return standing.value

    def at_most(self, limit: float) -> Policy:
        """This, tightened to a distance."""
        return self._replace(
            max_distance=min(self.max_distance, limit), ceiling=min(self.ceiling, limit)
        )


class Refused(NamedTuple, Generic[C]):
    """A candidate that was near enough, and what spoke against it."""

    candidate: C
    by: str


class Decision(NamedTuple, Generic[C]):
    """``chosen`` may be served; None where no candidate may. ``nearest`` is the best one seen, and
    ``reason`` says how it came out."""

    chosen: C | None
    reason: Reason
    nearest: C | None
    refused: tuple[Refused[C], ...] = ()
    """Nearer than ``chosen``, and not served."""

    @property
    def undecided(self) -> Sequence[str]:
        """The prompts, nearest first, of candidates of which one might be chosen if a verifier were
        asked."""
        if self.chosen is not None:
            return ()
        return [candidate.prompt for candidate, by in self.refused if by == UNSCORED]


def decide(prompt: str, candidates: Iterable[C], policy: Policy) -> Decision[C]:
    """The nearest acceptable candidate. The same decision serves stored answers and admits
    followers to flights. A distance that is not a number is never acceptable.
    """
    ranked = sorted((c for c in candidates if c.distance == c.distance), key=lambda c: c.distance)
    if not ranked:
        return Decision(None, Reason.NO_NEIGHBOUR, None)
    refused: list[Refused[C]] = []
    farthest = max(policy.max_distance, policy.ceiling)
    for candidate in ranked:
        if candidate.distance > farthest:
            break
        if candidate.distance > policy.max_distance and (
            policy.standing(prompt, candidate) is not Standing.RIGHT
        ):
            continue
        by = policy.refused_by(prompt, candidate)
        if by is None:
            return Decision(candidate, Reason.ACCEPTED, ranked[0], tuple(refused))
        refused.append(Refused(candidate, by))
        if by == Standing.UNVERIFIED:
            break  # it is to be asked of, and not to be passed over for one farther off
    reason = Reason.REFUSED if refused else Reason.TOO_FAR
    return Decision(None, reason, ranked[0], tuple(refused))
