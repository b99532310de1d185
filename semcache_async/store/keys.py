"""Names in Redis: keyed hashes in hex, so that no user text ever reaches a key or a query."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from hashlib import blake2b
from itertools import chain, combinations
from typing import NamedTuple

import msgspec

from semcache_async.types import WIDENABLE, EntryKey, Scope

__all__ = [
    "FIRST_PARTITION",
    "KeySpace",
    "ScopeDigest",
    "beyond",
    "is_entry_index",
    "log_key",
    "partitions",
    "plain",
]

_SCOPES_REMEMBERED = 4_096
FIRST_PARTITION = "p0"
_encode = msgspec.json.encode


class ScopeDigest(NamedTuple):
    """A scope as Redis sees it."""

    scope: str
    """32 hex digits for all fields but the attributes: what must be equal."""
    attributes: tuple[str, ...]
    """32 hex digits for each attribute: what must be carried."""
    seed: bytes
    """16 bytes for scope and attributes together: keys the entry ids of the exact tier."""
    tenant: str = ""
    """32 hex digits for the tenant alone: what is purged together."""
    wide: str = ""
    """32 hex digits for all fields but the attributes and those that a call left open: what must be
    equal in place of ``scope``. "": it left none open."""


class KeySpace:
    """Keys and digests of one cache: BLAKE2b-128 keyed by ``secret``, a purpose each.

    Every key and the index name carry the partition as a hash tag, so that in a Redis Cluster an
    index and its keys meet on one shard. Index and entries carry the fingerprint of what
    the vectors are, too; fences don't, so an invalidation stops writes under every fingerprint.
    """

    def __init__(
        self,
        name: str,
        fingerprint: str,
        secret: str,
        partition: str = FIRST_PARTITION,
        *,
        widenable: Sequence[str] = (),
    ) -> None:
        self._name = f"{name}:{{{partition}}}:"
        self._again = partial(
            KeySpace, name, secret=secret, partition=partition, widenable=widenable
        )
        self._open = list(_some(widenable))
        self.fingerprint = fingerprint
        self.index = f"{self._name}{fingerprint}"
        self.prefix = f"{self.index}:"
        self.only = ""
        """The digest of the tenant whose entries alone are here; "": anybody's."""
        self._fence = f"{name}:{{{partition}}}:fence:"
        self.probe = f"{name}:{{{partition}}}:probe:{fingerprint}"
        """The Redis key of the embedder's vector of its own probe."""
        self._evidence = f"{name}:{{{partition}}}:evidence:{fingerprint}:"
        self.claims = f"{self._name}claims:{fingerprint}"
        """The index of claims."""
        self.claim_prefix = f"{self.claims}:"
        self._inbox = f"{self._name}inbox:"
        self.versions = f"{self._name}version:"
        """What the keys of namespaces' versions begin with."""
        self._secret = secret.encode()
        self.scope = lru_cache(maxsize=_SCOPES_REMEMBERED)(self._scope)
        self.widened = lru_cache(maxsize=_SCOPES_REMEMBERED)(self._widened)
        """A scope as a call sees it that leaves fields open (of ``WIDENABLE``, in that order)."""
        self.carried = lru_cache(maxsize=_SCOPES_REMEMBERED)(self._carried)
        """By what calls that leave fields open find what is stored in a scope."""
        self.tag = lru_cache(maxsize=_SCOPES_REMEMBERED)(self._tag)
        """32 hex digits for an invalidation tag."""

    def siblings(self, indexes: Sequence[str], tenant: str = "") -> list[KeySpace]:
        """The key spaces of those among the indexes that have the same name and another
        fingerprint, or are one tenant's; without those of others than ``tenant`` (a digest), where
        it is named."""
        pattern = rf"{re.escape(self._name)}([0-9a-f]{{16}})(?:-([0-9a-f]{{32}}))?"
        found = sorted(match.groups("") for one in indexes if (match := re.fullmatch(pattern, one)))
        spaces = [
            self._again(of).of_tenant(only) for of, only in found if tenant in ("", only or tenant)
        ]
        return [space for space in spaces if space.index != self.index]

    def of_tenant(self, digest: str) -> KeySpace:
        """This, with one tenant's entries in an index of their own; "": this as it is. Whatever
        else lies in Redis is common to both."""
        space = copy.copy(self)
        if digest:
            space.only, space.index = digest, f"{self.index}-{digest}"
            space.prefix = f"{space.index}:"
        return space

    def of_model(self, fingerprint: str) -> KeySpace:
        """Beside this, for the vectors of another model."""
        return self._again(fingerprint)

    @property
    def tenants_prefix(self) -> str:
        """What the keys of all entries begin with that are in indexes of their tenants."""
        return f"{self._name}{self.fingerprint}-"

    def home(self, scope: Scope) -> str:
        """32 hex digits, the same for all scopes that one call may find entries of, and for all
        versions of one."""
        scope = scope.unversioned()
        return self.widened(scope, self._open[-1]).wide if self._open else self.scope(scope).scope

    def entry_id(self, key: EntryKey) -> str:
        """32 hex digits: one entry per scope, attributes and normalised prompt."""
        return blake2b(
            plain(key.normalised).encode(), digest_size=16, key=self.scope(key.scope).seed
        ).hexdigest()

    @staticmethod
    def id_of(digest: ScopeDigest, normalised: str) -> str:
        """The same, where only the digest of a scope is known."""
        return blake2b(plain(normalised).encode(), digest_size=16, key=digest.seed).hexdigest()

    def key(self, entry_id: str) -> str:
        """The Redis key of an entry."""
        return self.prefix + entry_id

    def claim(self, claim_id: str) -> str:
        """The Redis key of a claim."""
        return self.claim_prefix + claim_id

    def inbox(self, inbox: str) -> str:
        """The Redis key of an inbox."""
        return self._inbox + inbox

    def version(self, namespace: str) -> str:
        """The Redis key of a namespace's version, the same for every model."""
        return self.versions + self._digest(b"namespace", plain(namespace).encode()).hex()

    def sums(self, owner: str, period: int) -> str:
        """The Redis key of somebody's evidence in a period. Distances of two models never mix."""
        return f"{self._evidence}{owner}:{period}"

    def _tag(self, tag: str) -> str:
        return self._digest(b"tag", plain(tag).encode()).hex()

    def tenant(self, tenant: str) -> str:
        """32 hex digits for a tenant."""
        return self._digest(b"tenant", plain(tenant).encode()).hex()

    def attributes(self, attributes: Mapping[str, str]) -> tuple[str, ...]:
        """32 hex digits for each attribute, sorted by name."""
        return tuple(
            self._digest(b"attribute", _encode([plain(name), plain(attributes[name])])).hex()
            for name in sorted(attributes)
        )

    def record_fences(
        self, digest: ScopeDigest, tags: Sequence[str], entry_id: str
    ) -> tuple[str, ...]:
        """The keys of every fence that an entry with these digests has to pass."""
        tenant, scope = f"t-{digest.tenant}", f"s-{digest.scope}"
        named = [tenant, scope, f"e-{entry_id}"]
        for tag in tags:
            named += (f"g-{tag}", f"{tenant}-g-{tag}", f"{scope}-g-{tag}")
        return tuple(self._fence + one for one in named)

    def removal_fences(
        self,
        digest: ScopeDigest | None,
        tenant: str | None,
        tags: Sequence[str],
        entry_ids: Sequence[str],
    ) -> Iterator[str]:
        """The keys of the fences that keep out, between them, everything that a removal with these
        conditions concerns, and as little else as one condition or two can say."""
        if entry_ids:
            yield from (f"{self._fence}e-{id_}" for id_ in entry_ids)
            return
        within = ""
        if digest is not None:
            within = f"s-{digest.scope}"
        elif tenant is not None:
            within = f"t-{tenant}"
        if tags:
            yield from (f"{self._fence}{within and within + '-'}g-{tag}" for tag in tags)
        elif within:
            yield self._fence + within

    def _widened(self, scope: Scope, fields: tuple[str, ...]) -> ScopeDigest:
        fixed = _fixed(scope)
        for name in fields:
            fixed[1 + WIDENABLE.index(name)] = None
        wide = self._digest(b"widened", _encode([fields, fixed]))
        return self.scope(scope)._replace(wide=wide.hex())

    def _carried(self, scope: Scope) -> tuple[str, ...]:
        return tuple(self.widened(scope, fields).wide for fields in self._open)

    def _scope(self, scope: Scope) -> ScopeDigest:
        digest = self._digest(b"scope", _encode(_fixed(scope))).hex()
        return self.scope_of(digest, self.attributes(scope.attributes), self.tenant(scope.tenant))

    def scope_of(self, scope: str, attributes: tuple[str, ...], tenant: str) -> ScopeDigest:
        """From digests in hex."""
        seed = self._digest(b"entry", bytes.fromhex(scope) + "".join(attributes).encode())
        return ScopeDigest(scope, attributes, seed, tenant)

    def _digest(self, purpose: bytes, data: bytes) -> bytes:
        return blake2b(data, digest_size=16, key=self._secret, person=purpose).digest()


def partitions(count: int) -> list[str]:
    """The names of so many partitions, in order."""
    return [f"p{n}" for n in range(count)]


def is_entry_index(index: str, name: str) -> bool:
    """Does an index hold entries of the cache ``name``, for whatever model?"""
    pattern = rf"{re.escape(name)}:\{{\w+\}}:[0-9a-f]{{16}}(?:-[0-9a-f]{{32}})?"
    return bool(re.fullmatch(pattern, index))


def beyond(indexes: Sequence[str], name: str, count: int) -> list[str]:
    """Those of the indexes that hold entries of the cache ``name`` in partitions which it does not
    have, if it has ``count``."""
    known = tuple(f"{name}:{{{partition}}}:" for partition in partitions(count))
    mine = (index for index in indexes if is_entry_index(index, name))
    return sorted(index for index in mine if not index.startswith(known))


def log_key(name: str, kind: str) -> str:
    """The key of a log of the cache ``name``: beside its entries, outside the index's prefix, and
    the same whatever the model is."""
    return f"{name}:{{{FIRST_PARTITION}}}:{kind}"


def plain(text: str) -> str:
    """``text`` as a ``str`` itself: what frameworks derive from it, encoders refuse."""
    return str.__str__(text)


def _fixed(scope: Scope) -> list[object]:
    """Everything of a scope that must be equal: the tenant, then the fields of ``WIDENABLE``, then
    the namespace and its version, if it has one."""
    fixed: list[object] = [
        plain(scope.tenant),
        plain(scope.locale),
        plain(scope.model),
        plain(scope.system_prompt),
        scope.temperature,
        [(plain(name), _value(value)) for name, value in scope.parameters.items()],
        plain(scope.corpus_version),
    ]
    return [*fixed, plain(scope.namespace), scope.epoch] if scope.namespace else fixed


def _some(fields: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Some of them, in all ways: all of them at last."""
    return chain.from_iterable(combinations(fields, n + 1) for n in range(len(fields)))


def _value(value: object) -> object:
    """A parameter's value as the encoder takes it, different values staying different."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else ["int", hex(value)]
    return float(value)  # type: ignore[arg-type]
