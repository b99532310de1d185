"""What a change in the world makes stale, and doing away with it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from semcache_async.errors import ConfigError, PromptError
from semcache_async.text.prompt import check_text

__all__ = ["Event", "EventError", "Purger", "Work", "check_event", "read_event"]

_TAGS_AT_ONCE = 256
"""Tags of one query."""
_SHOWN = 200
"""Characters of what is wrong."""


class EventError(ConfigError):
    """This is no event."""


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a change has made stale. Each thing that is named goes, whatever else is. A field that
    may be left out may also be null."""

    tags: Annotated[tuple[str, ...], Meta(description="Entries with any of them.")] | None = None
    namespaces: Annotated[tuple[str, ...], Meta(description="Each gets a new version.")] | None = (
        None
    )
    tenants: (
        Annotated[tuple[str, ...], Meta(description="Everything that each of them has.")] | None
    ) = None
    ids: Annotated[tuple[str, ...], Meta(description="Entries by id.")] | None = None
    tenant: (
        Annotated[str, Meta(description="With tags: only those entries that are this tenant's.")]
        | None
    ) = None

    @property
    def means_something(self) -> bool:
        """Does anything have to go?"""
        return bool(self.tags or self.namespaces or self.tenants or self.ids)


class Purger(Protocol):
    """What a cache does with events: ``SemanticCache``, or its store alone."""

    async def invalidate(
        self,
        *,
        tenant: str | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
    ) -> int:
        """Delete what meets every condition named; how many entries that were."""

    async def bump_version(self, namespace: str) -> int:
        """The new version, which makes all older answers of ``namespace`` unreachable."""


def read_event(said: Any) -> Event:
    """The event that decoded JSON stands for. Raises ``EventError``."""
    try:
        return check_event(msgspec.convert(said, Event))
    except msgspec.ValidationError as error:
        raise EventError(f"This is no event: {str(error)[:_SHOWN]}.") from None


def check_event(event: Event) -> Event:
    """``event`` itself, if it names something. Raises ``EventError``."""
    named = {"tag": event.tags, "namespace": event.namespaces, "id": event.ids}
    if event.tenants is None and event.tenant is None and set(named.values()) == {None}:
        raise EventError("This is no event: it names no tags, namespaces, tenants or ids.")
    if event.tenant is not None and event.tags is None:
        raise EventError(
            "This is no event: tenant narrows tags, and there are none; everything of a tenant is "
            "named by tenants."
        )
    for what, texts in named.items():
        for text in texts or ():
            try:
                check_text(what, text)
            except PromptError as error:
                raise EventError(f"This is no event: {error}") from None
    return event


class Work:
    """Events merged into as few purges as can be. Doing it twice is no more than doing it once."""

    def __init__(self, events: Iterable[Event]) -> None:
        tags: dict[str | None, dict[str, None]] = {}
        namespaces: dict[str, None] = {}
        tenants: dict[str, None] = {}
        ids: dict[str, None] = {}
        for event in events:
            tags.setdefault(event.tenant, {}).update(dict.fromkeys(event.tags or ()))
            namespaces.update(dict.fromkeys(event.namespaces or ()))
            tenants.update(dict.fromkeys(event.tenants or ()))
            ids.update(dict.fromkeys(event.ids or ()))
        self._namespaces = list(namespaces)
        self._purges: list[dict[str, Any]] = [{"tenant": tenant} for tenant in tenants]
        for tenant, these in tags.items():
            if tenant in tenants:
                continue
            listed = list(these)
            self._purges += [
                {"tenant": tenant, "tags": listed[start : start + _TAGS_AT_ONCE]}
                for start in range(0, len(listed), _TAGS_AT_ONCE)
            ]
        if ids:
            self._purges.append({"entry_ids": list(ids)})
        self.versions: dict[str, int] = {}
        """The new ones."""
        self.removed = 0

    async def do(self, purger: Purger) -> None:
        """What is left to be done. Raises as ``purger`` does; called again, it goes on there."""
        while self._namespaces:
            namespace = self._namespaces[0]
            self.versions[namespace] = await purger.bump_version(namespace)
            del self._namespaces[0]
        while self._purges:
            self.removed += await purger.invalidate(**self._purges[0])
            del self._purges[0]
