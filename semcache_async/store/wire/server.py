"""Which Redis answers, and whether it is known to lack security fixes."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from semcache_async.errors import ConfigError

__all__ = ["advice", "check_mode", "is_private", "warn_if_old"]

_log = logging.getLogger("semcache_async")

_MENDED = {
    (6, 2): 23,
    (7, 2): 15,
    (7, 4): 10,
    (8, 2): 8,
    (8, 4): 5,
    (8, 6): 5,
    (8, 8): 1,
}
"""The first patch of each line that has the fixes of July 2026 and all before. Other lines up to
the last of these have no such patch."""
_SAFE_LINE = (8, 8)


def check_mode(hello: Mapping[bytes, Any]) -> None:
    """Raise ``ConfigError`` for a server that answered HELLO as one that keeps nothing does."""
    if hello.get(b"mode") == b"sentinel":
        raise ConfigError(
            "This is the URL of a sentinel; give it as redis+sentinel://host:port/SERVICE."
        )


def warn_if_old(url: str, hello: Mapping[bytes, Any]) -> None:
    """Log what to do about the server behind ``url``, which answered HELLO so, unless only this
    user reaches it."""
    told = None if is_private(url) else advice(hello)
    if told is not None:
        _log.warning(told)


def advice(hello: Any) -> str | None:
    """What to do about the server that answered HELLO so; None where nothing is known against it.
    Services and servers under other names count their versions in other ways."""
    if not isinstance(hello, Mapping) or hello.get(b"server") != b"redis":
        return None
    said = hello.get(b"version", b"").decode(errors="replace")
    try:
        major, minor, patch = (int(part) for part in said.split("-")[0].split(".")[:3])
    except ValueError:
        return None
    line = (major, minor)
    mended = _MENDED.get(line)
    if line > _SAFE_LINE or (mended is not None and patch >= mended):
        return None
    newer = f"{major}.{minor}.{mended}" if mended is not None else "8.8.1"
    return (
        f"This Redis is {said}, in which whoever may connect can run code of their own "
        "(CVE-2025-49844, CVE-2026-23479, or what was mended in July 2026). Update it to "
        f"{newer} or later, and give this cache a user without scripting and @dangerous."
    )


def is_private(url: str) -> bool:
    """Does ``url`` lead to a socket that nobody but this user can reach?"""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return False
    try:
        status = Path(unquote(parts.path)).parent.stat()
    except OSError:
        return False
    return status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o077
