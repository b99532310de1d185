"""A Redis stream read by a consumer group: what was left, what others left, what is new.

A message stays pending, under the name of the consumer that it was handed to, until it is
acknowledged. A consumer that comes back, or whose connection was lost, is first given again what is
pending under its name; what another one has left for ``claim_after_s`` is claimed from it.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from semcache_async.errors import StoreError, StoreUnavailableError
from semcache_async.store.wire import Command, RedisPipelines
from semcache_async.store.wire.replies import checked
from semcache_async.worker.messages import NOTE

__all__ = ["Delivered", "EventStream", "Lag", "Message"]

READ_AT_ONCE = 200
_DEAD_KEPT = 10_000
"""The newest messages that were put aside."""
_TAG = re.compile(r"\{([^}]+)\}")
_NEW, _FIRST = b">", b"0-0"


class Message(NamedTuple):
    id: bytes
    fields: Sequence[tuple[bytes, bytes]]
    """In order; a name may occur more than once."""


class Delivered(NamedTuple):
    """One reading."""

    messages: Sequence[Message]
    lost: Sequence[bytes]
    """Ids of what was deleted from the stream before it was acknowledged."""


class Lag(msgspec.Struct, frozen=True):
    """How far behind a group is."""

    stream: str
    group: str
    length: int
    """Messages in the stream, whoever has read them."""
    lag: int | None
    """Those that no consumer has been given yet; None where Redis cannot tell."""
    pending: int
    """Those that were handed out and not acknowledged yet."""
    oldest_pending_s: float
    """Since the one that has waited longest was handed out last."""
    consumers: int
    dead: int
    """Those that were put aside."""


class EventStream:
    """One stream as one consumer sees it. Methods raise ``StoreError``."""

    def __init__(
        self,
        pipelines: RedisPipelines,
        name: str,
        group: str,
        consumer: str,
        *,
        claim_after_s: float,
        delete: bool,
        block_s: float = 1.0,
    ) -> None:
        """``delete`` what was acknowledged: for a stream that nobody else reads. ``block_s``: how
        long one reading waits for something new."""
        self.name = name
        self.dead = f"{name}:dead"
        self._group = group
        self._consumer = consumer
        self._claim_after_s = claim_after_s
        self._delete = delete
        self._block_s = block_s
        self._at_once = READ_AT_ONCE
        self._pipelines = pipelines.at(_hash_tag(name))
        self._aside = pipelines.at(_hash_tag(self.dead))

    async def prepare(self) -> None:
        """Make the stream and the group, which begins with what is there, unless there are."""
        make: Command = ("XGROUP", "CREATE", self.name, self._group, 0, "MKSTREAM")
        (reply,) = await self._pipelines.execute([make])
        if "BUSYGROUP" not in str(reply):
            checked(reply)

    async def read(self) -> AsyncGenerator[Delivered, None]:
        """What is delivered, an empty reading now and then when nothing is. Ends never; what was
        too long to come in time is asked for in smaller parts the next time."""
        turns = _Turns(
            *(self.name, self._group, self._consumer),
            claim_after_s=self._claim_after_s,
            block_s=self._block_s,
        )
        replies = self._pipelines.ask(lambda: [turns.ask(self._at_once)], wait_s=self._block_s)
        try:
            async for (reply,) in replies:
                delivered = turns.take(checked(reply))
                if delivered.messages:
                    self._at_once = min(READ_AT_ONCE, 2 * self._at_once)
                yield delivered
        except StoreUnavailableError:
            self._at_once = max(1, self._at_once // 4)
            raise

    async def acknowledge(self, ids: Sequence[bytes]) -> None:
        """They have been applied, or can never be."""
        commands: list[Command] = [("XACK", self.name, self._group, *ids)]
        if self._delete:
            commands.append(("XDEL", self.name, *ids))
        for reply in await self._pipelines.execute(commands):
            checked(reply)

    async def put_aside(self, reasons: Sequence[tuple[Message, str]]) -> None:
        """Keep a copy of each message in ``dead``, which says why beside all that it held."""
        commands: list[Command] = []
        for message, reason in reasons:
            kept = [pair for pair in message.fields if not pair[0].startswith(NOTE)]
            notes = [(NOTE + b"reason", reason.encode()), (NOTE + b"id", message.id)]
            fields = [part for pair in (*kept, *notes) for part in pair]
            commands.append(("XADD", self.dead, "MAXLEN", _DEAD_KEPT, "*", *fields))
        for reply in await self._aside.execute(commands, again=False):
            checked(reply)

    async def lag(self) -> Lag:
        """Raises a ``StoreError`` where there is no such group, too."""
        length, groups, oldest = (
            checked(reply)
            for reply in await self._pipelines.execute(
                [
                    ("XLEN", self.name),
                    ("XINFO", "GROUPS", self.name),
                    ("XPENDING", self.name, self._group, "-", "+", 1),
                ]
            )
        )
        (dead,) = await self._aside.execute([("XLEN", self.dead)])
        group = next((one for one in groups if one[b"name"] == self._group.encode()), None)
        if group is None:
            raise StoreError(f"There is no group {self._group!r} of {self.name!r}.")
        return Lag(
            stream=self.name,
            group=self._group,
            length=length,
            lag=group.get(b"lag"),
            pending=group[b"pending"],
            oldest_pending_s=oldest[0][2] / 1_000 if oldest else 0.0,
            consumers=group[b"consumers"],
            dead=checked(dead),
        )


class _Turns:
    """Whose turn it is to be read: all that is pending under the consumer's own name, once; what
    others have left, now and then; then what is new."""

    def __init__(
        self, stream: str, group: str, consumer: str, *, claim_after_s: float, block_s: float
    ) -> None:
        self._stream = stream
        self._reader = ("GROUP", group, consumer)
        self._claims = (group, consumer, int(claim_after_s * 1_000))
        self._every_s = claim_after_s / 2
        self._block = ("BLOCK", max(1, int(block_s * 1_000)))
        self._own: bytes | None = _FIRST
        """The last of the consumer's own that it was given again; None once that was all."""
        self._claimed: bytes | None = None
        """Where claiming goes on; None where it does not."""
        self._claims_at = time.monotonic()

    def ask(self, at_once: int) -> Command:
        """What to ask now, for so many messages at most."""
        if self._own is not None:
            return self._reading(at_once, self._own)
        if self._claimed is None and time.monotonic() >= self._claims_at:
            self._claims_at = time.monotonic() + self._every_s
            self._claimed = _FIRST
        if self._claimed is not None:
            limits = (self._claimed, "COUNT", at_once)
            return ("XAUTOCLAIM", self._stream, *self._claims, *limits)
        return self._reading(at_once, _NEW, *self._block)

    def take(self, reply: Any) -> Delivered:
        """What came of what was asked last."""
        lost: list[bytes] = []
        if self._own is None and self._claimed is not None:
            following, rows, lost = reply
            self._claimed = None if following == _FIRST else following
        else:
            rows = (reply or {}).get(self._stream.encode(), [])
            if self._own is not None:
                self._own = rows[-1][0] if rows else None
        lost += [id_ for id_, fields in rows if fields is None]
        return Delivered([Message(id_, _pairs(parts)) for id_, parts in rows if parts], lost)

    def _reading(self, at_once: int, after: bytes, *block: str | int) -> Command:
        counted = ("COUNT", at_once, *block)
        return ("XREADGROUP", *self._reader, *counted, "STREAMS", self._stream, after)


def _pairs(parts: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    pairs: Iterator[bytes] = iter(parts)
    return list(zip(pairs, pairs, strict=True))


def _hash_tag(key: str) -> str:
    """What of a key a Redis Cluster places it by."""
    found = _TAG.search(key)
    return found[1] if found else key
