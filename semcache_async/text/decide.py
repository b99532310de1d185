"""The decision: may this neighbour's answer be served for that prompt?"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Generic, NamedTuple, Protocol, TypeVar

__all__ = ["Candidate", "Decision", "Policy", "Reason", "decide"]


class Candidate(Protocol):
    """A stored entry or the leader of a flight, seen from a prompt."""

    @property
    def distance(self) -> float:
        """Cosine distance to the prompt, 0..2."""

    @property
    def prompt(self) -> str:
        """The candidate's own prompt."""


C = TypeVar("C", bound=Candidate)


class Policy(NamedTuple):
    """What a neighbour has to meet."""

    max_distance: float


class Reason(StrEnum):
    """Why a decision came out as it did."""

    ACCEPTED = "accepted"
    NO_NEIGHBOUR = "no_neighbour"
    TOO_FAR = "too_far"


class Decision(NamedTuple, Generic[C]):
    """``chosen`` may be served; None where no candidate may. ``nearest`` is the best one seen."""

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
    if ranked[0].distance <= policy.max_distance:
        return Decision(ranked[0], Reason.ACCEPTED, ranked[0])
    return Decision(None, Reason.TOO_FAR, ranked[0])
