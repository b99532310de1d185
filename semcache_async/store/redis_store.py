"""The Redis store: one hash per entry, found by key (exact) or by KNN within a scope (semantic)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from secrets import token_hex
from typing import Any

import numpy as np

from semcache_async.errors import (
    IndexMismatchError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from semcache_async.store.claims import ClaimKeeper
from semcache_async.store.clock import ServerClock
from semcache_async.store.entries.fences import Fences
from semcache_async.store.entries.moving import Mover, Outcome
from semcache_async.store.entries.payload import read_entries, read_entry, read_results
from semcache_async.store.entries.removal import Removal, entries_filter
from semcache_async.store.entries.schema import (
    ENTRY,
    SCOPE,
    VECTOR,
    IndexShape,
    can_be_purged,
    ensure_index,
    is_missing_index,
    size_of,
)
from semcache_async.store.entries.searching import Searcher, each
from semcache_async.store.entries.source import Source
from semcache_async.store.entries.writing import Writer
from semcache_async.store.evidence import EvidenceKeeper
from semcache_async.store.keys import KeySpace
from semcache_async.store.portable import Exported, parcel_of
from semcache_async.store.sealing import Sealer
from semcache_async.store.siblings import Siblings
from semcache_async.store.versions import VersionKeeper
from semcache_async.store.wire import Command, RedisPipelines
from semcache_async.store.wire.dialect import Dialect, dialect_of
from semcache_async.store.wire.replies import checked
from semcache_async.store.wire.server import check_mode
from semcache_async.types import (
    Affected,
    Entry,
    EntryKey,
    Neighbour,
    Record,
    Scope,
    Vector,
    VectorQuery,
    cosine_distance,
)

__all__ = ["RedisStore"]

_FENCES_AT_ONCE = 100
_INDEXING_S = 0.05
"""How often to look whether a new index has been filled."""
_INDEXING_LOOKS = 200
_SAME = 0.01
"""Distance to which two vectors of one text are of one model, computed here or there."""
_PROBE_MS = 400 * 86_400_000
_AS_GOOD_AS_EMPTY = 100
"""An index that has one entry for so many of others."""


class RedisStore:
    """Every batch is one pipeline. See ``protocols.Store`` for what the methods promise."""

    def __init__(
        self,
        pipelines: RedisPipelines,
        writing: RedisPipelines,
        noting: RedisPipelines,
        keys: KeySpace,
        shape: IndexShape,
        fences: Fences,
        clock: ServerClock,
        *,
        lease_s: float,
        sealer: Sealer,
        reach: float,
    ) -> None:
        self._pipelines = pipelines
        self._writing = writing
        self._keys = keys
        self.home, self.digest_of = keys.home, keys.tenant
        self._shape = shape
        self._fences = fences
        self._clock = clock
        self._dialect: Dialect | None = None
        self._indexed = False
        """Has it an index of its own?"""
        self._prefix = keys.prefix.encode()
        self._sealer = sealer
        self.others = Siblings(keys)
        self.unmoved: dict[str, int] = {}
        """Of each other fingerprint how many entries there were at the start, where this one's
        index was as good as empty."""
        self._reach = reach
        self._searcher = Searcher(self._timed, self._remake, keys, shape, clock, sealer, reach)
        self._noting = noting
        evidence = EvidenceKeeper(pipelines, noting, keys, clock, sealer, self.others)
        self.owner, self.noted, self.annotate = evidence.owner, evidence.noted, evidence.annotate
        self.amend = evidence.amend
        self.tally, self.tallies = evidence.tally, evidence.tallies
        kept = VersionKeeper(pipelines, keys, self._time)
        self.versions, self.bump = kept.versions, kept.bump
        self.watch_versions = kept.watch_versions
        self._lease_s = lease_s
        claims = self._claims = self._claims_in(keys)
        self.claim, self.stand, self.withdraw = claims.claim, claims.stand, claims.withdraw
        self.renew, self.write, self.hear = claims.renew, claims.write, claims.hear
        self.vectors, self.leave = claims.vectors, claims.leave
        dtype = np.dtype(shape.dtype)
        self._writer = Writer(writing, keys, fences, clock, dtype, sealer, self.others)
        self.mover = Mover(writing, keys, fences, clock, dtype, sealer, self.others)

    @property
    def connections(self) -> int:
        """Connections to Redis open now."""
        parts = (self._pipelines, self._writing, self._noting)
        return sum(part.connections for part in parts)

    @property
    def unopened(self) -> int:
        """What was read and did not open, so far."""
        return self._sealer.unopened + self._sealer.squeezer.unread

    @property
    def elsewhere(self) -> int:
        """Entries of other models under this name, as of the last 10 s or so."""
        return sum(self.others.entries.values())

    def now(self) -> float:
        """Unix seconds by Redis's clock, early by a round trip at most."""
        return self._clock.now()

    async def prepare(self) -> Mapping[bytes, Any]:
        """Create the index or check the one that is there, then write, find and delete a canary.
        What the server says of itself (``HELLO``)."""
        hello = await self.greet()
        await self._remake()
        self._indexed = True
        await self._look_for_others()
        if self._dialect is None:  # elsewhere nobody shares flights
            await self._claims.prepare()
        await self._send_canary()
        return hello

    async def greet(self) -> Mapping[bytes, Any]:
        """Learn how the server is spoken to, which is enough to remove what others have made. What
        it says of itself (``HELLO``)."""
        hello: Mapping[bytes, Any] = await self._one("HELLO")
        check_mode(hello)
        self._dialect = dialect_of(hello)
        await self._time()
        return hello

    async def fetch(self, keys: Sequence[EntryKey]) -> list[Entry | Exception | None]:
        """Exact tier: one ``HGET`` an item, and one more while another model has entries."""
        ids = each(self._keys.entry_id, keys)
        good = [n for n, id_ in enumerate(ids) if type(id_) is str]
        prefix, scope = self._keys.prefix, self._keys.scope
        commands: list[Command] = [("HGET", prefix + ids[n], ENTRY) for n in good]
        others = self.others.prefixes
        if others:  # before its own: what moves meanwhile is in one of them
            older = [("HGET", other + ids[n], ENTRY) for other in others for n in good]
            replies = await self._timed([*older, *commands])
            replies = self.others.filled(replies[: len(older)], replies[len(older) :])
        else:
            replies = await self._timed(commands)
        now = self._clock.now()
        found: list[Entry | Exception | None] = ids
        for n, reply in zip(good, replies, strict=True):
            found[n] = (
                reply
                if isinstance(reply, Exception)
                else read_entry(reply, ids[n], scope(keys[n].scope), now, self._sealer)
            )
        return found

    async def search(self, queries: Sequence[VectorQuery]) -> list[list[Neighbour] | Exception]:
        """Semantic tier: one ``FT.SEARCH`` an item, and wider ones only where entries that may not
        be served took places. An index that is gone (a flushed or replaced server) is an error for
        these queries, and made anew for the next."""
        return await self._searcher.search(queries, self._pipelines.deadline())

    async def put(self, records: Sequence[Record]) -> list[str | Exception]:
        """One ``MULTI ... EXEC`` for the batch, executed only if no fence of any moved since it was
        read: an entry is whole, mortal and newer than what invalidated it, or not written."""
        return await self._writer.put(records)

    async def restore(self, items: Sequence[tuple[Exported, Vector | None]]) -> list[Outcome]:
        """Bring in what was exported, with its age and the life that it had left, each unless there
        is a newer answer or an invalidation came after it was made."""
        now = await self._time()
        return await self.mover.bring(
            [parcel_of(one, vector, self._keys, self._sealer, now) for one, vector in items]
        )

    def of_tenant(self, digest: str) -> RedisStore:
        """A store beside this one, for what one tenant has in an index of its own: ``make_index``
        makes it, and nothing else does."""
        store = self._beside(self._keys.of_tenant(digest), self._shape, self._reach)
        store._dialect = self._dialect
        store.others.inherit(self.others)
        return store

    async def of_model(self, dim: int, fingerprint: str, reach: float) -> RedisStore:
        """A store beside this one for another model's vectors, which has proved that it works."""
        shape = self._shape._replace(dim=dim)
        store = self._beside(self._keys.of_model(shape.fingerprint(fingerprint)), shape, reach)
        await store.prepare()
        return store

    def _beside(self, keys: KeySpace, shape: IndexShape, reach: float) -> RedisStore:
        return RedisStore(
            *(self._pipelines, self._writing, self._noting, keys),
            *(shape, self._fences, self._clock),
            lease_s=self._lease_s,
            sealer=self._sealer,
            reach=reach,
        )

    async def tenants(self) -> list[str]:
        """The digests of those that have indexes of their own."""
        prefix = self._keys.tenants_prefix
        spaces = [space for space in await self._siblings() if space.index.startswith(prefix)]
        return [space.only for space in spaces]

    async def watch(
        self, changed: Callable[[str | None], None], *, of_tenants: bool = False
    ) -> None:
        """Report the id of every entry that any client writes, deletes or lets expire, a moment
        after it happened, and None once this begins to work. Returns never; raises a
        ``StoreError`` when reports can no longer be relied on. ``of_tenants``: what lies in indexes
        of their own, instead."""
        begun = False
        prefix = self._keys.tenants_prefix.encode() if of_tenants else self._prefix

        def heard(push: list[Any]) -> None:
            nonlocal begun
            if not push:
                if not begun:
                    begun = True
                    changed(None)
            elif push[0] == b"invalidate":
                for key in push[1] or (None,):
                    changed(None if key is None else key.rpartition(b":")[2].decode())

        pulse = ("HGET", self._keys.key("pulse"), ENTRY)  # tells where the keys are, too
        with self.others.followed(of_tenants=of_tenants) as others:
            prefixes = [part for one in (prefix, *others) for part in (b"PREFIX", one)]
            tracking: Command = ("CLIENT", "TRACKING", "ON", "BCAST", *prefixes)
            await self._pipelines.listen(tracking, heard, pulse=pulse)

    async def remove(
        self,
        *,
        scope: Scope | None = None,
        tenant: str | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
    ) -> int:
        """Raise the fences, then delete, a few at a time so that others are served meanwhile. Each
        step has ``store_timeout_s``. Of ``tags`` and ``entry_ids``, any one will do; an entry that
        the index does not know yet is waited for. What lies under this name for another model,
        vector type or version goes, too: who comes back to it must not find it again."""

        def removal_from(keys: KeySpace) -> Removal:
            return Removal(keys, scope=scope, tenant=tenant, tags=tags, entry_ids=entry_ids)

        removal = removal_from(self._keys)
        fences = removal.fences()
        if not fences:
            return 0
        moment = await self._time()
        full: StoreFullError | None = None
        for start in range(0, len(fences), _FENCES_AT_ONCE):
            raising = self._fences.raising(fences[start : start + _FENCES_AT_ONCE], moment)
            try:
                for part in (await self._execute(raising))[-1]:
                    checked(part)
            except StoreFullError as error:
                full = error  # then nothing can be written past the fence either
        siblings = [(keys, removal_from(keys)) for keys in await self._siblings(removal.tenant)]
        own = [(self._keys, removal)] if self._indexed else []
        for keys, one in {keys.claims: (keys, one) for keys, one in (*own, *siblings)}.values():
            concerned = one.claims()
            if concerned is not None:
                await self._claims_in(keys).purge(*concerned)
        removed = (await self._purge(removal, self._keys.index) or 0) if own else 0
        strange = []
        for keys, one in siblings:
            try:
                count = await self._purge(one, keys.index)
            except StoreError as error:
                if not is_missing_index(error):
                    raise
                count = 0  # one that has been dropped meanwhile holds nothing
            if count is None:
                strange.append(keys.index)
            else:
                removed += count
        if full is not None:
            raise full
        if strange:
            raise StoreError(
                f"{removed} entries were deleted, and others may be left in an index of another "
                "version, which cannot be searched for them; once nobody uses it, drop it: "
                + ", ".join(f"FT.DROPINDEX {index} DD" for index in strange)
            )
        return removed

    async def would_remove(
        self,
        *,
        scope: Scope | None = None,
        tenant: str | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
        examples: int,
    ) -> Affected:
        """In every index that ``remove`` goes through."""
        total, entries = 0, list[Entry]()
        only = Removal(self._keys, scope=scope, tenant=tenant, tags=(), entry_ids=()).tenant
        for keys in (*((self._keys,) if self._indexed else ()), *await self._siblings(only)):
            removal = Removal(keys, scope=scope, tenant=tenant, tags=tags, entry_ids=entry_ids)
            try:
                if removal.searches and not can_be_purged(await self._filled(keys.index)):
                    raise StoreError(
                        f"Index {keys.index!r} is of another version and cannot be searched for "
                        f"them; once nobody uses it, drop it: FT.DROPINDEX {keys.index} DD"
                    )
                count, rows = await removal.look(self._execute, examples)
            except StoreError as error:
                if keys is self._keys or not is_missing_index(error):
                    raise
                continue  # one that has been dropped meanwhile holds nothing
            total += count
            entries += read_entries(rows, keys.prefix.encode(), self._clock.now(), self._sealer)
        entries.sort(key=lambda entry: entry.created_at, reverse=True)
        return Affected(total, entries[:examples])

    def _claims_in(self, keys: KeySpace) -> ClaimKeeper:
        return ClaimKeeper(
            *(self._pipelines, keys),
            dim=self._shape.dim,
            lease_s=self._lease_s,
            sealer=self._sealer,
        )

    async def _purge(self, removal: Removal, index: str) -> int | None:
        """None for an index that does not know what the removal asks for."""
        if removal.searches and not can_be_purged(await self._filled(index)):
            return None
        return await removal.run(self._execute)

    async def browse(self, tags: Collection[str], limit: int) -> list[Entry]:
        """Some live entries of any scope; of ``tags``, any one will do."""
        query, params = entries_filter(self._keys, tags)
        shown = ("RETURN", 2, ENTRY, SCOPE, "LIMIT", 0, limit, "DIALECT", 2)
        command: Command = ("FT.SEARCH", self._keys.index, query, *params, *shown)
        (reply,) = await self._timed([command])
        rows = read_results(checked(reply))
        return read_entries(rows, self._prefix, self._clock.now(), self._sealer)

    async def size(self) -> tuple[int, int]:
        """Entries of the index, and bytes that the index has beside their hashes."""
        return size_of(await self._one("FT.INFO", self._keys.index))

    async def count(self, tenant: str) -> int:
        """Entries of a tenant in the index."""
        query, params = entries_filter(self._keys, tenant=tenant)
        found = await self._one(
            *("FT.SEARCH", self._keys.index, query, *params, "LIMIT", 0, 0, "DIALECT", 2)
        )
        return int(found[b"total_results"])

    async def check(self) -> None:
        """Raise a ``StoreError`` unless Redis answers and has the index in its right shape."""
        info = await self._one("FT.INFO", self._keys.index)
        self._shape.check(self._keys.index, self._keys.prefix, info)

    async def _remake(self) -> None:
        """Make the index anew where it is gone; a tenant's own, once there is something to keep."""
        if not self._keys.only:
            await self.make_index()

    async def make_index(self) -> None:
        """Create the index, or check the one that is there."""
        await ensure_index(self._one, self._keys.index, self._keys.prefix, self._shape)

    async def _timed(self, commands: Sequence[Command], until: float | None = None) -> list[Any]:
        """Replies and errors; Redis's time is asked for along with the commands now and then."""
        if not self._clock.due():
            return await self._spoken(commands, until)
        questions = self.others.questions()
        sent = self._clock.monotonic()
        replies = await self._spoken([*commands, *questions, ("TIME",)], until)
        self._clock.learn(sent, replies.pop())
        if questions:
            self.others.learn(questions, replies[len(commands) :])
            del replies[len(commands) :]
        return replies

    async def _time(self) -> float:
        """Redis's clock, asked now."""
        sent = self._clock.monotonic()
        moment = self._clock.learn(sent, await self._one("TIME"))
        if moment is None:
            raise StoreError("Redis does not tell the time (TIME).")
        return moment

    async def sources(self) -> list[Source]:
        """The entries of each index under the same name that another model made."""
        own = self._keys.fingerprint
        siblings = [keys for keys in await self._siblings() if keys.fingerprint != own]
        return [Source(keys, self._execute) for keys in siblings]

    async def mover_to(self, tenant: str) -> Mover:
        """Brings entries here, or into the index of a tenant's own (its digest)."""
        if not tenant:
            return self.mover
        store = self.of_tenant(tenant)
        await store.make_index()
        return store.mover

    async def _look_for_others(self) -> None:
        """Which there are, then what they hold."""
        for _ in range(2):
            self.others.again()
            questions = self.others.questions()
            self.others.learn(questions, await self._spoken(questions))
        waiting = {index.rpartition(":")[2]: n for index, n in self.others.entries.items() if n}
        if waiting:
            info = await self._one("FT.INFO", self._keys.index)
            own = int(float(info[b"num_docs"]))
            self.unmoved = waiting if own * _AS_GOOD_AS_EMPTY < sum(waiting.values()) else {}

    async def indexes(self) -> list[str]:
        """The names of all that its server has, whosever."""
        return [name.decode(errors="replace") for name in await self._one("FT._LIST")]

    async def _siblings(self, tenant: str = "") -> list[KeySpace]:
        """The keys of each other index of ours under the same name, as ``KeySpace.siblings``."""
        return self._keys.siblings(await self.indexes(), tenant)

    async def _filled(self, index: str) -> Mapping[bytes, Any]:
        """Wait until an index has been filled: what it does not know yet, nobody could delete. What
        FT.INFO says of it then."""
        for _ in range(_INDEXING_LOOKS):
            info: Mapping[bytes, Any] = await self._one("FT.INFO", index)
            if not int(info.get(b"indexing", 0)):
                return info
            await asyncio.sleep(_INDEXING_S)
        raise StoreUnavailableError(
            "The index is still being filled, so not everything can be found to be deleted; what "
            "an invalidation is to keep out is kept out already. Ask again in a while."
        )

    async def _execute(self, commands: Sequence[Command]) -> list[Any]:
        return [checked(reply) for reply in await self._spoken(commands)]

    async def _spoken(self, commands: Sequence[Command], until: float | None = None) -> list[Any]:
        """Replies and errors, as Redis has them, whatever the server speaks."""
        dialect = self._dialect
        if dialect is None:
            return await self._pipelines.execute(commands, until=until)
        said = [dialect.command(command) for command in commands]
        replies = await self._pipelines.execute(said, until=until)
        return [dialect.reply(*pair) for pair in zip(commands, replies, strict=True)]

    async def _one(self, *command: str | bytes | float) -> Any:
        return (await self._execute([command]))[0]

    async def recognise(self, probe: Vector) -> None:
        """Raises ``IndexMismatchError`` where the embedder's vector of its own probe is not the one
        that the index was made with; whoever comes first leaves it."""
        key = self._keys.probe
        _, kept, _ = await self._execute(
            [
                ("HSETNX", key, VECTOR, probe.astype("<f4").tobytes()),
                ("HGET", key, VECTOR),
                ("PEXPIRE", key, _PROBE_MS),
            ]
        )
        distance = cosine_distance(np.frombuffer(kept, "<f4"), probe)
        if not distance <= _SAME:
            raise IndexMismatchError(
                f"The index {self._keys.index!r} was made by another model than the embedder has "
                f"under the same name now (distance {distance:.2f} for one and the same text). "
                "Give the new one another revision (--embeddings-revision), so that it has an "
                "index of its own; semcache migrate moves what is there."
            )

    async def _send_canary(self) -> None:
        scope = Scope(tenant=f"canary {token_hex(16)}")
        vector = np.zeros(self._shape.dim, np.float32)
        vector[0] = 1.0
        record = Record(
            key=EntryKey(scope, "canary"),
            prompt="canary",
            text="canary",
            vector=vector,
            tags=(),
            exact_ttl_s=60.0,
            semantic_ttl_s=60.0,
            started_at=self.now(),
        )
        entry_id = checked((await self.put([record]))[0])
        fetched = checked((await self.fetch([record.key]))[0])
        found = checked((await self.search([VectorQuery(scope, vector, 1)]))[0])
        await self._one("UNLINK", self._keys.key(entry_id))
        if fetched is None or not found or found[0].distance > 0.001:
            raise StoreError(
                f"An entry written to Redis was not found again by index {self._keys.index!r}. "
                "Look at FT.INFO (hash_indexing_failures, percent_indexed) and the server's log."
            )
