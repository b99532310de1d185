"""The seams, and no others: what embeds, what stores, what answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from semcache_async.types import (
    Affected,
    Case,
    Claim,
    Entry,
    EntryKey,
    Letter,
    Neighbour,
    Owner,
    Piece,
    Produced,
    Record,
    Rival,
    Scope,
    Vector,
    VectorQuery,
)

__all__ = [
    "AmendingStore",
    "BatchedEmbedder",
    "BrowsableStore",
    "CountingStore",
    "Embedder",
    "EvidenceStore",
    "Generate",
    "GenerateStream",
    "Judge",
    "Produce",
    "SharingStore",
    "Span",
    "Store",
    "TokenEmbedder",
    "Tracing",
    "Verifier",
    "VersionedStore",
    "WatchableStore",
]

C = TypeVar("C")

Generate: TypeAlias = Callable[[str], Awaitable[str]]
"""The LLM call: an async callable from prompt to answer text."""

GenerateStream: TypeAlias = Callable[[str], AsyncIterator[str]]
"""The LLM call as it streams: from prompt to an async iterator over pieces of the answer."""

Produce: TypeAlias = Callable[[str, Callable[[C], None]], Awaitable[Produced]]
"""The LLM call for protocols of any kind: from prompt, and a function that hands a chunk (any
object) to every caller of the flight, to the whole."""

Judge: TypeAlias = Callable[[Case], Awaitable[float | None]]
"""How likely the stored answer would have been right for the prompt, 0..1; from .5 on it counts as
right; None where it cannot tell. What it raises, or gives beyond that range, is no verdict, but an
error."""


class Embedder(Protocol):
    """Turns texts into unit vectors.

    ``embed`` may be a plain method (run on one worker thread, one call at a time) or a coroutine
    function (awaited on the event loop). The same text must give the same vector in any company.
    One whose texts are no natural language may say so by an attribute ``guarded = False``, and one
    whose distances were measured by ``max_distance``, which holds where the configuration gives
    none; one that may change behind its name has an attribute ``probe``, its vector of a text that
    stays the same, which is compared with the one that the index was made with.
    ``EmbedderUnavailableError`` says that the embedder is down; ``ValueError``, that a text is at
    fault.
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


@runtime_checkable
class TokenEmbedder(Embedder, Protocol):
    """An embedder whose work can be planned by token, and whose reading of a text can be compared
    with the text: ``embed.TextEmbedder``. Every method may be called from several threads."""

    window: int
    """The most tokens one text may have, special ones included."""
    token_budget: int
    """Tokens in one call of ``embed_tokens`` beyond which throughput no longer grows."""
    streams: int
    """How many threads may usefully be inside ``embed_tokens`` at once."""

    def tokenise(self, texts: Sequence[str], /) -> Sequence[Any]:
        """The tokens of each text, special ones included, never cut."""

    def readable(self, tokens: Any, /) -> bool:
        """Does the vocabulary have every character?"""

    def embed_tokens(self, items: Sequence[Any], /) -> NDArray[np.float32]:
        """Float32 ``[len(items), dim]``."""

    def pieces(self, text: str, /) -> Sequence[Piece]:
        """The tokens of a text with the parts of it that they stand for, in order."""


@runtime_checkable
class BatchedEmbedder(Embedder, Protocol):
    """An embedder that is best asked in parallel, each time for no more than it takes:
    ``embed.RemoteEmbedder``. What waits for it is no sign that this process is overloaded."""

    window: int
    """The most tokens one text may have; a longer one has the exact tier only."""
    token_budget: int
    """Tokens in one call of ``embed``."""
    most_texts: int
    """Texts in one call."""
    streams: int
    """Calls that may be under way at once."""

    def estimate(self, text: str, /) -> int:
        """About how many tokens a text has."""


class Verifier(Protocol):
    """Says how likely one answer serves two prompts.

    ``score`` may be a plain method or a coroutine function, as ``Embedder.embed``; what it raises
    counts as no for its pairs, of which it is asked again in smaller parts. One that takes several
    calls at a time may say how many by an attribute ``streams``, and how many tokens (of about four
    characters) one call had better have, instead of 32 pairs, by ``token_budget``.
    """

    def score(
        self, pairs: Sequence[tuple[str, str]], /
    ) -> NDArray[np.float32] | Awaitable[NDArray[np.float32]]:
        """Float32 ``[len(pairs)]`` of 0..1, the same in any company; of each pair the prompt asked
        comes first, the stored one second. Anything else, such as NaN for two that it cannot read
        whole, is no score."""


class Store(Protocol):
    """Keeps answers. Every method takes many items at once and answers each one by itself:
    an exception in the returned sequence concerns that item alone, a raised one the whole batch.
    The cache bounds how long it waits, and takes what raises for a miss. ``testing`` has a suite
    that a store has to pass (``store_conformance``).
    """

    @property
    def connections(self) -> int:
        """Connections open now; 0 for a store that needs none."""

    def now(self) -> float:
        """Unix seconds by the clock that this store's times are in. Never waits."""

    async def fetch(self, keys: Sequence[EntryKey]) -> Sequence[Entry | Exception | None]:
        """Exact tier: the entry under each key that the exact tier may still serve, or None."""

    async def search(
        self, queries: Sequence[VectorQuery]
    ) -> Sequence[Sequence[Neighbour] | Exception]:
        """Semantic tier: up to ``neighbours`` entries that each query's scope covers
        (``Scope.covers``, but for the fields of ``widen``) and the semantic tier may still serve,
        nearest first. Entries that are dead, foreign or older than asked for take no place among
        them."""

    async def put(self, records: Sequence[Record]) -> Sequence[str | Exception]:
        """Write each record, replacing what its key held; returns entry ids once acknowledged.

        A record whose ``started_at`` lies before an invalidation that concerns it, by any process,
        is not written, in one atomic step: its result is a ``StaleWriteError``. That holds for a
        write whose outcome nobody learnt, too.
        """

    async def remove(
        self,
        *,
        scope: Scope | None = None,
        tenant: str | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
    ) -> int:
        """Delete the entries that meet every condition named, and keep out those being made:
        covered by ``scope``, of ``tenant``, carrying any of ``tags``, being one of ``entry_ids``.
        Returns how many were deleted. With no condition named, nothing is."""


@runtime_checkable
class WatchableStore(Store, Protocol):
    """A store that tells of changes by any client: the Redis store."""

    async def watch(self, changed: Callable[[str | None], None]) -> None:
        """Report the id of every entry that any client writes, deletes or lets expire, a moment
        after it happened, and None once this begins to work. Returns never; raises a
        ``StoreError`` when reports can no longer be relied on."""


@runtime_checkable
class BrowsableStore(Store, Protocol):
    """A store that people can look into."""

    async def browse(self, tags: Collection[str], limit: int) -> Sequence[Entry]:
        """Some ``limit`` live entries of any scope, newest of them first; of ``tags``, any one
        will do."""

    async def would_remove(
        self,
        *,
        scope: Scope | None = None,
        tenant: str | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
        examples: int,
    ) -> Affected:
        """What ``remove`` would delete, with some ``examples``; nothing is changed."""

    async def check(self) -> None:
        """Raise a ``StoreError`` unless the store answers and is as it has to be."""


@runtime_checkable
class SharingStore(Store, Protocol):
    """A store by which processes share their flights: the Redis store. Many items at once, each
    answered by itself, as in ``Store``; its ``put`` refuses a record whose claim stands no longer
    with a ``LeaseLostError``, in the same atomic step, and ``remove`` withdraws the claims that it
    concerns and writes so to their inboxes."""

    async def claim(self, claims: Sequence[Claim]) -> Sequence[Sequence[Rival] | Exception]:
        """Register each claim, for one lease, and tell which others of its scope stood before: one
        atomic step each, so that of two that concern each other exactly the later one is told."""

    async def renew(self, inbox: str, claims: Sequence[str]) -> Sequence[bool]:
        """Begin the leases of an inbox and of claims anew; False for a claim that stood no
        longer."""

    async def stand(self, claims: Sequence[str]) -> Sequence[bool | Exception]:
        """Does each claim stand?"""

    async def vectors(self, claims: Sequence[str]) -> Sequence[Vector | Exception | None]:
        """The vector of each claim; None where it has none, or stands no longer."""

    async def withdraw(self, claims: Sequence[str]) -> Sequence[Exception | None]:
        """End claims."""

    async def write(self, letters: Sequence[tuple[str, Letter]]) -> Sequence[bool | Exception]:
        """Put letters into inboxes, in order; False for an inbox that is not there."""

    async def leave(self, inbox: str) -> None:
        """Give an inbox up."""

    async def hear(self, inbox: str, heard: Callable[[Letter | None], None]) -> None:
        """Open an inbox and pass on what comes, in order and once, or again what came just before
        it was called anew; None first, when it is open. Returns never; raises a ``StoreError``
        where it cannot go on."""


@runtime_checkable
class CountingStore(Store, Protocol):
    """A store that ``CacheConfig.tenant_entries`` works with."""

    async def count(self, tenant: str) -> int:
        """How many entries a tenant has. Raises a ``StoreError`` where it fails."""


@runtime_checkable
class AmendingStore(Store, Protocol):
    """A store in which an entry's times can be changed: the Redis store."""

    async def amend(
        self,
        entry_id: str,
        change: Callable[[Entry], Entry | None],
        scope: Scope | None = None,
    ) -> bool:
        """Replace ``exact_until``, ``semantic_until``, ``validated_at`` and ``slid_at`` of a live
        entry by what ``change`` makes of them (None: leave it), in one atomic step; ``change`` may
        be called again. ``scope``: one that covers the entry's, where one is known. False for an
        entry that is not there."""


@runtime_checkable
class VersionedStore(Store, Protocol):
    """A store that keeps namespaces' versions for every process (``Scope.namespace``): the Redis
    store."""

    async def versions(self, namespaces: Sequence[str]) -> Sequence[int | Exception]:
        """The version of each, over 0; of one that has none, a new one, which none ever had."""

    async def bump(self, namespace: str) -> int:
        """Begin a new version, greater than any before; returns it."""

    async def watch_versions(self, changed: Callable[[], None]) -> None:
        """Report that versions changed, a moment after one did. Returns never; raises a
        ``StoreError`` when reports can no longer be relied on."""


@runtime_checkable
class EvidenceStore(Store, Protocol):
    """A store that keeps what was learnt beside the answers, for every process: the Redis store.
    Each method raises a ``StoreError`` where it fails."""

    def owner(self, scope: Scope) -> Owner:
        """How it names a scope and its tenant."""

    async def noted(
        self, entry_id: str, scope: Scope | None = None
    ) -> tuple[Entry, Owner, bytes | None] | None:
        """A live entry with its notes; None where there is none. ``scope``: one that covers its
        own, where one is known."""

    async def annotate(
        self, entry_id: str, change: Callable[[Entry, bytes | None], bytes | None]
    ) -> tuple[Entry, Owner] | None:
        """Replace the notes of a live entry by what ``change`` makes of them, in one atomic step;
        it may be called again, and what it returns unchanged is not written. The notes come with
        every neighbour and die with the entry. None for an entry that is not there."""

    async def tally(
        self, owner: Owner, period: int, amounts: Mapping[str, float], *, pooled: bool
    ) -> None:
        """Add amounts to the sums of a scope in a period and, if ``pooled``, of its tenant."""

    async def tallies(
        self, owner: Owner, periods: Sequence[int]
    ) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
        """The sums of the scope, and those of the tenant, in each period."""


class Tracing(Protocol):
    """Records what is done for requests: ``SemanticCache.trace``. Nothing of it, or of what it
    gives, may raise or wait."""

    def begin(self, name: str, scope: Scope, /) -> Span | None:
        """One more ``request`` or ``lookup``; None for one that is not recorded."""

    def leave(self) -> None:
        """What runs in this context from now on belongs to no request."""


class Span(Protocol):
    """The record of one request or flight."""

    @property
    def traceparent(self) -> str:
        """By which others name it, in any process (W3C); "" for what they cannot name."""

    def stage(self, name: str, began: float, /) -> None:
        """Something it waited for is over; it began at that time of ``time.perf_counter``."""

    def refused(self, near: Sequence[Neighbour], /) -> None:
        """What was near enough, and not served."""

    def link(self, traceparent: str, /) -> None:
        """It waited for the flight of that name."""

    def aside(self) -> Span:
        """For what is begun on its account, and nobody waits for."""

    def flight(self) -> Span | None:
        """A flight on its account, in the task that runs now."""

    def calling(self, produce: Produce[C], /) -> Produce[C]:
        """The LLM call of a flight, recorded, and with its record as the context of the call."""

    def end(self, made: object = None, error: BaseException | None = None, /) -> None:
        """It has brought ``made`` (of which it tells what an ``Answer`` has beside its texts), or
        raised."""
