"""Encryption at rest: what goes to Redis is sealed before, and opened when it comes back.

A sealed text is ``MAGIC``, the id of its key, a nonce and what AES-256-GCM makes of the data. The
``context`` (what it is, and where it belongs) is authenticated with it and not kept: sealed for one
place, it opens nowhere else.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

from semcache_async.config import encryption_key
from semcache_async.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["CLEAR", "KeySealer", "Sealer", "context_of", "sealer_of"]

MAGIC = b"\x00s1"
"""No JSON begins so."""
_ID, _NONCE = 4, 12
_HEAD = len(MAGIC) + _ID + _NONCE

_logger = logging.getLogger("semcache_async")


class Sealer(Protocol):
    """Seals what is written, and opens what is read."""

    seals: bool
    """False: data stays as it is, and need not be passed through here."""
    unopened: int
    """How often something was read that did not open."""

    def seal(self, data: bytes, *, context: bytes) -> bytes:
        """``data`` as it may lie in Redis."""

    def open(self, data: bytes, *, context: bytes) -> bytes | None:
        """What was sealed; None where it was not sealed for this context, with a key known here."""


class _Clear:
    """Without keys."""

    seals = False
    unopened = 0

    def seal(self, data: bytes, *, context: bytes) -> bytes:
        return data

    def open(self, data: bytes, *, context: bytes) -> bytes | None:
        return data


CLEAR: Sealer = _Clear()
"""Leaves everything in clear."""


class KeySealer:
    """Seals with the first key, opens with any. What lies there in clear does not open: whoever can
    write to Redis could have put it there."""

    seals = True

    def __init__(self, keys: Sequence[str]) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise ConfigError(
                "encryption_keys needs the package cryptography: "
                'pip install "semcache-async[encryption]".'
            ) from error
        self._changed = InvalidTag
        raw = [encryption_key(key) for key in keys]
        self._first = _id_of(raw[0])
        self._ciphers: dict[bytes, AESGCM] = {_id_of(key): AESGCM(key) for key in raw}
        self._said: set[str] = set()
        self.unopened = 0

    def __repr__(self) -> str:
        return f"<KeySealer: {len(self._ciphers)} keys, sealing with {self._first.hex()}>"

    def seal(self, data: bytes, *, context: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        sealed = self._ciphers[self._first].encrypt(nonce, data, context)
        return MAGIC + self._first + nonce + sealed

    def open(self, data: bytes, *, context: bytes) -> bytes | None:
        if not data.startswith(MAGIC) or len(data) < _HEAD:
            self._refuse("it is not sealed")
            return None
        name = data[len(MAGIC) : len(MAGIC) + _ID]
        cipher = self._ciphers.get(name)
        if cipher is None:
            self._refuse(f"there is no key {name.hex()} among encryption_keys")
            return None
        try:
            return cipher.decrypt(data[_HEAD - _NONCE : _HEAD], data[_HEAD:], context)
        except self._changed:
            self._refuse("it was changed, or moved here from elsewhere")
            return None

    def _refuse(self, why: str) -> None:
        self.unopened += 1
        if why not in self._said:
            self._said.add(why)
            _logger.warning("something in Redis does not open, and counts as a miss: %s", why)


def sealer_of(keys: Sequence[str]) -> Sealer:
    """What ``CacheConfig.encryption_keys`` mean. Raises ``ConfigError``."""
    return KeySealer(keys) if keys else CLEAR


def context_of(kind: str, scope: str, entry_id: str) -> bytes:
    """The context of what belongs to an entry."""
    return f"{kind} {scope} {entry_id}".encode()


def _id_of(key: bytes) -> bytes:
    return blake2b(key, digest_size=_ID, person=b"semcache key id").digest()
