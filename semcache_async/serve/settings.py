"""Every option of the service, with its unit and range, and where its value comes from."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from semcache_async.config import CacheConfig
from semcache_async.errors import ConfigError

__all__ = ["Patterns", "Settings", "read_settings"]

Patterns = bool | tuple[str, ...]
"""True: the built-in wordings; False: none; else regular expressions in their place."""

_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    str | None: "text",
    Path | None: "a path",
    tuple[str, ...]: "a list of texts",
    Patterns: "true, false or a list of regular expressions",
}
_ENV = "SEMCACHE_"
_KEYS = (f"{_ENV}UPSTREAM_KEY", "OPENAI_API_KEY")
_CACHE = "cache"
_LLMS = ("upstream_url", "simulate_llm")
"""Whoever names one of them overrules the other."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What ``semcache serve`` is told. Raises ``ConfigError`` on nonsense."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every interface."""
    port: int = 8080
    """TCP port (0..65535); 0 takes a free one."""
    workers: int = 1
    """Processes that share the port (1..256)."""
    redis_url: str | None = None
    """``redis://``, ``rediss://``, ``unix://`` or ``embedded:DIRECTORY``; None for an embedded
    Redis that ends with the service."""

    upstream_url: str | None = None
    """Base URL of an OpenAI-compatible service, such as ``https://api.openai.com/v1``."""
    simulate_llm: bool = False
    """Answer from a simulated LLM instead of ``upstream_url``."""
    upstream_key: str = field(default="", repr=False)
    """Bearer token for the upstream. Read from SEMCACHE_UPSTREAM_KEY or OPENAI_API_KEY alone."""
    upstream_connect_timeout_s: float = 10.0
    """Seconds to connect to the upstream (0.001..3600)."""
    upstream_idle_timeout_s: float = 120.0
    """Seconds without a byte from the upstream, the wait for the first one included
    (0.001..86400)."""
    upstream_timeout_s: float = 600.0
    """Seconds for one whole call of the upstream (0.001..86400)."""

    max_body_bytes: int = 4 * 2**20
    """Bytes of a request's body, at most (1024..2**29). The default holds the text of a million
    tokens, the longest context window in use."""
    body_timeout_s: float = 20.0
    """Seconds in which a body must have arrived whole (0.001..3600)."""
    keepalive_timeout_s: float = 75.0
    """Seconds that a connection may take to send the headers of its first request, or of the next
    (0.001..3600)."""
    drain_timeout_s: float = 30.0
    """Seconds that requests under way may still take once the service was told to end
    (0..3600)."""

    api_keys_file: Path | None = None
    """Hashed API keys (``semcache serve --hash-key``); None lets everybody in as an admin."""
    allow_anonymous: bool = False
    """With API keys: answer requests that bring none too, as the tenant "" and no admin."""
    hide_similarity: bool = False
    """Tell callers neither similarity nor distance: both say what others have asked."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may read the answers: ``https://host[:port]``, or ``*``."""
    log_prompts: bool = False
    """Write prompts into the log."""

    corpus_version: str = ""
    """Part of every scope: a new one makes all earlier answers unreachable."""
    max_temperature: float = 1.0
    """Requests with a temperature over this (0..2) bypass the cache."""
    bypass_tools: bool = True
    """Requests that offer tools bypass the cache."""
    bypass_n: bool = True
    """Requests for several choices bypass the cache."""
    bypass_images: bool = True
    """Requests with images, audio or files bypass the cache."""
    bypass_personal: Patterns = True
    """Prompts about the asker's own person or things bypass the cache."""
    bypass_time_bound: Patterns = True
    """Prompts whose right answer changes with time bypass the cache."""

    usd_per_million_tokens_in: float = 2.5
    """Price of prompt tokens, for the estimate of what hits save (0..1e6)."""
    usd_per_million_tokens_out: float = 10.0
    """Price of completion tokens, likewise."""

    review_keep: int = 1_000
    """Hits near the threshold kept for review (0..1e6; 0 = none)."""
    review_fraction: float = 0.5
    """Hits whose distance is at least this part of ``max_distance`` (0..1) are near it."""

    cache: CacheConfig = field(default_factory=CacheConfig)
    """The cache's own options."""

    def __post_init__(self) -> None:
        _range("port", self.port, 0, 65_535)
        _range("workers", self.workers, 1, 256)
        _range("max_body_bytes", self.max_body_bytes, 1024, 2**29)
        _range("review_keep", self.review_keep, 0, 10**6)
        for name in ("upstream_connect_timeout_s", "body_timeout_s"):
            _range(name, getattr(self, name), 0.001, 3_600)
        for name in ("upstream_idle_timeout_s", "upstream_timeout_s"):
            _range(name, getattr(self, name), 0.001, 86_400)
        _range("drain_timeout_s", self.drain_timeout_s, 0, 3_600)
        _range("keepalive_timeout_s", self.keepalive_timeout_s, 0.001, 3_600)
        _range("max_temperature", self.max_temperature, 0, 2)
        _range("review_fraction", self.review_fraction, 0, 1)
        for name in ("usd_per_million_tokens_in", "usd_per_million_tokens_out"):
            _range(name, getattr(self, name), 0, 1e6)
        if not self.host:
            raise ConfigError("host is empty; 0.0.0.0 listens on every interface.")
        if self.upstream_url is not None:
            _check_url(self.upstream_url)
            if self.simulate_llm:
                raise ConfigError("Give upstream_url or simulate_llm, not both.")
        for origin in self.cors_origins:
            if origin != "*" and not re.fullmatch(r"https?://[^/?#\s]+", origin):
                raise ConfigError(
                    f"cors_origins: {origin!r} is no origin; use https://host[:port] or *."
                )
        for name in ("bypass_personal", "bypass_time_bound"):
            _check_patterns(name, getattr(self, name))
        if not self.upstream_key.isascii() or not self.upstream_key.isprintable():
            raise ConfigError("The upstream key has characters that no HTTP header can carry.")


def read_settings(
    flags: Mapping[str, Any],
    *,
    env: Mapping[str, str] | None = None,
    file: Path | None = None,
    asks_llm: bool = True,
) -> Settings:
    """Settings from ``flags`` (by field name; the cache's fields too), else from environment
    variables (SEMCACHE_ and the field's name in capitals), else from a TOML file (by field name,
    the cache's under ``[cache]``), else the defaults.

    With ``asks_llm`` there must be an upstream. Raises ``ConfigError``.
    """
    env = os.environ if env is None else env
    own, cached = _read_file(file) if file is not None else ({}, {})
    from_env = {name: text for name in _TYPES if (text := _from_env(name, env)) is not None}
    for source, given in (("environment variable", from_env), ("option", flags)):
        for one, other in (_LLMS, _LLMS[::-1]):
            if given.get(one) and not given.get(other):
                own.pop(other, None)
        for name, value in given.items():
            into = own if name in _OWN else cached
            into[name] = _convert(_shown(source, name), value, _TYPES[name])
    key = next((env[name] for name in _KEYS if env.get(name)), "").strip()
    if asks_llm and own.get("upstream_url") is None and not own.get("simulate_llm"):
        raise ConfigError(
            "No LLM to ask: name one with --upstream-url (such as https://api.openai.com/v1), or "
            "try the service with --simulate-llm."
        )
    return Settings(**own, upstream_key=key, cache=CacheConfig(**cached))


def _from_env(name: str, env: Mapping[str, str]) -> str | None:
    text = env.get(_ENV + name.upper(), "").strip()
    if name == "port" and text.startswith("tcp://"):
        return None  # what Kubernetes sets in every pod beside a service named semcache
    return text or None


def _read_file(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error
    cached = tables.pop(_CACHE, {})
    if not isinstance(cached, dict):
        raise ConfigError(f"{path}: cache must be a table, [cache].")
    return _known(path, tables, _OWN, ""), _known(path, cached, _CACHED, "cache.")


def _known(
    path: Path, table: dict[str, Any], types: Mapping[str, Any], prefix: str
) -> dict[str, Any]:
    for name in table:
        if name in types:
            continue
        if name == "upstream_key":
            raise ConfigError(
                f"{path}: keep the upstream's key out of files; set SEMCACHE_UPSTREAM_KEY."
            )
        if not prefix and name in _CACHED:
            raise ConfigError(f"{path}: {name} is the cache's; it belongs under [cache].")
        if prefix and name in _OWN:
            raise ConfigError(f"{path}: {name} is the service's; it belongs above [cache].")
        near = difflib.get_close_matches(name, types, n=1)
        hint = f"; did you mean {prefix}{near[0]}?" if near else "."
        raise ConfigError(f"{path}: there is no option {prefix}{name}{hint}")
    return {
        name: _convert(f"{path}: {prefix}{name}", value, types[name])
        for name, value in table.items()
    }


def _convert(shown: str, value: Any, kind: Any) -> Any:
    if isinstance(value, Path) and kind == Path | None:
        return value
    if isinstance(value, str):
        if kind is bool or kind == Patterns:
            value = {"on": True, "yes": True, "off": False, "no": False}.get(value.lower(), value)
        elif kind == tuple[str, ...]:
            value = [part.strip() for part in value.split(",") if part.strip()]
        elif kind == Path | None:
            return Path(value).expanduser()
    try:
        return msgspec.convert(value, kind, strict=not isinstance(value, str))
    except msgspec.ValidationError:
        raise ConfigError(f"{shown}={value!r}: must be {_words(kind)}.") from None


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    return _WORDS[kind]


def _shown(source: str, name: str) -> str:
    return f"{_ENV}{name.upper()}" if source != "option" else f"--{name.replace('_', '-')}"


def _types(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {part.name: hints[part.name] for part in fields(cls)}


def _range(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{name}={value!r}: must be {low:g} to {high:g}.")


def _check_url(url: str) -> None:
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url):
        raise ConfigError(
            "upstream_url must be http(s)://host[:port][/path], without a user, query or fragment."
        )


def _check_patterns(name: str, patterns: Patterns) -> None:
    for pattern in () if isinstance(patterns, bool) else patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(f"{name}: {pattern!r} is no regular expression ({error}).") from error


_OWN = {
    name: kind for name, kind in _types(Settings).items() if name not in (_CACHE, "upstream_key")
}
_CACHED = _types(CacheConfig)
_TYPES = _CACHED | _OWN
