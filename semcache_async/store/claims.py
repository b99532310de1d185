"""Claims and inboxes in Redis.

A claim is a hash of its own, with a time to live, in an index of its own: FLAT, since few stand at
once and none may be overlooked. It is written and the others are searched in one transaction, so
that of any two exactly the later one finds the other. An inbox is a stream that its process reads
with one blocking command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np

from semcache_async.errors import StoreError
from semcache_async.store.entries.payload import read_distance, read_results
from semcache_async.store.entries.schema import (
    ATTRIBUTES,
    SCOPE,
    TAGS,
    TENANT,
    VECTOR,
    is_missing_index,
)
from semcache_async.store.keys import KeySpace, plain
from semcache_async.store.sealing import CLEAR, Sealer
from semcache_async.store.wire import Command, RedisPipelines
from semcache_async.store.wire.replies import checked
from semcache_async.types import Claim, Letter, Rival, Vector

__all__ = ["ClaimKeeper", "standing"]

_SEED, _ENTRY_ID, _CLAIM = b"seed", b"entry_id", b"claim"
"""Fields of a claim's hash beside those of an entry's: scope and attributes together; the entry
that is being made; what is read."""


def standing(key: str) -> Command:
    """Asks for something that every claim has; None where it does not stand. ``EXISTS`` would do
    as well, but a user of the store may be allowed to read hashes and no more."""
    return "HGET", key, _SEED


_AT_MOST = 300
"""Rivals that are looked at, the nearest ones."""
_LONGEST = 8_192
"""Characters of a prompt beyond which its claim is found by its wording alone."""
_SLACK = 1e-4
"""Redis's distances are off by less."""
_INBOX_LEASES = 20
"""An inbox lives so many leases without a renewal."""
_INBOX_LETTERS, _READ_AT_ONCE, _BLOCK_MS = 10_000, 500, 1_000
_CLAIM_ID, _BODY = b"c", b"b"
"""Fields of a letter."""
_DISTANCE = b"d"
_NEAR = "@seed:{$s} @vec:[VECTOR_RANGE $r $v]=>{$YIELD_DISTANCE_AS: d}"
_encode = msgspec.msgpack.Encoder().encode


class _Claimed(msgspec.Struct, array_like=True, gc=False):
    """What a claim's hash says."""

    inbox: str
    seed: bytes
    entry_id: str
    prompt: str
    """Empty for a long one, which is followed by those of the same wording only."""


_decode = msgspec.msgpack.Decoder(_Claimed).decode


class ClaimKeeper:
    """See ``protocols.SharingStore`` for what the methods promise."""

    def __init__(
        self,
        pipelines: RedisPipelines,
        keys: KeySpace,
        *,
        dim: int,
        lease_s: float,
        sealer: Sealer = CLEAR,
    ) -> None:
        self._pipelines = pipelines
        self._keys = keys
        self._dim = dim
        self._sealer = sealer
        self._lease_ms = max(1, int(lease_s * 1_000))

    async def prepare(self) -> None:
        """Create the index, unless it is there."""
        keys = self._keys
        tags = (SCOPE, TENANT, ATTRIBUTES, TAGS, _SEED, _ENTRY_ID)
        fields = [part for name in tags for part in (name, "TAG")]
        vector = ("TYPE", "FLOAT32", "DIM", self._dim, "DISTANCE_METRIC", "COSINE")
        create: Command = (
            *("FT.CREATE", keys.claims, "ON", "HASH", "PREFIX", 1, keys.claim_prefix, "SCHEMA"),
            *(*fields, VECTOR, "VECTOR", "FLAT", len(vector), *vector),
        )
        (info,) = await self._pipelines.execute([("FT.INFO", keys.claims)])
        if not is_missing_index(info):  # a user of the store may not be allowed to create any
            checked(info)
            return
        (reply,) = await self._pipelines.execute([create])
        if "already exists" not in str(reply).lower():
            checked(reply)

    async def claim(self, claims: Sequence[Claim]) -> list[Sequence[Rival] | Exception]:
        commands: list[Command] = []
        for claim in claims:
            commands += self._claiming(claim)
        replies = await self._pipelines.execute(commands, again=False)
        each = len(commands) // len(claims)
        said = [replies[start : start + each] for start in range(0, len(replies), each)]
        ends = [one[-1] for one in said if isinstance(one[-1], list)]
        if any(is_missing_index(part) for end in ends for part in end):
            await self.prepare()
        return [self._rivals(claim, one) for claim, one in zip(claims, said, strict=True)]

    async def renew(self, inbox: str, claims: Sequence[str]) -> list[bool]:
        key = self._keys.inbox(inbox)
        kept: list[Command] = [("PEXPIRE", self._keys.claim(id_), self._lease_ms) for id_ in claims]
        life_ms = self._lease_ms * _INBOX_LEASES
        there, *stood = await self._pipelines.execute([("PEXPIRE", key, life_ms), *kept])
        if not checked(there):
            await self._open(inbox)
        return [bool(checked(reply)) for reply in stood]

    async def stand(self, claims: Sequence[str]) -> list[bool | Exception]:
        replies = await self._pipelines.execute([standing(self._keys.claim(id_)) for id_ in claims])
        return [reply if isinstance(reply, Exception) else bool(reply) for reply in replies]

    async def vectors(self, claims: Sequence[str]) -> list[Vector | Exception | None]:
        replies = await self._pipelines.execute(
            [("HGET", self._keys.claim(id_), VECTOR) for id_ in claims]
        )
        return [np.frombuffer(one, np.float32) if type(one) is bytes else one for one in replies]

    async def withdraw(self, claims: Sequence[str]) -> list[Exception | None]:
        (reply,) = await self._pipelines.execute(
            [("UNLINK", *[self._keys.claim(id_) for id_ in claims])]
        )
        return [reply if isinstance(reply, Exception) else None] * len(claims)

    async def write(self, letters: Sequence[tuple[str, Letter]]) -> list[bool | Exception]:
        replies = await self._pipelines.execute(
            [self._letter(inbox, letter) for inbox, letter in letters]
        )
        return [reply if isinstance(reply, Exception) else reply is not None for reply in replies]

    async def leave(self, inbox: str) -> None:
        (reply,) = await self._pipelines.execute([("UNLINK", self._keys.inbox(inbox))])
        checked(reply)

    async def hear(self, inbox: str, heard: Callable[[Letter | None], None]) -> None:
        key = self._keys.inbox(inbox)
        await self._open(inbox)
        seen = b"0"

        def reading(*block: str | int) -> Sequence[Command]:
            read = ("XREAD", "COUNT", _READ_AT_ONCE, *block, "STREAMS", key, seen)
            return [("XTRIM", key, "MINID", seen), read]

        for reply in await self._pipelines.execute(reading()):
            checked(reply)  # who may not read must not be written to
        heard(None)
        block = partial(reading, "BLOCK", _BLOCK_MS)

        async for _, reply in self._pipelines.ask(block, wait_s=_BLOCK_MS / 1_000):
            for id_, fields in (checked(reply) or {}).get(key.encode(), ()):
                seen = id_
                parts = dict(zip(fields[::2], fields[1::2], strict=False))
                claim = parts.get(_CLAIM_ID, b"").decode(errors="replace")
                if claim and _BODY in parts:
                    body = self._sealer.open(parts[_BODY], context=_addressed(inbox, claim))
                    if body is not None:
                        heard(Letter(claim, body))

    async def purge(self, query: str, params: Command) -> None:
        """Withdraw the claims that a query finds, and write so to their inboxes."""
        search: Command = (
            *("FT.SEARCH", self._keys.claims, query, *params, "RETURN", 1, _CLAIM),
            *("LIMIT", 0, _AT_MOST, "DIALECT", 2),
        )
        while True:
            (reply,) = await self._pipelines.execute([search])
            if is_missing_index(reply):
                return
            rows = read_results(checked(reply))
            doomed: list[Command] = []
            for key, fields in rows:
                doomed.append(("UNLINK", key))
                id_, claimed = self._read(key, fields)
                if claimed is not None:
                    doomed.append(self._letter(claimed.inbox, Letter(id_, b"")))
            for one in await self._pipelines.execute(doomed) if doomed else ():
                checked(one)
            if len(rows) < _AT_MOST:
                return

    async def _open(self, inbox: str) -> None:
        key = self._keys.inbox(inbox)
        for reply in await self._pipelines.execute(
            [
                ("XADD", key, "*", _CLAIM_ID, b"", _BODY, b""),
                ("PEXPIRE", key, self._lease_ms * _INBOX_LEASES),
            ]
        ):
            checked(reply)

    def _letter(self, inbox: str, letter: Letter) -> Command:
        body = self._sealer.seal(letter.body, context=_addressed(inbox, letter.claim))
        return (
            *("XADD", self._keys.inbox(inbox), "NOMKSTREAM", "MAXLEN", "~", _INBOX_LETTERS, "*"),
            *(_CLAIM_ID, letter.claim, _BODY, body),
        )

    def _read(self, key: bytes, fields: Mapping[bytes, Any]) -> tuple[str, _Claimed | None]:
        """Its id; None for a claim whose lease has ended, that another version of this wrote, or
        that does not open."""
        id_ = key.removeprefix(self._keys.claim_prefix.encode()).decode()
        raw = fields.get(_CLAIM)
        opened = None if raw is None else self._sealer.open(raw, context=_claimed(id_))
        try:
            return id_, None if opened is None else _decode(opened)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return id_, None

    def _claiming(self, claim: Claim) -> list[Command]:
        scope = claim.key.scope
        digest = self._keys.scope(scope)
        entry_id = self._keys.entry_id(claim.key)
        key = self._keys.claim(claim.id)
        long = len(claim.prompt) > _LONGEST
        prompt = "" if long else plain(claim.prompt)
        claimed = _encode(_Claimed(claim.inbox, digest.seed, entry_id, prompt))
        fields: Command = (
            *(SCOPE, digest.scope, TENANT, digest.tenant),
            *(ATTRIBUTES, ",".join(digest.attributes)),
            *(TAGS, ",".join([self._keys.tag(tag) for tag in claim.tags])),
            *(_SEED, digest.seed.hex(), _ENTRY_ID, entry_id),
            *(_CLAIM, self._sealer.seal(claimed, context=_claimed(claim.id))),
        )
        same = ("FT.SEARCH", self._keys.claims, "@entry_id:{$i}", "PARAMS", 2, "i", entry_id)
        near: Command = ("PING",)  # as many commands for each claim
        if claim.vector is not None and not long:
            vector = np.asarray(claim.vector, np.float32).tobytes()
            fields += (VECTOR, vector)
            if claim.reach >= 0.0:
                reach = repr(min(2.0, claim.reach + _SLACK))
                near = (
                    *("FT.SEARCH", self._keys.claims, _NEAR, "PARAMS", 6),
                    *("s", digest.seed.hex(), "r", reach, "v", vector),
                    *("SORTBY", _DISTANCE, "RETURN", 2, _CLAIM, _DISTANCE),
                    *("LIMIT", 0, _AT_MOST, "DIALECT", 2),
                )
        return [
            ("MULTI",),
            ("HSET", key, *fields),
            ("PEXPIRE", key, self._lease_ms),
            (*same, "RETURN", 1, _CLAIM, "LIMIT", 0, _AT_MOST, "DIALECT", 2),
            near,
            ("EXEC",),
        ]

    def _rivals(self, claim: Claim, said: Sequence[Any]) -> Sequence[Rival] | Exception:
        """``said``: the replies to all that ``_claiming`` asked."""
        try:
            for reply in said:
                checked(reply)  # why it was not executed comes first
            _, _, same, near = [checked(reply) for reply in said[-1]]
            rows = read_results(same)
            if isinstance(near, Mapping):
                rows += read_results(near)
        except (StoreError, TypeError, ValueError) as error:
            return (
                error
                if isinstance(error, StoreError)
                else StoreError(f"EXEC ({type(error).__name__}).")
            )
        digest = self._keys.scope(claim.key.scope)
        entry_id = self._keys.entry_id(claim.key)
        rivals: dict[str, Rival] = {}
        for key, fields in rows:
            id_, claimed = self._read(key, fields)
            if id_ == claim.id or claimed is None or claimed.seed != digest.seed:
                continue
            distance = read_distance(fields.get(_DISTANCE))
            rivals[id_] = Rival(
                float("nan") if distance is None else distance,
                claimed.prompt or claim.prompt,
                id_,
                claimed.inbox,
                claimed.entry_id == entry_id,
            )
        return list(rivals.values())


def _claimed(claim: str) -> bytes:
    """What a claim is sealed for."""
    return f"claim {claim}".encode()


def _addressed(inbox: str, claim: str) -> bytes:
    """What a letter is sealed for."""
    return f"letter {inbox} {claim}".encode()
