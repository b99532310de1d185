"""Going through what a query finds, once and in bounded memory: a cursor has no ceiling."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from semcache_async.errors import StoreError
from semcache_async.store.entries.payload import read_page
from semcache_async.store.wire import Command

__all__ = ["Execute", "walk"]

_IDLE_MS = 300_000
"""How long a cursor waits for its next reading: as long as Redis allows."""

Execute: TypeAlias = Callable[[Sequence[Command]], Awaitable[list[Any]]]
"""Runs commands; returns their replies or raises the first error among them."""


async def walk(
    execute: Execute,
    index: str,
    query: str,
    params: Command,
    visit: Callable[[list[bytes]], Awaitable[None]],
    *,
    at_once: int,
) -> bool:
    """Show ``visit`` all keys, ``at_once`` at a time; what expires or is written meanwhile may be
    passed by. False where Redis cut it short."""
    find = ("FT.AGGREGATE", index, query, *params, "LOAD", 1, "@__key", "DIALECT", 2)
    find += ("WITHCURSOR", "COUNT", at_once, "MAXIDLE", _IDLE_MS)
    page = read_page((await execute([find]))[0])
    whole = page.whole
    try:
        while True:
            await visit(page.keys)
            if not page.cursor:
                return whole
            read = ("FT.CURSOR", "READ", index, page.cursor, "COUNT", at_once)
            page = read_page((await execute([read]))[0])
            whole &= page.whole
    except BaseException:
        if page.cursor:
            with suppress(StoreError, asyncio.CancelledError):
                await execute([("FT.CURSOR", "DEL", index, page.cursor)])
        raise
