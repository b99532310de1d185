"""Who asks, as the API key says. Only hashes of keys are kept."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semcache_async.errors import ConfigError
from semcache_async.serve.errors import Unauthorized
from semcache_async.serve.settings import Settings

__all__ = ["CHALLENGE", "Caller", "KeyRing", "hash_key", "key_of", "new_key"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    tenant: str = ""
    admin: bool = False
    """May see and remove other tenants' entries, and review hits."""
    author: str = ""
    """The name of the key, under which its entries can be removed; "" without a key."""


_EVERYBODY = Caller(tenant="", admin=True)
_NOBODY = Caller()
_EXAMPLE = '[[keys]] hash = "sha256:..." tenant = "acme" admin = false'
CHALLENGE = {"WWW-Authenticate": "Bearer"}
"""Goes with a 401."""


def new_key() -> str:
    """A key that nobody can guess: 256 random bits."""
    return f"sk-semcache-{secrets.token_urlsafe(32)}"


def hash_key(key: str) -> str:
    """What stands for ``key`` in a keys file. Plain SHA-256: for random keys a slow hash adds
    nothing."""
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def key_of(headers: Mapping[str, str]) -> str | None:
    """The key that a request brings: as OpenAI's clients send it, else as Anthropic's or Azure's
    do. None without one, "" for an ``Authorization`` of another kind. ``headers`` know no case."""
    bearer = headers.get("Authorization")
    if bearer is not None:
        kind, _, key = bearer.partition(" ")
        return key.strip() if kind.lower() == "bearer" else ""
    return headers.get("x-api-key", headers.get("api-key"))


class KeyRing:
    """The keys of one service, each with its caller."""

    def __init__(
        self,
        callers: Mapping[str, Caller] | None = None,
        *,
        allow_anonymous: bool = False,
        secret: str = "",
    ) -> None:
        """``callers`` by ``hash_key`` of their keys; None lets everybody in as an admin.
        ``secret``: any other key is one for the upstream, and a tenant of its own, whose name is
        made of the key and this."""
        self._callers = (
            None
            if callers is None
            else {_digest(text): (_digest(text), caller) for text, caller in callers.items()}
        )
        self._secret = secret.encode()
        self._without_key = _EVERYBODY if callers is None else None
        if callers is not None and allow_anonymous:
            self._without_key = _NOBODY

    @property
    def open(self) -> bool:
        """Whether everybody is an admin."""
        return self._callers is None

    @property
    def several_tenants(self) -> bool:
        """Whether callers who are no admins have more tenants than one."""
        callers = [caller for _, caller in (self._callers or {}).values()]
        if self._callers is not None and self._without_key is not None:
            callers.append(self._without_key)
        return len({caller.tenant for caller in callers if not caller.admin}) > 1

    @property
    def keyless(self) -> bool:
        """Whether anybody is let in without a key."""
        return self._without_key is not None

    @property
    def passing(self) -> bool:
        """Whether callers bring keys that only the upstream can tell from made-up ones."""
        return bool(self._secret)

    @classmethod
    def of(cls, settings: Settings) -> KeyRing:
        """Those that ``settings`` name. Raises ``ConfigError``."""
        if settings.pass_keys:
            return cls({}, secret=settings.cache.secret)
        return cls.load(settings.api_keys_file, allow_anonymous=settings.allow_anonymous)

    @classmethod
    def load(cls, path: Path | None, *, allow_anonymous: bool = False) -> KeyRing:
        """The keys in a TOML or JSON file. Raises ``ConfigError``."""
        if path is None:
            return cls(None)
        return cls(_read(path), allow_anonymous=allow_anonymous)

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """Who asks. Raises ``Unauthorized``."""
        if self._callers is None:
            return _EVERYBODY
        key = key_of(headers)
        if key is None:
            if self._without_key is not None:
                return self._without_key
            raise Unauthorized(
                "No API key; send it as Authorization: Bearer KEY, x-api-key or api-key.",
                code="missing_api_key",
                headers=CHALLENGE,
            )
        if self._secret and key and key.isascii() and key.isprintable():
            return self._bringing(key)
        # aiohttp decodes header bytes so; what the client sent is what is hashed.
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        known = self._callers.get(digest)
        if key and known and hmac.compare_digest(known[0], digest):
            return known[1]
        raise Unauthorized(
            "The API key is not known here.", code="invalid_api_key", headers=CHALLENGE
        )

    def _bringing(self, key: str) -> Caller:
        made = hashlib.blake2b(key.encode(), digest_size=16, key=self._secret, person=b"caller")
        tenant = f"key-{made.hexdigest()}"
        return Caller(tenant=tenant, author=tenant[:16])


def _read(path: Path) -> dict[str, Caller]:
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # either format's own, and what is not UTF-8
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise ConfigError(f"{path} is not valid {kind}.") from error
    listed = data.get("keys") if isinstance(data, dict) else None
    if not isinstance(listed, list) or not listed or len(data) > 1:
        raise ConfigError(f"{path} must hold a list of keys and nothing else, such as {_EXAMPLE}.")
    callers: dict[str, Caller] = {}
    for number, item in enumerate(listed, 1):
        hashed, caller = _read_one(f"{path}: key {number}", item)
        if hashed in callers:
            raise ConfigError(f"{path}: key {number} occurs twice.")
        callers[hashed] = caller
    return callers


def _read_one(where: str, item: Any) -> tuple[str, Caller]:
    if not isinstance(item, dict):
        raise ConfigError(f"{where} must be a table, such as {_EXAMPLE}.")
    if strange := sorted(item.keys() - {"hash", "name", "tenant", "admin"}):
        raise ConfigError(
            f"{where}: there is no field {strange[0]}; use hash, name, tenant and admin."
        )
    hashed, tenant, admin = item.get("hash"), item.get("tenant", ""), item.get("admin", False)
    if not isinstance(hashed, str) or not re.fullmatch(r"sha256:[0-9a-f]{64}", hashed):
        raise ConfigError(
            f"{where}: hash must be what semcache serve --hash-key prints; keep the key itself "
            "out of files."
        )
    if not isinstance(tenant, str) or not isinstance(admin, bool):
        raise ConfigError(f"{where}: tenant must be text and admin true or false.")
    if not tenant and not admin:
        raise ConfigError(f"{where}: name its tenant, or make it an admin's.")
    name = item.get("name", f"key-{hashed.removeprefix('sha256:')[:12]}")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_.@-]{1,64}", name):
        raise ConfigError(f"{where}: name must be 1 to 64 letters, digits, '_', '.', '@' or '-'.")
    return hashed, Caller(tenant=tenant, admin=admin, author=name)


def _digest(hashed: str) -> bytes:
    return bytes.fromhex(hashed.removeprefix("sha256:"))
