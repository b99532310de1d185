"""Evidence in this process's memory, for a store that keeps none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from semcache_async.flow.recent import Recent
from semcache_async.types import Entry, Owner, Scope

__all__ = ["LocalEvidence"]

_ENTRIES, _SCOPES = 65_536, 4_096


class LocalEvidence:
    """What ``protocols.EvidenceStore`` promises beyond a store, for entries that were ``seen``."""

    def __init__(self) -> None:
        self._entries: Recent[str, tuple[Entry, Owner]] = Recent(_ENTRIES)
        self._notes: Recent[str, bytes] = Recent(_ENTRIES)
        self._sums: Recent[tuple[str, int], dict[str, float]] = Recent(_SCOPES)
        self._owners: Recent[Scope, Owner] = Recent(_SCOPES)

    def seen(self, scope: Scope, entry: Entry) -> None:
        """An entry that verdicts may come for."""
        kept = msgspec.structs.replace(entry, text="")  # its answer is the store's to keep
        self._entries.put(entry.id, (kept, self.owner(scope)))

    def forget(self) -> None:
        """Any entry may have been deleted."""
        self._entries.clear()
        self._notes.clear()

    def notes(self, entry_id: str) -> bytes | None:
        """What ``annotate`` left."""
        return self._notes.get(entry_id)

    def owner(self, scope: Scope) -> Owner:
        owner = self._owners.get(scope)
        if owner is None:
            owner = Owner(repr(scope), f"tenant {scope.tenant}")
            self._owners.put(scope, owner)
        return owner

    async def noted(
        self, entry_id: str, scope: Scope | None = None
    ) -> tuple[Entry, Owner, bytes | None] | None:
        found = self._entries.get(entry_id)
        return None if found is None else (*found, self._notes.get(entry_id))

    async def annotate(
        self, entry_id: str, change: Callable[[Entry, bytes | None], bytes | None]
    ) -> tuple[Entry, Owner] | None:
        found = self._entries.get(entry_id)
        if found is not None:
            changed = change(found[0], self._notes.get(entry_id))
            if changed is not None:
                self._notes.put(entry_id, changed)
        return found

    async def tally(
        self, owner: Owner, period: int, amounts: Mapping[str, float], *, pooled: bool
    ) -> None:
        for name in (owner.scope, owner.tenant) if pooled else (owner.scope,):
            sums = self._sums.get((name, period)) or {}
            for field, amount in amounts.items():
                sums[field] = sums.get(field, 0.0) + amount
            self._sums.put((name, period), sums)

    async def tallies(
        self, owner: Owner, periods: Sequence[int]
    ) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
        own = [dict(self._sums.get((owner.scope, period)) or {}) for period in periods]
        like = [dict(self._sums.get((owner.tenant, period)) or {}) for period in periods]
        return own, like
