"""Other indexes under the same name: of another model, vector type or schema.

An entry's id is the same under each, so what was answered before a change of the model goes on to
answer the very same prompt, from where it lies; vectors of two models are never compared. Where no
other index holds anything, this costs a question every 10 s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from semcache_async.store.entries.schema import can_be_purged
from semcache_async.store.keys import KeySpace
from semcache_async.store.wire import Command

__all__ = ["Siblings"]

_EVERY_S = 10.0
_ASKED = 3
"""Siblings that are asked, those with the most entries."""


class Siblings:
    """Which there are, as of the last question."""

    def __init__(self, keys: KeySpace, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._clock = clock
        self._due = 0.0
        self._all: list[KeySpace] = []
        """Of other fingerprints: for entries of anybody, and of one tenant each."""
        self._known: dict[str, KeySpace] = {}
        self._only: frozenset[str] | None = None
        """Fingerprints beyond which none is asked."""
        self.entries: dict[str, int] = {}
        """How many each holds that can be purged, by index."""
        self.prefixes: tuple[str, ...] = ()
        """What the keys of those begin with that answer exact repeats."""

    def inherit(self, common: Siblings) -> None:
        """Those of one tenant's index are of the fingerprints that are known in common."""
        self._only = frozenset(one.fingerprint for one in common._all)
        if common._only is not None:
            self._only &= common._only
        self._known = {one.index: one for one in common._all if one.only == self._keys.only}
        self.entries = dict.fromkeys(self._known, 1)
        self._due = self._clock() + _EVERY_S
        self._choose()

    def questions(self) -> list[Command]:
        """What to ask now: nothing, as a rule."""
        if self._clock() < self._due:
            return []
        self._due = self._clock() + _EVERY_S
        return [("FT._LIST",), *(("FT.INFO", index) for index in self._known)]

    def learn(self, questions: Sequence[Command], replies: Sequence[Any]) -> None:
        """Take in the replies; errors teach nothing, or that an index is gone."""
        if not isinstance(replies[0], list | set):
            return
        named = [name.decode(errors="replace") for name in replies[0]]
        own = self._keys.fingerprint
        self._all = [one for one in self._keys.siblings(named) if one.fingerprint != own]
        self._known = {one.index: one for one in self._all if one.only == self._keys.only}
        infos = {
            str(asked[1]): reply for asked, reply in zip(questions[1:], replies[1:], strict=True)
        }
        self.entries = {
            index: int(float(info[b"num_docs"]))
            for index, info in infos.items()
            if index in self._known and isinstance(info, Mapping) and can_be_purged(info)
        }
        self._choose()

    def again(self) -> None:
        """Ask at the next opportunity."""
        self._due = 0.0

    def keys(self, entry_id: str) -> list[str]:
        """Where else an entry may lie."""
        return [prefix + entry_id for prefix in self.prefixes]

    def filled(self, older: Sequence[Any], replies: Sequence[Any]) -> list[Any]:
        """``replies``, with what siblings said where there is nothing; ``older`` has a reply to
        each for every one of ``prefixes``."""
        filled = list(replies)
        for place, reply in enumerate(filled):
            if reply is None:
                others = older[place :: len(filled)]
                filled[place] = next((one for one in others if isinstance(one, bytes)), None)
        return filled

    @contextmanager
    def followed(self, *, of_tenants: bool) -> Iterator[list[bytes]]:
        """The prefixes to follow changes under; meanwhile no other is asked."""
        of = [one for one in self._all if bool(one.only) == of_tenants]
        prefixes = {one.tenants_prefix if of_tenants else one.prefix for one in of}
        self._only = frozenset(one.fingerprint for one in of)
        try:
            yield [prefix.encode() for prefix in sorted(prefixes)]
        finally:
            self._only = None
            self._choose()

    def _choose(self) -> None:
        asked = [
            index
            for index, entries in self.entries.items()
            if entries and (self._only is None or self._known[index].fingerprint in self._only)
        ]
        asked.sort(key=self.entries.__getitem__, reverse=True)
        self.prefixes = tuple(self._known[index].prefix for index in asked[:_ASKED])
