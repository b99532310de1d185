"""Entries as they leave Redis and come back: in clear, without vectors.

Whose an answer is, is a digest here as it is there. The entry's id follows from that digest, the
attributes and the wording, so an entry is taken back by a cache with the same secret alone, and
not where anything of that was changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

import msgspec

from semcache_async.config import CacheConfig
from semcache_async.errors import ConfigError, StoreError
from semcache_async.store.entries.moving import Parcel
from semcache_async.store.entries.payload import Payload, read_payload, seal_payload
from semcache_async.store.entries.schema import ATTRIBUTES, ENTRY, OWNER, SCOPE, TAGS, TENANT
from semcache_async.store.entries.source import Source
from semcache_async.store.keys import KeySpace, ScopeDigest
from semcache_async.store.sealing import Sealer, sealer_of
from semcache_async.types import Vector

__all__ = ["Digests", "Exported", "check_origin", "export", "parcel_of"]

_PAGE = 256
_PASSES = 20
_FIELDS = (ENTRY, SCOPE, TENANT, OWNER)

Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=315_360_000)]


class Digests(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What stands for an entry and for whose it is: 32 hex digits each."""

    id: Digest
    scope: Digest
    tenant: Digest
    owner: Digest | None = None
    """The scope of all versions of a namespace, where it has one."""
    wide: tuple[Digest, ...] = ()
    """By what calls that leave fields of their scope open find it."""


class Exported(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A line of an export."""

    prompt: str
    answer: str
    digests: Digests
    created_at: Annotated[float, msgspec.Meta(ge=0)]
    """Unix seconds."""
    exact_ttl_s: Seconds
    """Seconds that were left to it in the exact tier."""
    semantic_ttl_s: Seconds
    tags: tuple[str, ...] = ()
    attributes: dict[str, str] = {}
    stale_s: Seconds = 0.0
    """Of those, the last ones, in which it is stale."""
    made_s: Seconds = 0.0
    """Seconds that making its answer took."""
    validated_at: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    slid_at: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """When its end was last put off by a hit; 0: hits don't."""


async def export(
    sources: Sequence[Source], config: CacheConfig, write: Callable[[Exported], None]
) -> tuple[int, int]:
    """Write every live entry once; how many there were, and how many could not be read. Raises a
    ``StoreError``, where Redis does not show all too."""
    sealer = sealer_of(config)
    seen: set[bytes] = set()
    """Half of each id, which is enough to tell them apart."""
    unread: set[str] = set()

    async def visit(source: Source, ids: list[str]) -> None:
        new = [one for one in ids if bytes.fromhex(one)[:8] not in seen]
        asked = [("HMGET", source.keys.key(one), *_FIELDS) for one in new]
        time, *rows = await source.execute([("TIME",), *asked])
        now = int(time[0]) + int(time[1]) / 1e6
        for entry_id, (raw, *digests) in zip(new, rows, strict=True):
            scope, tenant, owner = ((one or b"").decode(errors="replace") for one in digests)
            payload = read_payload(raw, scope, entry_id, sealer)
            if payload is None:
                unread.update([entry_id] if raw is not None else ())
            elif max(payload.exact_until, payload.semantic_until) > now:
                seen.add(bytes.fromhex(entry_id)[:8])
                named = Digests(entry_id, scope, tenant, owner or None, payload.wide)
                write(_exported(payload, named, now))

    for source in sources:
        for _ in range(_PASSES):  # one that is written meanwhile may be passed by
            before = len(seen)
            whole = await source.walk(partial(visit, source), at_once=_PAGE)
            if whole and len(seen) == before:
                break
        else:
            raise StoreError(
                f"{before:,} entries were exported, and Redis did not come to the end of showing "
                "more; raise the server's search-timeout, and export again."
            )
    return len(seen), len(unread)


def check_origin(one: Exported, wording: str, keys: KeySpace) -> None:
    """Raise ``ConfigError`` unless a line is as a cache with this secret wrote it; ``wording``: its
    prompt as the exact tier has it."""
    if keys.id_of(_digest_of(one, keys), wording) != one.digests.id:
        raise ConfigError(
            "Its digests are not those of its prompt and attributes: it was changed, or exported "
            "from a cache with another secret."
        )


def parcel_of(
    one: Exported, vector: Vector | None, keys: KeySpace, sealer: Sealer, now: float
) -> Parcel:
    """What to bring in for a line of an export, at ``now`` by Redis's clock."""
    digest = _digest_of(one, keys)
    payload = Payload(
        scope=bytes.fromhex(digest.scope),
        prompt=one.prompt,
        text=one.answer,
        created_at=min(one.created_at, now),
        exact_until=now + one.exact_ttl_s,
        semantic_until=now + one.semantic_ttl_s,
        tags=one.tags,
        attributes=one.attributes,
        stale_s=one.stale_s,
        made_s=one.made_s,
        validated_at=min(one.validated_at, now),
        slid_at=min(one.slid_at, now),
        wide=one.digests.wide,
    )
    fields = {
        ENTRY: seal_payload(payload, one.digests.id, sealer),
        SCOPE: digest.scope.encode(),
        TENANT: digest.tenant.encode(),
        ATTRIBUTES: ",".join(digest.attributes + one.digests.wide).encode(),
        TAGS: ",".join(keys.tag(tag) for tag in one.tags).encode(),
    }
    if one.digests.owner is not None:
        fields[OWNER] = one.digests.owner.encode()
    longest = one.exact_ttl_s if vector is None else max(one.exact_ttl_s, one.semantic_ttl_s)
    until_ms = max(1, int((now + longest) * 1_000))
    present = {name: value for name, value in fields.items() if value}
    return Parcel(one.digests.id, present, payload, until_ms, vector)


def _digest_of(one: Exported, keys: KeySpace) -> ScopeDigest:
    return keys.scope_of(one.digests.scope, keys.attributes(one.attributes), one.digests.tenant)


def _exported(payload: Payload, digests: Digests, now: float) -> Exported:
    return Exported(
        payload.prompt,
        payload.text,
        digests,
        payload.created_at,
        max(0.0, payload.exact_until - now),
        max(0.0, payload.semantic_until - now),
        payload.tags,
        payload.attributes,
        payload.stale_s,
        payload.made_s,
        payload.validated_at,
        payload.slid_at,
    )
