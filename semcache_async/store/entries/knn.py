"""How each scope is best searched: by distance to all of it, or by the graph and a filter.

For a filtered KNN, Search 2.10's own choice compares the vector with every entry of the scope
(``ADHOC_BF``) up to sizes where walking the graph (``BATCHES``) is far cheaper: 2.2 ms against
0.4 ms for one scope of 10,000 entries; yet for 10 entries among 10,000 the graph takes 3.5 ms and
the comparison 0.1 ms (docs/decisions.md). So the scope's size decides, and is asked for now and
then.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from semcache_async.store.entries.schema import ENTRY, NOTES, SCOPE
from semcache_async.store.keys import ScopeDigest
from semcache_async.store.wire import Command
from semcache_async.types import VectorQuery

__all__ = ["KnnPlanner"]

_REMEMBERED = 4_096
"""Scopes whose size is remembered."""
_FIRST_S, _LONGEST_S = 0.5, 32.0
"""A size is asked for again after a time that doubles from the first to the longest."""

_BATCH, _BATCH_UP_TO, _BATCH_GROWTH = 40, 100_000, 0.6
"""Candidates the graph walk takes at a time: 40 in an index of up to 100,000 entries, where none
within reach is missed; then growing with the entries to this power, which makes it 160 at a
million. There 40 misses 3 % of the answers and 160 one in 270, for 0.9 ms more."""
_COMPARE_MS, _WALK_MS, _WALK_BATCH_MS = 0.000_65, 0.21, 0.08
"""Cost per entry compared, per walk, and per further batch of candidates: fitted to 16 scope sizes
in indexes of 10,000 and 100,000 (benchmarks/results/scale.md)."""


@dataclass(slots=True)
class _Size:
    entries: int
    due: float
    wait_s: float


class KnnPlanner:
    """Commands that search one index, and what it knows of its scopes' sizes."""

    def __init__(
        self, index: str, *, graph: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._index = index
        self._graph = graph
        self._clock = clock
        self._sizes: OrderedDict[ScopeDigest, _Size] = OrderedDict()
        self._index_size: _Size | None = None

    def search(self, digest: ScopeDigest, query: VectorQuery, vector: bytes) -> Command:
        """``FT.SEARCH`` for the nearest entries of a scope."""
        walk = self._walks(digest, query.neighbours)
        policy = f"HYBRID_POLICY BATCHES BATCH_SIZE {self._batch()} " if walk else ""
        terms, params = scope_filter(digest)
        return (
            *("FT.SEARCH", self._index, f"({terms})=>[KNN $k @vec $v {policy}AS d]"),
            *("PARAMS", 4 + len(params)),
            *params,
            *("k", query.neighbours, "v", vector),
            *(("RETURN", 4, SCOPE) if digest.wide else ("RETURN", 3)),
            *("d", ENTRY, NOTES, "LIMIT", 0, query.neighbours, "DIALECT", 2),
        )

    def questions(self, digests: Iterable[ScopeDigest]) -> dict[ScopeDigest | None, Command]:
        """What to ask, by what to ``learn`` the reply for: sizes of scopes, of the index (None).
        ``FT.INFO`` would say the latter too, but holds Redis for four times as long."""
        if not self._graph:
            return {}
        asked: dict[ScopeDigest | None, Command] = {}
        for digest in digests:
            if self._ask(digest):
                terms, params = scope_filter(digest)
                count: Command = ("FT.SEARCH", self._index, terms, "PARAMS", len(params))
                asked[digest] = (*count, *params, "LIMIT", 0, 0, "DIALECT", 2)
        if self._ask(None):
            asked[None] = ("FT.SEARCH", self._index, "*", "LIMIT", 0, 0, "DIALECT", 2)
        return asked

    def learn(self, digest: ScopeDigest | None, reply: object) -> None:
        """Remember the answer to a question; an error teaches nothing."""
        if not isinstance(reply, dict):
            return
        known = self._size(digest)
        wait_s = min(_LONGEST_S, max(_FIRST_S, 2 * known.wait_s if known else 0.0))
        entries = int(reply[b"total_results"])
        self._remember(digest, _Size(entries, self._clock() + wait_s, wait_s))

    def _batch(self) -> int:
        entries = 0 if self._index_size is None else self._index_size.entries
        return int(_BATCH * max(1.0, entries / _BATCH_UP_TO) ** _BATCH_GROWTH)

    def _walks(self, digest: ScopeDigest, neighbours: int) -> bool:
        size, index = self._size(digest), self._size(None)
        if size is None or index is None or not size.entries:
            return False
        batches = neighbours * max(index.entries, size.entries) / (size.entries * _BATCH)
        return _WALK_MS + _WALK_BATCH_MS * batches < _COMPARE_MS * size.entries

    def _ask(self, digest: ScopeDigest | None) -> bool:
        """Is it time to? Then others need not, until the answer should be here."""
        size = self._size(digest)
        if size is not None and self._clock() < size.due:
            return False
        due = self._clock() + _FIRST_S
        entries, wait_s = (size.entries, size.wait_s) if size else (0, 0.0)
        self._remember(digest, _Size(entries, due, wait_s))
        return True

    def _size(self, digest: ScopeDigest | None) -> _Size | None:
        return self._index_size if digest is None else self._sizes.get(digest)

    def _remember(self, digest: ScopeDigest | None, size: _Size) -> None:
        if digest is None:
            self._index_size = size
            return
        self._sizes[digest] = size
        self._sizes.move_to_end(digest)
        if len(self._sizes) > _REMEMBERED:
            self._sizes.popitem(last=False)


def scope_filter(digest: ScopeDigest) -> tuple[str, tuple[str, ...]]:
    """Query terms that an entry of the scope meets, and their PARAMS."""
    if digest.wide:
        terms, params = "@attr:{$s}", ["s", digest.wide]
    else:
        terms, params = "@scope:{$s}", ["s", digest.scope]
    for number, attribute in enumerate(digest.attributes):
        terms += f" @attr:{{$a{number}}}"
        params += (f"a{number}", attribute)
    return terms, tuple(params)
