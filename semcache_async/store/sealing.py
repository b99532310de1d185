"""Encryption at rest: what goes to Redis is sealed before, and opened when it comes back.

A sealed text is ``MAGIC``, the id of its key, 24 random bytes and what AES-256-GCM makes of the
data. Half of the random bytes make a key of its own from the key (BLAKE2b), in the manner of
XAES-256-GCM, and half are its nonce: 12 bytes alone would do for 2^32 texts. The ``context`` (what
it is, and where it belongs) is authenticated with it and not kept: sealed for one place, it opens
nowhere else.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

from semcache_async.config import CacheConfig, encryption_key
from semcache_async.errors import ConfigError
from semcache_async.store.squeezing import PLAIN, Squeezer

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["CLEAR", "KeySealer", "Sealer", "context_of", "sealer_of"]

MAGIC = b"\x00s1"
"""No JSON begins so."""
_SAID = 16
"""Reasons that are logged: who can write to Redis can name any number of keys."""
_BESIDE = 65_536
"""Bytes that an entry may take beside prompt and answer."""
_ID, _SALT, _NONCE = 4, 12, 12
_HEAD = len(MAGIC) + _ID + _SALT + _NONCE

_logger = logging.getLogger("semcache_async")


class Sealer(Protocol):
    """Seals what is written, and opens what is read."""

    seals: bool
    """False: data stays as it is, and need not be passed through here."""
    unopened: int
    """How often something was read that did not open."""
    squeezer: Squeezer
    """What is long is squeezed by it before, and expanded after."""

    def seal(self, data: bytes, *, context: bytes) -> bytes:
        """``data`` as it may lie in Redis."""

    def open(self, data: bytes, *, context: bytes) -> bytes | None:
        """What was sealed; None where it was not sealed for this context, with a key known here."""


class _Clear:
    """Without keys."""

    seals = False
    unopened = 0

    def __init__(self, squeezer: Squeezer = PLAIN) -> None:
        self.squeezer = squeezer

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

    def __init__(self, keys: Sequence[str], squeezer: Squeezer = PLAIN) -> None:
        self.squeezer = squeezer
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise ConfigError(
                "encryption_keys needs the package cryptography: "
                'pip install "semcache-async[encryption]".'
            ) from error
        self._cipher: type[AESGCM] = AESGCM
        self._changed = InvalidTag
        raw = [encryption_key(key) for key in keys]
        self._first = _id_of(raw[0])
        self._keys = {_id_of(key): key for key in raw}
        self._said: set[str] = set()
        self.unopened = 0

    def __repr__(self) -> str:
        return f"<KeySealer: {len(self._keys)} keys, sealing with {self._first.hex()}>"

    def seal(self, data: bytes, *, context: bytes) -> bytes:
        once = secrets.token_bytes(_SALT + _NONCE)
        cipher = self._cipher(_key_of(self._keys[self._first], once[:_SALT]))
        return MAGIC + self._first + once + cipher.encrypt(once[_SALT:], data, context)

    def open(self, data: bytes, *, context: bytes) -> bytes | None:
        if not data.startswith(MAGIC) or len(data) < _HEAD:
            self._refuse("it is not sealed")
            return None
        name = data[len(MAGIC) : len(MAGIC) + _ID]
        key = self._keys.get(name)
        if key is None:
            self._refuse(f"there is no key {name.hex()} among encryption_keys")
            return None
        once = data[len(MAGIC) + _ID : _HEAD]
        try:
            return self._cipher(_key_of(key, once[:_SALT])).decrypt(
                once[_SALT:], data[_HEAD:], context
            )
        except self._changed:
            self._refuse("it was changed, or moved here from elsewhere")
            return None

    def _refuse(self, why: str) -> None:
        self.unopened += 1
        if why not in self._said and len(self._said) < _SAID:
            self._said.add(why)
            _logger.warning("something in Redis does not open, and counts as a miss: %s", why)


def sealer_of(config: CacheConfig) -> Sealer:
    """What ``encryption_keys`` and ``compress_over_bytes`` mean. Raises ``ConfigError``."""
    most = config.max_prompt_bytes + config.max_answer_bytes + _BESIDE
    squeezer = Squeezer(over=config.compress_over_bytes, most=most)
    keys = config.encryption_keys
    return KeySealer(keys, squeezer) if keys else _Clear(squeezer)


def context_of(kind: str, scope: str, entry_id: str) -> bytes:
    """The context of what belongs to an entry."""
    return f"{kind} {scope} {entry_id}".encode()


def _key_of(key: bytes, salt: bytes) -> bytes:
    return blake2b(salt, digest_size=32, key=key, person=b"semcache seal").digest()


def _id_of(key: bytes) -> bytes:
    return blake2b(key, digest_size=_ID, person=b"semcache key id").digest()
