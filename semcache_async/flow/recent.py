"""What was used last, in this process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from semcache_async.types import Entry, Scope

__all__ = ["Recent", "RecentAnswers"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_CHANGES_REMEMBERED = 65_536


class Recent(Generic[K, V]):
    """A bounded mapping that forgets what was used longest ago."""

    __slots__ = ("_items", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: K) -> V | None:
        item = self._items.get(key)
        if item is not None:
            self._items.move_to_end(key)
        return item

    def put(self, key: K, item: V) -> tuple[K, V] | None:
        """Returns what had to go for it."""
        if self._size:
            self._items[key] = item
            if len(self._items) > self._size:
                return self._items.popitem(last=False)
        return None

    def drop(self, key: K) -> None:
        self._items.pop(key, None)

    def items(self) -> list[tuple[K, V]]:
        """All there is, what was used longest ago first."""
        return list(self._items.items())

    def keys(self) -> list[K]:
        """Of all there is, what was used longest ago first."""
        return list(self._items)

    def values(self) -> list[V]:
        """All there is, what was used longest ago first."""
        return list(self._items.values())

    def clear(self) -> None:
        self._items.clear()


class RecentAnswers:
    """Exact answers that this process read last, by scope and wording as it was typed.

    Nothing is kept while nobody reports changes (before the first ``change``, after ``deafen``). An
    answer is kept only if its entry did not change since its reader began to read (``now``): a
    report that overtakes a reply is not lost. So an answer is served for as long as a report takes
    to arrive after its entry changed, at most, and never past its own end.
    """

    def __init__(self, size: int) -> None:
        self._by_prompt: Recent[tuple[Scope, str], Entry] = Recent(size)
        self._prompts: dict[str, set[tuple[Scope, str]]] = {}
        self._changed: OrderedDict[str, int] = OrderedDict()
        self._clock = 0
        self._unknown_before = 0
        self._listening = False

    def __len__(self) -> int:
        return len(self._by_prompt)

    def now(self) -> int:
        """A moment in the order of changes; take it before reading."""
        return self._clock

    def get(self, scope: Scope, prompt: str, now: float) -> Entry | None:
        """The answer to this very prompt that is alive ``now``, by the store's clock; or None."""
        entry = self._by_prompt.get((scope, prompt))
        if entry is not None and entry.exact_until <= now:
            self._forget(entry.id)
            return None
        return entry

    def keep(self, scope: Scope, prompt: str, entry: Entry, since: int) -> None:
        """Keep an entry that was read after the moment ``since``."""
        if not self._listening or since < self._unknown_before:
            return
        if self._changed.get(entry.id, -1) >= since:
            return
        key = (scope, prompt)
        self._prompts.setdefault(entry.id, set()).add(key)
        gone = self._by_prompt.put(key, entry)
        if gone is not None:
            self._release(*gone)

    def change(self, entry_id: str | None) -> None:
        """An entry changed; None: any of them may have, and reports come from now on."""
        if entry_id is None:
            self.forget_all()
            self._listening = True
            return
        if not self._listening:
            return
        self._clock += 1
        self._changed[entry_id] = self._clock - 1
        self._changed.move_to_end(entry_id)
        if len(self._changed) > _CHANGES_REMEMBERED:
            _, moment = self._changed.popitem(last=False)
            self._unknown_before = max(self._unknown_before, moment + 1)
        self._forget(entry_id)

    def forget_all(self) -> None:
        """Any entry may have changed, by this process's own doing."""
        self._clock += 1
        listening = self._listening
        self.deafen()
        self._listening = listening

    def deafen(self) -> None:
        """Reports come no longer."""
        self._listening = False
        self._unknown_before = self._clock
        self._by_prompt.clear()
        self._prompts.clear()
        self._changed.clear()

    def _release(self, key: tuple[Scope, str], entry: Entry) -> None:
        prompts = self._prompts[entry.id]
        prompts.discard(key)
        if not prompts:
            del self._prompts[entry.id]

    def _forget(self, entry_id: str) -> None:
        for key in self._prompts.pop(entry_id, ()):
            self._by_prompt.drop(key)
