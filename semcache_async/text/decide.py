"""The decision: may this neighbour's answer be served for that prompt?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

__all__ = ["Candidate", "Decision", "Policy", "Reason", "Refusal", "Refused", "decide"]


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
    REFUSED = "refused"
    """All that were near enough were refused for their words."""


Refusal: TypeAlias = Callable[[str, str], str | None]
"""What speaks against serving a second prompt's answer to the first, however near they are:
``erased``, the name of a guard, or ``doubt``."""


def _nothing(_prompt: str, _candidate: str) -> None:
    return None


class Policy(NamedTuple):
    """What a neighbour has to meet."""

    max_distance: float
    refusal: Refusal = _nothing


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


def decide(prompt: str, candidates: Iterable[C], policy: Policy) -> Decision[C]:
    """The nearest acceptable candidate. The same decision serves stored answers and admits
    followers to flights. A distance that is not a number is never acceptable.
    """
    ranked = sorted((c for c in candidates if c.distance == c.distance), key=lambda c: c.distance)
    if not ranked:
        return Decision(None, Reason.NO_NEIGHBOUR, None)
    refused: list[Refused[C]] = []
    for candidate in ranked:
        if candidate.distance > policy.max_distance:
            break
        by = policy.refusal(prompt, candidate.prompt)
        if by is None:
            return Decision(candidate, Reason.ACCEPTED, ranked[0], tuple(refused))
        refused.append(Refused(candidate, by))
    reason = Reason.REFUSED if refused else Reason.TOO_FAR
    return Decision(None, reason, ranked[0], tuple(refused))
