"""Guards: what a vector does not see, between a neighbour and a hit.

``analyse`` reads a prompt once; ``verdict`` compares two and says whether the answer of one may
be served to the other: yes, no (and which guard says so), or in doubt, which is no until somebody
who can judge has confirmed this very pair. All of it is pure: the same texts, the same verdict.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import NamedTuple

from semcache_async.text.guards.analysis import Analysis, analyse
from semcache_async.text.guards.checks import GUARDS, doubtful
from semcache_async.text.guards.difference import Difference
from semcache_async.text.guards.guard import Guard

__all__ = [
    "DEFAULT",
    "DOUBT",
    "GUARDS",
    "Analysis",
    "Guard",
    "Kind",
    "Verdict",
    "analyse",
    "verdict",
]

DOUBT = "doubt"
"""The name under which doubt is switched, beside the guards."""
DEFAULT: frozenset[str] = frozenset({*GUARDS, DOUBT})
"""What is on unless a configuration says otherwise."""


class Kind(StrEnum):
    ACCEPT = "accept"
    REFUSE = "refuse"
    DOUBT = "doubt"


class Verdict(NamedTuple):
    kind: Kind
    guard: str | None = None
    """Which guard refused or doubts; None for the doubt about any other small difference."""

    @property
    def served(self) -> bool:
        """Whether distance alone may decide."""
        return self.kind is Kind.ACCEPT


_ACCEPT = Verdict(Kind.ACCEPT)
_DOUBT = Verdict(Kind.DOUBT)
_AGAINST = {
    name: Verdict(Kind.REFUSE if guard.sure else Kind.DOUBT, name) for name, guard in GUARDS.items()
}


def verdict(a: Analysis, b: Analysis, guards: Collection[str] = DEFAULT) -> Verdict:
    """May what answers one prompt be served to the other, as far as their words tell?"""
    if a.text == b.text:
        return _ACCEPT
    difference = Difference(a, b)
    for guard in GUARDS.values():
        if guard.name in guards and guard.check(difference):
            return _AGAINST[guard.name]
    if DOUBT in guards and doubtful(difference):
        return _DOUBT
    return _ACCEPT
