"""What Redis's error replies stand for, and what its users must be allowed to do."""

from __future__ import annotations

import re
from typing import Any

from semcache_async.errors import (
    SearchModuleMissingError,
    StoreAuthError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)

__all__ = [
    "NEEDED_COMMANDS",
    "AbortedError",
    "AskError",
    "DownError",
    "MovedError",
    "ReadOnlyError",
    "TryAgainError",
    "checked",
    "reply_error",
]

NEEDED_COMMANDS = (
    *("MULTI", "EXEC", "WATCH", "UNWATCH", "TIME", "PING"),
    *("HGET", "HMGET", "HGETALL", "HSET", "HSETNX", "HDEL", "HINCRBYFLOAT", "PEXPIRE", "UNLINK"),
    *("ZADD", "ZSCORE"),
    *("FT.CREATE", "FT.INFO", "FT.SEARCH", "FT.AGGREGATE", "FT.CURSOR", "FT._LIST"),
    *("XADD", "XREAD", "XTRIM", "XRANGE", "XREVRANGE", "CLIENT|TRACKING"),
    *("CLUSTER|SLOTS", "ASKING"),
)
"""What a user of the store has to be allowed: the X... for letters between processes and the
service's logs, TRACKING for local answers, the last two in a cluster."""


class ReadOnlyError(StoreUnavailableError):
    """A replica refused a write: the connection leads to a demoted master."""


class MovedError(StoreError):
    """Another node of the cluster has the slot, for good."""

    def __init__(self, message: str) -> None:
        super().__init__(
            "Another node of a Redis Cluster has this slot; give the URL as "
            "redis+cluster://host:port, or look at CLUSTER SLOTS where it is one already."
        )
        self.slot = int(message.split(" ")[1])
        self.node = _node(message)


class AskError(StoreError):
    """The key is where its slot is moving to, or will be."""

    def __init__(self, message: str) -> None:
        super().__init__(_MOVING)
        self.node = _node(message)


class TryAgainError(StoreError):
    """Some of the keys have moved with their slot, and others have not."""

    def __init__(self, _message: str) -> None:
        super().__init__(_MOVING)


class DownError(StoreUnavailableError):
    """The cluster has nobody for the slot now."""

    def __init__(self, message: str) -> None:
        super().__init__(f"Redis cannot serve yet: {message}")


class AbortedError(StoreError):
    """A transaction was not executed, as one of its commands was refused."""

    def __init__(self, message: str) -> None:
        super().__init__(f"Redis answered: {message}")


def checked(outcome: Any) -> Any:
    """``outcome``; raised where it is an error."""
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def reply_error(message: str) -> StoreError:
    """The error that an error reply stands for. It names no user of Redis, and none of what was
    sent: some replies repeat both."""
    message = _USER.sub("the user", message.partition(", with args beginning with")[0])
    kind = message.split(" ", 1)[0]
    if kind in {"NOAUTH", "WRONGPASS"}:
        return StoreAuthError(
            f"Redis refused the credentials: {message}. Check the URL's user and password."
        )
    if kind == "NOPERM":
        return StoreAuthError(
            f"Redis refused the permission: {message}. The user needs, on the cache's keys, "
            f"{' '.join(NEEDED_COMMANDS)}."
        )
    if kind in _NAMED:
        return _NAMED[kind](message)
    if kind == "READONLY":
        return ReadOnlyError("Redis is a read-only replica; give the URL of the master.")
    if kind in _CANNOT_SERVE:
        return StoreUnavailableError(f"Redis cannot serve yet: {message}")
    if kind in _CANNOT_KEEP:
        return StoreFullError(f"Redis keeps nothing new: {message}")
    if "unknown command" in message.lower() and "ft." in message.lower():
        return SearchModuleMissingError(
            "This Redis has no Search module. Use Redis 8, Redis Stack or Redis Cloud, or the "
            'embedded one: pip install "semcache-async[embedded]" and give no URL.'
        )
    return StoreError(f"Redis answered: {message}")


_USER = re.compile(r"\bUser \S+(?= has no )", re.IGNORECASE)


def _node(message: str) -> tuple[str, int]:
    """The node that ``MOVED 3999 host:6381`` names; no host means the one that was asked."""
    host, _, port = message.rsplit(" ", 1)[-1].rpartition(":")
    return host, int(port)


_MOVING = (
    "A slot of the cluster is moving to another node; until it is there, some of its keys cannot "
    "be written. Try again in a while."
)
_NAMED = {
    "MOVED": MovedError,
    "ASK": AskError,
    "TRYAGAIN": TryAgainError,
    "CLUSTERDOWN": DownError,
    "EXECABORT": AbortedError,
}
_CANNOT_SERVE = {"LOADING", "MASTERDOWN", "BUSY"}
_CANNOT_KEEP = {"OOM", "MISCONF", "NOREPLICAS"}
