"""What a guard is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from semcache_async.text.guards.analysis import Analysis
from semcache_async.text.guards.difference import Difference

__all__ = ["Guard"]


class Guard(NamedTuple):
    """One reason not to serve a neighbour's answer. Calling it with two analyses says whether
    this reason holds; it depends on nothing else."""

    name: str
    refuses: str
    check: Callable[[Difference], bool]
    sure: bool = True
    """Whether what it says is a refusal; otherwise it is a doubt, for a judge to settle."""

    def __call__(self, a: Analysis, b: Analysis) -> bool:
        return self.check(Difference(a, b))
