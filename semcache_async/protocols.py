"""The seams, and no others: what embeds, what stores, what answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semcache_async.types import (
    Entry,
    EntryKey,
    Neighbour,
    Produced,
    Record,
    Scope,
    VectorQuery,
)

__all__ = ["Embedder", "Generate", "GenerateStream", "Produce", "Store"]

Generate: TypeAlias = Callable[[str], Awaitable[str]]
"""The LLM call: an async callable from prompt to answer text."""

GenerateStream: TypeAlias = Callable[[str], AsyncIterator[str]]
"""The LLM call as it streams: from prompt to an async iterator over pieces of the answer."""

Produce: TypeAlias = Callable[[str, Callable[[Any], None]], Awaitable[Produced]]
"""The LLM call for protocols of any kind: from prompt, and a function that hands a chunk (any
object) to every caller of the flight, to the whole."""


class Embedder(Protocol):
    """Turns texts into unit vectors.

    ``embed`` may be a plain method (run on one worker thread, one call at a time) or a coroutine
    function (awaited on the event loop). The same text must give the same vector in any company.
    """

    @property
    def dim(self) -> int:
        """Length of every vector."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever vectors stop being comparable: model, tokenizer, precision class."""

    def embed(
        self, texts: Sequence[str], /
    ) -> NDArray[np.float32] | Awaitable[NDArray[np.float32]]:
        """Float32 ``[len(texts), dim]``, each row of unit length."""


class Store(Protocol):
    """Keeps answers. Every method takes many items at once and answers each one by itself:
    an exception in the returned sequence concerns that item alone, a raised one the whole batch.
    A store bounds its own waiting: the cache counts what raises as a miss, and waits meanwhile.
    """

    async def fetch(self, keys: Sequence[EntryKey]) -> Sequence[Entry | Exception | None]:
        """Exact tier: the live entry under each key, or None."""

    async def search(
        self, queries: Sequence[VectorQuery]
    ) -> Sequence[Sequence[Neighbour] | Exception]:
        """Semantic tier: live entries of each query's scope, nearest first."""

    async def put(self, records: Sequence[Record]) -> Sequence[str | Exception]:
        """Write each record, replacing what its key held; returns entry ids once acknowledged."""

    async def remove(
        self,
        *,
        scope: Scope | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
    ) -> int:
        """Delete the named entries, and those of ``scope`` that carry any of ``tags``
        (all of the scope where no tag is named); returns how many were deleted."""
