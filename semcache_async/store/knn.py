"""How each scope is best searched: by distance to all of it, or by the graph and a filter.

For a filtered KNN, Search 2.10's own choice compares the vector with every entry of the scope
(``ADHOC_BF``) up to sizes where walking the graph (``BATCHES``) is far cheaper: 1.9 ms against
0.25 ms for one scope of 10,000 entries; yet for 10 entries among 10,000 the graph takes 3 ms and
the comparison 0.1 ms (docs/decisions.md). So the scope's size decides, and is asked for now and
then.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from semcache_async.store.keys import ScopeDigest
from semcache_async.store.schema import ENTRY
from semcache_async.store.wire import Command
from semcache_async.types import VectorQuery

__all__ = ["KnnPlanner"]

_REMEMBERED = 4_096
"""Scopes whose size is remembered."""
_FIRST_S, _LONGEST_S = 0.5, 32.0
"""A size is asked for again after a time that doubles from the first to the longest."""

_BATCH = 40
"""Candidates the graph walk takes at a time."""
_COMPARE_MS, _WALK_MS, _WALK_BATCH_MS = 0.000_19, 0.15, 0.06
"""Cost per entry compared, per walk, and per further batch of candidates (MiniLM, 2-core Zen 3)."""


@dataclass(slots=True)
class _Size:
    entries: int
    total: int
    due: float
    wait_s: float

    def walk(self, neighbours: int) -> bool:
        """Is walking the graph cheaper than comparing with every entry of the scope?"""
        if not self.entries:
            return False
        batches = neighbours * self.total / (self.entries * _BATCH)
        return _WALK_MS + _WALK_BATCH_MS * batches < _COMPARE_MS * self.entries


class KnnPlanner:
    """Commands that search one index, and what it knows of its scopes' sizes."""

    def __init__(
        self, index: str, *, graph: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._index = index
        self._graph = graph
        self._clock = clock
        self._sizes: OrderedDict[ScopeDigest, _Size] = OrderedDict()

    def search(self, digest: ScopeDigest, query: VectorQuery, vector: bytes) -> Command:
        """``FT.SEARCH`` for the nearest entries of a scope."""
        size = self._sizes.get(digest)
        walk = size is not None and size.walk(query.neighbours)
        policy = f"HYBRID_POLICY BATCHES BATCH_SIZE {_BATCH} " if walk else ""
        terms, params = scope_filter(digest)
        return (
            *("FT.SEARCH", self._index, f"({terms})=>[KNN $k @vec $v {policy}AS d]"),
            *("PARAMS", 4 + len(params)),
            *params,
            *("k", query.neighbours, "v", vector),
            *("RETURN", 2, "d", ENTRY, "LIMIT", 0, query.neighbours, "DIALECT", 2),
        )

    def due(self, digest: ScopeDigest) -> bool:
        """Should the scope's size be asked for? Then send ``questions``."""
        if not self._graph:
            return False
        size = self._sizes.get(digest)
        return size is None or self._clock() >= size.due

    def questions(self, digest: ScopeDigest) -> tuple[Command, Command]:
        """What to ask for the sizes of the scope and of the index; ``learn`` takes the replies."""
        terms, params = scope_filter(digest)
        count: Command = ("FT.SEARCH", self._index, terms, "PARAMS", len(params))
        return (*count, *params, "LIMIT", 0, 0, "DIALECT", 2), ("FT.INFO", self._index)

    def learn(self, digest: ScopeDigest, counted: object, info: object) -> None:
        """Remember the answers to ``questions``; an error among them teaches nothing."""
        if not isinstance(counted, dict) or not isinstance(info, dict):
            return
        known = self._sizes.pop(digest, None)
        wait_s = _FIRST_S if known is None else min(_LONGEST_S, known.wait_s * 2)
        entries, total = int(counted[b"total_results"]), int(info[b"num_docs"])
        self._sizes[digest] = _Size(entries, total, self._clock() + wait_s, wait_s)
        if len(self._sizes) > _REMEMBERED:
            self._sizes.popitem(last=False)


def scope_filter(digest: ScopeDigest) -> tuple[str, tuple[str, ...]]:
    """Query terms that an entry of the scope meets, and their PARAMS."""
    terms, params = "@scope:{$s}", ["s", digest.scope]
    for number, attribute in enumerate(digest.attributes):
        terms += f" @attr:{{$a{number}}}"
        params += (f"a{number}", attribute)
    return terms, tuple(params)
