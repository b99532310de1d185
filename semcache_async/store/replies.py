"""What Redis's error replies stand for, and what its users must be allowed to do."""

from __future__ import annotations

from typing import Any

from semcache_async.errors import (
    SearchModuleMissingError,
    StoreAuthError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)

__all__ = ["NEEDED_COMMANDS", "ReadOnlyError", "checked", "reply_error"]

NEEDED_COMMANDS = (
    *("MULTI", "EXEC", "WATCH", "UNWATCH", "TIME", "PING"),
    *("HGET", "HMGET", "HGETALL", "HSET", "HDEL", "HINCRBYFLOAT", "PEXPIRE", "UNLINK"),
    *("ZADD", "ZSCORE"),
    *("FT.CREATE", "FT.INFO", "FT.SEARCH", "FT.AGGREGATE", "FT.CURSOR", "FT._LIST"),
    *("XADD", "XREAD", "XTRIM", "XRANGE", "XREVRANGE", "CLIENT|TRACKING"),
)
"""What a user of the store has to be allowed: the X... for letters between processes and the
service's logs, TRACKING for local answers."""


class ReadOnlyError(StoreUnavailableError):
    """A replica refused a write: the connection leads to a demoted master."""


def checked(outcome: Any) -> Any:
    """``outcome``; raised where it is an error."""
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def reply_error(message: str) -> StoreError:
    """The error that an error reply stands for."""
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


_CANNOT_SERVE = {"LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY"}
_CANNOT_KEEP = {"OOM", "MISCONF", "NOREPLICAS"}
