"""Deleting entries: every one that meets all conditions named, a few at a time.

Taking a vector out of an HNSW graph costs Redis .1 to .5 ms, and it serves nobody meanwhile
(docs/decisions.md), so a page is as many entries as take it half a millisecond, and between pages
others have twice as long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from semcache_async.errors import StoreError
from semcache_async.store.entries.knn import scope_filter
from semcache_async.store.entries.payload import read_results
from semcache_async.store.entries.schema import ATTRIBUTES, ENTRY, SCOPE, TAGS, TENANT
from semcache_async.store.entries.walking import Execute, walk
from semcache_async.store.keys import KeySpace, ScopeDigest, plain
from semcache_async.store.wire import Command
from semcache_async.types import Scope

__all__ = ["Pages", "Removal", "entries_filter"]

_FOUND_AT_ONCE = 100
"""Keys that one reading of the cursor brings: .3 ms."""
_PAGE_FIRST, _PAGE_MAX = 2, 100
_PAGE_S, _PAGE_MAX_S = 0.0005, 0.001
_WAIT_SHARE, _SHARE = 0.25, 1 / 3
"""A page takes Redis the longer, from the first to the second, the longer everybody waits for it:
this share of a round trip. All pages take no more than that share of its time."""
_PASSES = 3
"""Searches whose results Redis may cut short before that is an error."""

_SHOWN = (ENTRY, SCOPE)

Rows: TypeAlias = list[tuple[bytes, Mapping[bytes, Any]]]


class Removal:
    """One removal: its conditions as Redis sees them. Without any, it concerns nothing."""

    def __init__(
        self,
        keys: KeySpace,
        *,
        scope: Scope | None,
        tenant: str | None,
        tags: Collection[str],
        entry_ids: Collection[str],
    ) -> None:
        self._keys = keys
        self._digest = None if scope is None else keys.scope(scope)
        self._tenant = None if tenant is None else keys.tenant(tenant)
        self._tags = list(dict.fromkeys(keys.tag(tag) for tag in tags))
        self._by_id = bool(entry_ids)
        self._ids = [plain(id_) for id_ in dict.fromkeys(entry_ids) if _is_entry_id(id_)]

    @property
    def tenant(self) -> str:
        """The digest of the tenant whose entries alone it may concern; "": any tenant's."""
        return self._tenant or ("" if self._digest is None else self._digest.tenant)

    @property
    def searches(self) -> bool:
        """Does it need the index?"""
        return not self._by_id and self.possible

    @property
    def possible(self) -> bool:
        """Can any entry meet the conditions?"""
        if self._digest is not None and self._tenant not in {None, self._digest.tenant}:
            return False
        if self._by_id:
            return bool(self._ids)
        return bool(self._digest or self._tenant or self._tags)

    def claims(self) -> tuple[str, Command] | None:
        """A query that the claims concerned meet, and its PARAMS."""
        if not self.possible:
            return None
        if not self._by_id:
            return _filter(self._digest, self._tenant, self._tags)
        any_of = "|".join(f"$i{n}" for n in range(len(self._ids)))
        params = [part for n, id_ in enumerate(self._ids) for part in (f"i{n}", id_)]
        return f"@entry_id:{{{any_of}}}", ("PARAMS", len(params), *params)

    def fences(self) -> list[str]:
        """The keys of the fences to raise before ``run``."""
        if not self.possible:
            return []
        return list(self._keys.removal_fences(self._digest, self._tenant, self._tags, self._ids))

    async def run(self, execute: Execute) -> int:
        """Delete, and return how many were deleted."""
        if not self.possible:
            return 0
        pages = Pages(execute)
        if self._by_id:
            removed = 0
            for start in range(0, len(self._ids), _FOUND_AT_ONCE):
                ids = await self._meeting(execute, self._ids[start : start + _FOUND_AT_ONCE])
                removed += await pages.unlink([self._keys.key(id_).encode() for id_ in ids])
            return removed
        query, params = _filter(self._digest, self._tenant, self._tags)
        return await _remove_found(execute, pages, self._keys.index, query, params)

    async def look(self, execute: Execute, examples: int) -> tuple[int, Rows]:
        """How many ``run`` would delete, and the key and fields of up to ``examples``."""
        if not self.possible:
            return 0, []
        if self._by_id:
            rows: Rows = []
            for start in range(0, len(self._ids), _FOUND_AT_ONCE):
                ids = await self._meeting(execute, self._ids[start : start + _FOUND_AT_ONCE])
                keys = [self._keys.key(id_) for id_ in ids]
                found = await execute([("HMGET", key, *_SHOWN) for key in keys])
                for key, values in zip(keys, found, strict=True):
                    if any(values):
                        rows.append((key.encode(), dict(zip(_SHOWN, values, strict=True))))
            return len(rows), rows[:examples]
        query, params = _filter(self._digest, self._tenant, self._tags)
        shown = ("RETURN", len(_SHOWN), *_SHOWN, "LIMIT", 0, examples, "DIALECT", 2)
        (reply,) = await execute([("FT.SEARCH", self._keys.index, query, *params, *shown)])
        rows = read_results(reply)
        return int(reply[b"total_results"]), rows

    async def _meeting(self, execute: Execute, ids: list[str]) -> list[str]:
        digest = self._digest
        if not (digest or self._tenant or self._tags):
            return ids
        needed = set() if digest is None else {one.encode() for one in digest.attributes}
        wanted = {tag.encode() for tag in self._tags}
        fields = (SCOPE, TENANT, ATTRIBUTES, TAGS)
        rows = await execute([("HMGET", self._keys.key(id_), *fields) for id_ in ids])
        meeting = []
        for id_, (scope, tenant, attributes, tags) in zip(ids, rows, strict=True):
            if digest is not None and scope != digest.scope.encode():
                continue
            if self._tenant is not None and tenant != self._tenant.encode():
                continue
            if not needed <= set((attributes or b"").split(b",")):
                continue
            if wanted and wanted.isdisjoint((tags or b"").split(b",")):
                continue
            meeting.append(id_)
        return meeting


def entries_filter(
    keys: KeySpace, tags: Collection[str] = (), tenant: str | None = None
) -> tuple[str, Command]:
    """A query that the entries with any of ``tags`` (all where none is named) of ``tenant`` (of
    any where it is None) meet, and its PARAMS."""
    named = None if tenant is None else keys.tenant(tenant)
    return _filter(None, named, [keys.tag(tag) for tag in tags])


def _filter(
    digest: ScopeDigest | None, tenant: str | None, tags: Sequence[str]
) -> tuple[str, Command]:
    terms: list[str] = []
    params: list[str] = []
    if digest is not None:
        term, values = scope_filter(digest)
        terms.append(term)
        params += values
    if tenant is not None:
        terms.append("@tenant:{$n}")
        params += ("n", tenant)
    if tags:
        terms.append("@tags:{" + "|".join(f"$t{n}" for n in range(len(tags))) + "}")
        for n, tag in enumerate(tags):
            params += (f"t{n}", tag)
    if not terms:
        return "*", ()
    return " ".join(terms), ("PARAMS", len(params), *params)


async def _remove_found(
    execute: Execute, pages: Pages, index: str, query: str, params: Command
) -> int:
    """What expires meanwhile, or cannot be deleted, is passed by."""
    removed = 0

    async def visit(keys: list[bytes]) -> None:
        nonlocal removed
        removed += await pages.unlink(keys)

    for _ in range(_PASSES):
        if await walk(execute, index, query, params, visit, at_once=_FOUND_AT_ONCE):
            return removed
    raise StoreError(
        f"{removed} entries were deleted, and Redis did not come to the end of looking for more; "
        "raise the server's search-timeout, and invalidate again."
    )


class Pages:
    """Deletes keys, a page at a time, by what Redis's own clock says that they take."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute
        self._size = _PAGE_FIRST

    async def unlink(self, keys: Sequence[bytes]) -> int:
        removed = 0
        for page in self._cut(keys):
            sent = time.perf_counter()
            began, count, ended = await self._execute([("TIME",), ("UNLINK", *page), ("TIME",)])
            waited = time.perf_counter() - sent
            took = max(_seconds(ended) - _seconds(began), 1e-5)
            removed += count
            if len(page) == self._size:
                page_s = min(max(_PAGE_S, waited * _WAIT_SHARE), _PAGE_MAX_S)
                aim = self._size * page_s / took
                self._size = int(min(max(aim, self._size / 2, 1), self._size * 2, _PAGE_MAX))
            await asyncio.sleep(max(0.0, took / _SHARE - waited))
        return removed

    def _cut(self, keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
        start = 0
        while start < len(keys):
            page = keys[start : start + self._size]
            start += len(page)
            yield page


def _seconds(parts: Sequence[bytes]) -> float:
    """What ``TIME`` answers."""
    return int(parts[0]) + int(parts[1]) / 1e6


def _is_entry_id(text: object) -> bool:
    return isinstance(text, str) and len(text) == 32 and not set(text) - set("0123456789abcdef")
