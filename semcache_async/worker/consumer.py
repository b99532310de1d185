"""The worker's loop: read events, apply them, acknowledge them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import dataclass, field

from semcache_async.complaints import Complaints
from semcache_async.errors import (
    ConfigError,
    PromptError,
    SearchModuleMissingError,
    StoreAuthError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from semcache_async.worker.events import Event, EventError, Purger, Work
from semcache_async.worker.messages import read_message
from semcache_async.worker.rules import Rules
from semcache_async.worker.stream import Delivered, EventStream, Message

__all__ = ["Consumer", "Counts"]

_log = logging.getLogger("semcache_async.worker")

_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.1, 10.0
"""From a failure to the next attempt; twice as long after each."""
_ATTEMPTS = 10
"""How often an event may fail, by itself, while the store answers: half a minute, with pauses."""
_OUTAGES = (
    *(StoreUnavailableError, StoreAuthError, StoreFullError, SearchModuleMissingError),
    OSError,
)
"""What is no fault of an event."""


@dataclass
class Counts:
    """Messages by what came of them, and what it took, since the start."""

    applied: int = 0
    ignored: int = 0
    """They meant nothing here."""
    dead: int = 0
    """Put aside."""
    lost: int = 0
    """Deleted from the stream before they were applied."""
    removed: int = 0
    """Entries that were deleted."""
    failures: int = 0
    """Attempts to read, to apply or to acknowledge that failed, and were made again."""


@dataclass
class _Batch:
    """What was read together, until all of it is settled."""

    messages: dict[bytes, Message]
    events: dict[bytes, list[Event]]
    """What is to be applied."""
    work: Work
    ignored: int
    dead: dict[bytes, str]
    """What is to be put aside, and why."""
    settled: list[bytes]
    """What may be acknowledged."""
    failed: dict[bytes, int] = field(default_factory=dict)
    """How often each has failed by itself."""
    error: Exception = field(default_factory=StoreError)
    """What failed last."""


class Consumer:
    """Applies what a stream says to a cache, until it is told to stop."""

    def __init__(self, stream: EventStream, purger: Purger, rules: Rules | None) -> None:
        self.stream = stream
        self.counts = Counts()
        self._purger = purger
        self._rules = rules
        self._complaints = Complaints()
        self._pause_s = _FIRST_PAUSE_S

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop``; a batch that has begun is finished, unless it cannot be: then it is left
        for whoever comes next."""
        while not stop.is_set():
            try:
                await self.stream.prepare()
                async with aclosing(self.stream.read()) as readings:
                    async for delivered in readings:
                        self._pause_s = _FIRST_PAUSE_S
                        await self._settle(self._read(delivered), stop)
                        if stop.is_set():
                            return
            except (StoreError, OSError) as error:
                await self._pause(f"Events of {self.stream.name} cannot be read", error, stop)

    def _read(self, delivered: Delivered) -> _Batch:
        if delivered.lost:
            self.counts.lost += len(delivered.lost)
            _log.error(
                "%d events of %s were deleted from the stream before they were applied, the first "
                "of them %s: entries that they were about may be stale.",
                *(len(delivered.lost), self.stream.name, delivered.lost[0].decode()),
            )
        events: dict[bytes, list[Event]] = {}
        dead: dict[bytes, str] = {}
        for message in delivered.messages:
            try:
                found = read_message(message.fields, self._rules)
                events[message.id] = [event for event in found if event.means_something]
            except EventError as error:
                dead[message.id] = str(error)
        ignored = [id_ for id_, found in events.items() if not found]
        for id_ in ignored:
            del events[id_]
        return _Batch(
            messages={message.id: message for message in delivered.messages},
            events=events,
            work=Work(event for found in events.values() for event in found),
            ignored=len(ignored),
            dead=dead,
            settled=[*delivered.lost, *ignored],
        )

    async def _settle(self, batch: _Batch, stop: asyncio.Event) -> None:
        """Apply and acknowledge, again and again until both are done."""
        while batch.events or batch.dead or batch.settled:
            try:
                await self._apply(batch)
                await self._finish(batch)
                if not batch.events:
                    return
                error: Exception = batch.error
            except (StoreError, OSError) as failure:
                error = failure
            await self._pause(f"Events of {self.stream.name} cannot be applied", error, stop)
            if stop.is_set():
                return

    async def _apply(self, batch: _Batch) -> None:
        """All at once, or where that fails each by itself. Raises where the store does."""
        if not batch.events:
            return
        before = batch.work.removed
        try:
            if not batch.failed:
                await batch.work.do(self._purger)
                self._applied(batch, list(batch.events))
                return
        except _OUTAGES:
            raise
        except (StoreError, ConfigError, PromptError):
            pass
        finally:
            self.counts.removed += batch.work.removed - before
        for id_, events in list(batch.events.items()):
            await self._apply_one(batch, id_, Work(events))

    async def _apply_one(self, batch: _Batch, id_: bytes, work: Work) -> None:
        try:
            await work.do(self._purger)
        except _OUTAGES:
            raise
        except (StoreError, ConfigError, PromptError) as error:
            batch.error = error
            batch.failed[id_] = batch.failed.get(id_, 0) + 1
            if batch.failed[id_] >= _ATTEMPTS or not isinstance(error, StoreError):
                batch.dead[id_] = str(error)
                del batch.events[id_]
        else:
            self._applied(batch, [id_])
        finally:
            self.counts.removed += work.removed

    def _applied(self, batch: _Batch, ids: list[bytes]) -> None:
        self.counts.applied += len(ids)
        batch.settled += ids
        for id_ in ids:
            del batch.events[id_]

    async def _finish(self, batch: _Batch) -> None:
        """Put aside what is to be, and acknowledge what is settled."""
        if batch.dead:
            await self._put_aside(batch)
        if batch.settled:
            await self.stream.acknowledge(batch.settled)
            batch.settled.clear()
            self.counts.ignored += batch.ignored
            batch.ignored = 0

    async def _put_aside(self, batch: _Batch) -> None:
        """What cannot be, though Redis answers, stays pending and is claimed again in a while:
        others need not wait for it."""
        dead = [(batch.messages[id_], reason) for id_, reason in batch.dead.items()]
        try:
            await self.stream.put_aside(dead)
        except StoreUnavailableError:
            raise
        except StoreError as error:
            self.counts.failures += 1
            self._complaints.warn(f"{self.stream.dead} takes nothing", error)
        else:
            self.counts.dead += len(dead)
            for message, reason in dead:
                what = f"Event {message.id.decode()} is put aside in {self.stream.dead}"
                self._complaints.warn("An event cannot be applied", f"{what}: {reason}")
            batch.settled += batch.dead
        batch.dead.clear()

    async def _pause(self, kind: str, error: Exception, stop: asyncio.Event) -> None:
        self.counts.failures += 1
        self._complaints.warn(kind, error)
        try:
            async with asyncio.timeout(self._pause_s):
                await stop.wait()
        except TimeoutError:
            self._pause_s = min(2 * self._pause_s, _LAST_PAUSE_S)
