"""Names in Redis: keyed hashes in hex, so that no user text ever reaches a key or a query."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from semcache_async.types import EntryKey, Scope

__all__ = ["KeySpace", "ScopeDigest", "log_key"]

_SCOPES_REMEMBERED = 4_096
_PARTITION = "p0"
_encode = msgspec.json.encode


class ScopeDigest(NamedTuple):
    """A scope as Redis sees it."""

    scope: str
    """32 hex digits for all fields but the attributes: what must be equal."""
    attributes: tuple[str, ...]
    """32 hex digits for each attribute: what must be carried."""
    seed: bytes
    """16 bytes for scope and attributes together: keys the entry ids of the exact tier."""


class KeySpace:
    """Keys and digests of one cache: BLAKE2b-128 keyed by ``secret``, a purpose each.

    Every key and the index name carry the partition (one today) as a hash tag, so that in a Redis
    Cluster an index and its keys meet on one shard, and the fingerprint of what the vectors are.
    """

    def __init__(
        self, name: str, fingerprint: str, secret: str, partition: str = _PARTITION
    ) -> None:
        self.index = f"{name}:{{{partition}}}:{fingerprint}"
        self.prefix = f"{self.index}:"
        self._secret = secret.encode()
        self.scope = lru_cache(maxsize=_SCOPES_REMEMBERED)(self._scope)

    def entry_id(self, key: EntryKey) -> str:
        """32 hex digits: one entry per scope, attributes and normalised prompt."""
        return blake2b(
            key.normalised.encode(), digest_size=16, key=self.scope(key.scope).seed
        ).hexdigest()

    def key(self, entry_id: str) -> str:
        """The Redis key of an entry."""
        return self.prefix + entry_id

    def tag(self, tag: str) -> str:
        """32 hex digits for an invalidation tag."""
        return self._digest(b"tag", tag.encode()).hex()

    def attributes(self, attributes: Mapping[str, str]) -> tuple[str, ...]:
        """32 hex digits for each attribute, sorted by name."""
        return tuple(
            self._digest(b"attribute", _encode([name, attributes[name]])).hex()
            for name in sorted(attributes)
        )

    def _scope(self, scope: Scope) -> ScopeDigest:
        fixed = _encode(
            [
                scope.tenant,
                scope.locale,
                scope.model,
                scope.system_prompt,
                scope.temperature,
                list(scope.parameters.items()),
                scope.corpus_version,
            ]
        )
        digest = self._digest(b"scope", fixed)
        attributes = self.attributes(scope.attributes)
        seed = self._digest(b"entry", digest + "".join(attributes).encode())
        return ScopeDigest(digest.hex(), attributes, seed)

    def _digest(self, purpose: bytes, data: bytes) -> bytes:
        return blake2b(data, digest_size=16, key=self._secret, person=purpose).digest()


def log_key(name: str, kind: str) -> str:
    """The key of a log of the cache ``name``: beside its entries, outside the index's prefix, and
    the same whatever the model is."""
    return f"{name}:{{{_PARTITION}}}:{kind}"
