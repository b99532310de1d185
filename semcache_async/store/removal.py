"""Finding what to delete: every entry of a scope, or with a tag, or of a list of ids."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from semcache_async.store.keys import KeySpace
from semcache_async.store.knn import scope_filter
from semcache_async.store.payload import read_ids
from semcache_async.store.schema import ATTRIBUTES, SCOPE, TAGS
from semcache_async.store.wire import Command
from semcache_async.types import Scope

__all__ = ["entries_filter", "remove"]

_PAGE = 1_000

Execute = Callable[[Sequence[Command]], Awaitable[list[Any]]]
"""Runs commands; returns their replies or raises the first error among them."""


async def remove(
    execute: Execute,
    keys: KeySpace,
    *,
    scope: Scope | None,
    tags: Collection[str],
    entry_ids: Collection[str],
) -> int:
    """Delete the entries that meet every condition named; of ``tags``, any one will do."""
    if not entry_ids:
        return await _remove_found(execute, keys, scope, tags)
    ids = [id_ for id_ in entry_ids if _is_entry_id(id_)]
    if scope is not None or tags:
        ids = await _meeting(execute, keys, ids, scope, tags)
    return await _unlink(execute, [keys.key(id_).encode() for id_ in ids])


async def _remove_found(
    execute: Execute, keys: KeySpace, scope: Scope | None, tags: Collection[str]
) -> int:
    query, params = entries_filter(keys, scope, tags)
    removed = survivors = 0
    while True:
        command = ("FT.SEARCH", keys.index, query, *params)
        page = ("NOCONTENT", "LIMIT", survivors, _PAGE, "DIALECT", 2)
        found = read_ids((await execute([(*command, *page)]))[0])
        if not found:
            return removed
        gone = await _unlink(execute, found)
        removed += gone
        survivors += len(found) - gone


def entries_filter(
    keys: KeySpace, scope: Scope | None, tags: Collection[str]
) -> tuple[str, Command]:
    """A query that the entries of ``scope`` (None: any) with any of ``tags`` meet, and its
    PARAMS."""
    terms: list[str] = []
    params: list[str] = []
    if scope is not None:
        term, values = scope_filter(keys.scope(scope))
        terms.append(term)
        params += values
    if tags:
        terms.append("@tags:{" + "|".join(f"$t{n}" for n in range(len(tags))) + "}")
        for n, tag in enumerate(tags):
            params += (f"t{n}", keys.tag(tag))
    if not terms:
        return "*", ()
    return " ".join(terms), ("PARAMS", len(params), *params)


async def _meeting(
    execute: Execute,
    keys: KeySpace,
    ids: Sequence[str],
    scope: Scope | None,
    tags: Collection[str],
) -> list[str]:
    digest = None if scope is None else keys.scope(scope)
    needed = set() if digest is None else {a.encode() for a in digest.attributes}
    wanted = {keys.tag(tag).encode() for tag in tags}
    rows = await execute([("HMGET", keys.key(id_), SCOPE, ATTRIBUTES, TAGS) for id_ in ids])
    meeting = []
    for id_, (held_scope, attributes, held_tags) in zip(ids, rows, strict=True):
        if digest is not None and held_scope != digest.scope.encode():
            continue
        if not needed <= set((attributes or b"").split(b",")):
            continue
        if wanted and wanted.isdisjoint((held_tags or b"").split(b",")):
            continue
        meeting.append(id_)
    return meeting


async def _unlink(execute: Execute, keys: Sequence[bytes]) -> int:
    pages = [keys[start : start + _PAGE] for start in range(0, len(keys), _PAGE)]
    return sum(await execute([("UNLINK", *page) for page in pages]))


def _is_entry_id(text: object) -> bool:
    return isinstance(text, str) and len(text) == 32 and not set(text) - set("0123456789abcdef")
