"""What an entry's hash says, and the one reader of Redis replies (RESP3)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import msgspec

from semcache_async.errors import StoreError
from semcache_async.store.entries.schema import ENTRY, NOTES, SCOPE
from semcache_async.store.keys import ScopeDigest
from semcache_async.store.sealing import CLEAR, Sealer, context_of
from semcache_async.store.squeezing import SQUEEZED
from semcache_async.types import Entry, Neighbour, Owner

__all__ = [
    "Found",
    "Noted",
    "Page",
    "Payload",
    "read_distance",
    "read_entries",
    "read_entry",
    "read_neighbours",
    "read_noted",
    "read_page",
    "read_payload",
    "read_results",
    "seal_payload",
    "write_payload",
]

_KEY = b"__key"


class Payload(msgspec.Struct, array_like=True):
    """What is in an entry's ``entry`` field, before it is sealed where there are keys. Times are
    Unix seconds by Redis's clock. New fields come last, and have a default that is false."""

    scope: bytes
    """Its digest."""
    prompt: str
    text: str
    created_at: float
    exact_until: float
    semantic_until: float
    tags: tuple[str, ...] = ()
    attributes: dict[str, str] = {}
    stale_s: float = 0.0
    made_s: float = 0.0
    validated_at: float = 0.0
    slid_at: float = 0.0
    wide: tuple[str, ...] = ()
    """``KeySpace.carried``"""

    def entry(self, entry_id: str) -> Entry:
        return Entry(
            entry_id,
            self.prompt,
            self.text,
            self.created_at,
            self.exact_until,
            self.tags,
            self.attributes,
            self.semantic_until,
            self.stale_s,
            self.made_s,
            self.validated_at,
            self.slid_at,
        )

    def amended(self, entry: Entry) -> Payload:
        """With the times of ``entry``."""
        return msgspec.structs.replace(
            self,
            exact_until=entry.exact_until,
            semantic_until=entry.semantic_until,
            validated_at=entry.validated_at,
            slid_at=entry.slid_at,
        )


class _Older(Payload, array_like=False):
    """As JSON, which earlier versions wrote."""

    scope: str  # type: ignore[assignment]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Payload).decode
_decode_older = msgspec.json.Decoder(_Older).decode


def write_payload(payload: Payload) -> bytes:
    """MessagePack: the fields in order, without those at the end that say nothing; whole numbers
    are shorter than others."""
    fields = [
        int(one) if isinstance(one, float) and one.is_integer() else one
        for one in msgspec.structs.astuple(payload)
    ]
    while not fields[-1]:
        fields.pop()
    return _encode(fields)


def seal_payload(payload: Payload, entry_id: str, sealer: Sealer) -> bytes:
    """What to write into the entry's ``entry`` field."""
    squeezed = sealer.squeezer.squeeze(write_payload(payload))
    return sealer.seal(squeezed, context=context_of("entry", payload.scope.hex(), entry_id))


def _payload(raw: object, scope: str, entry_id: str, sealer: Sealer) -> Payload | None:
    """The payload, or None when it is missing, unreadable, sealed for elsewhere or of another
    scope."""
    if not isinstance(raw, bytes):
        return None
    if sealer.seals:
        opened = sealer.open(raw, context=context_of("entry", scope, entry_id))
        if opened is None:
            return None
        raw = opened
    if raw[:1] == SQUEEZED[:1]:
        expanded = sealer.squeezer.expand(raw)
        if expanded is None:
            return None
        raw = expanded
    older = raw[:1] == b"{"
    try:
        payload = _decode_older(raw) if older else _decode(raw)
        own = scope if older else bytes.fromhex(scope)
    except (msgspec.DecodeError, ValueError):
        return None
    return payload if payload.scope == own else None


def read_entry(
    raw: object, entry_id: str, scope: ScopeDigest, now: float, sealer: Sealer = CLEAR
) -> Entry | None:
    """The entry behind ``HGET key entry``, or None unless the exact tier may serve it."""
    payload = _payload(raw, scope.scope, entry_id, sealer)
    if payload is None or payload.exact_until <= now:
        return None
    return payload.entry(entry_id)


class Noted(NamedTuple):
    """An entry with what was learnt of it, and whose it is."""

    entry: Entry | None
    """None where there is none that any tier may serve."""
    owner: Owner
    notes: bytes | None
    scope: str
    """What the notes are sealed for."""


def read_payload(raw: object, scope: str, entry_id: str, sealer: Sealer) -> Payload | None:
    """What lies there, alive or not, as this version would write it."""
    payload = _payload(raw, scope, entry_id, sealer)
    if payload is None:
        return None
    fields = msgspec.structs.asdict(payload) | {"scope": bytes.fromhex(scope)}
    return Payload(**fields)


def read_noted(
    row: Sequence[bytes | None], entry_id: str, now: float, sealer: Sealer = CLEAR
) -> Noted:
    """``HMGET key entry scope tenant notes owner``."""
    raw, *texts = row[:3]
    scope, tenant = ((text or b"").decode(errors="replace") for text in texts)
    notes, owned = row[3], row[4]
    owner = Owner(scope if owned is None else owned.decode(errors="replace"), tenant)
    payload = _payload(raw, scope, entry_id, sealer)
    if payload is None or max(payload.exact_until, payload.semantic_until) <= now:
        return Noted(None, owner, None, scope)
    if notes is not None and sealer.seals:
        notes = sealer.open(notes, context=context_of("notes", scope, entry_id))
    return Noted(payload.entry(entry_id), owner, notes, scope)


class Found(NamedTuple):
    """What a search brought."""

    neighbours: list[Neighbour]
    """Entries that the semantic tier may serve, nearest first."""
    hiding: bool
    """May there be more, behind entries that may not be served?"""


def read_neighbours(
    reply: object,
    prefix: bytes,
    scope: ScopeDigest,
    attributes: Mapping[str, str],
    now: float,
    *,
    created_after: float = 0.0,
    wanted: int = 0,
    asked: int = 0,
    sealer: Sealer = CLEAR,
) -> Found:
    """What an ``FT.SEARCH`` reply to a search for ``asked`` neighbours holds, of which ``wanted``
    are needed.

    Raises ``StoreError`` for a reply of another form and for partial results: what such a search
    did not find may well exist.
    """
    neighbours = []
    seen: dict[bytes, None] = {}
    for key, fields in read_results(reply):
        if key in seen:  # a cluster's coordinator finds what is being moved on two shards
            continue
        seen[key] = None
        entry_id = key[len(prefix) :].decode()
        own = (fields.get(SCOPE) or b"").decode(errors="replace") if scope.wide else scope.scope
        payload = _payload(fields.get(ENTRY), own, entry_id, sealer)
        if payload is None or payload.semantic_until <= now or payload.created_at < created_after:
            continue
        if scope.wide and scope.wide not in payload.wide:
            continue
        if any(payload.attributes.get(name) != value for name, value in attributes.items()):
            continue
        distance = read_distance(fields.get(b"d"))
        if distance is None:
            continue
        notes = fields.get(NOTES)
        if notes is not None and sealer.seals:
            notes = sealer.open(notes, context=context_of("notes", own, entry_id))
        entry, widened = payload.entry(entry_id), own != scope.scope
        neighbours.append(Neighbour(distance, entry, None, notes, widened))
    neighbours.sort(key=lambda neighbour: neighbour.distance)
    total = cast("Mapping[bytes, Any]", reply).get(b"total_results", 0)
    return Found(neighbours, len(neighbours) < wanted and asked <= total)


def read_entries(
    rows: Iterable[tuple[bytes, Mapping[bytes, Any]]],
    prefix: bytes,
    now: float,
    sealer: Sealer = CLEAR,
) -> list[Entry]:
    """The live entries under these keys, whatever their scope, newest first."""
    entries = []
    for key, fields in dict(rows).items():
        entry_id, scope = key[len(prefix) :].decode(), fields.get(SCOPE) or b""
        payload = _payload(fields.get(ENTRY), scope.decode(errors="replace"), entry_id, sealer)
        if payload is not None and max(payload.exact_until, payload.semantic_until) > now:
            entries.append(payload.entry(entry_id))
    entries.sort(key=lambda entry: entry.created_at, reverse=True)
    return entries


class Page(NamedTuple):
    """A part of what a cursor goes through."""

    keys: list[bytes]
    cursor: int
    """Goes on from here; 0 at the end."""
    whole: bool
    """False where Redis cut it short."""


def read_page(reply: object) -> Page:
    """A reply of ``FT.AGGREGATE ... LOAD 1 @__key WITHCURSOR`` or ``FT.CURSOR READ``."""
    rows, cursor = reply if isinstance(reply, list) and len(reply) == 2 else (reply, None)
    if not isinstance(rows, dict) or b"results" not in rows or not isinstance(cursor, int):
        raise _strange("FT.AGGREGATE", rows)
    found = [(row.get(b"extra_attributes") or {}).get(_KEY) for row in rows[b"results"]]
    keys = [key for key in found if isinstance(key, bytes)]
    return Page(keys, cursor, not rows.get(b"warning"))


def read_results(reply: object) -> list[tuple[bytes, Mapping[bytes, Any]]]:
    """The keys that an ``FT.SEARCH`` reply names, each with the fields returned. Raises
    ``StoreError`` as ``read_neighbours`` does."""
    if not isinstance(reply, dict) or b"results" not in reply:
        raise _strange("FT.SEARCH", reply)
    if reply.get(b"warning"):
        raise StoreError(
            f"FT.SEARCH gave partial results ({reply[b'warning'][0]!r}); raise the server's "
            "search-timeout, or shrink the index."
        )
    return [(row[b"id"], row.get(b"extra_attributes") or {}) for row in reply[b"results"]]


def _strange(command: str, reply: object) -> StoreError:
    return StoreError(
        f"{command} answered with a {type(reply).__name__}, not with a RESP3 map of results; "
        "use Redis 7.2 or later with Search 2.8 or later."
    )


def read_distance(raw: object) -> float | None:
    """A cosine distance (0..2) as Redis writes it; None for anything else."""
    if not isinstance(raw, bytes | float | int):
        return None
    try:
        distance = float(raw)
    except ValueError:
        return None
    return min(2.0, max(0.0, distance)) if math.isfinite(distance) else None
