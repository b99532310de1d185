"""The decision: may this neighbour's answer be served for that prompt?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

__all__ = ["Candidate", "Decision", "Policy", "Reason", "Refusal", "decide"]


class Candidate(Protocol):
    """A stored entry or the leader of a flight, seen from a prompt."""

    @property
    def distance(self) -> float:
        """Cosine distance to the prompt, 0..2."""

    @property
    def prompt(self) -> str:
        """The candidate's own prompt."""


C = TypeVar("C", bound=Candidate)


class Reason(StrEnum):
    """Why a decision came out as it did."""

    ACCEPTED = "accepted"
    NO_NEIGHBOUR = "no_neighbour"
    TOO_FAR = "too_far"
    ERASED = "erased"
    """The prompts differ in what the model could not see."""


Refusal: TypeAlias = Callable[[str, str], Reason | None]
"""What speaks against serving a second prompt's answer to the first, however near they are."""


def _nothing(_prompt: str, _candidate: str) -> None:
    return None


class Policy(NamedTuple):
    """What a neighbour has to meet."""

    max_distance: float
    refusal: Refusal = _nothing


class Decision(NamedTuple, Generic[C]):
    """``chosen`` may be served; None where no candidate may. ``nearest`` is the best one seen, and
    ``reason`` says why it was taken, or why not."""

    chosen: C | None
    reason: Reason
    nearest: C | None


def decide(prompt: str, candidates: Iterable[C], policy: Policy) -> Decision[C]:
    """The nearest acceptable candidate. The same decision serves stored answers and admits
    followers to flights. A distance that is not a number is never acceptable.
    """
    ranked = sorted((c for c in candidates if c.distance == c.distance), key=lambda c: c.distance)
    if not ranked:
        return Decision(None, Reason.NO_NEIGHBOUR, None)
    reason: Reason | None = None
    for candidate in ranked:
        if candidate.distance > policy.max_distance:
            return Decision(None, reason or Reason.TOO_FAR, ranked[0])
        refused = policy.refusal(prompt, candidate.prompt)
        if refused is None:
            return Decision(candidate, Reason.ACCEPTED, ranked[0])
        reason = reason or refused
    return Decision(None, reason or Reason.NO_NEIGHBOUR, ranked[0])
