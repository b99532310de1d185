"""What ``semcache doctor`` finds: one thing that was looked at, and what to do about it."""

from __future__ import annotations

from typing import Literal

import msgspec

from semcache_async.errors import SemcacheError

__all__ = [
    *("ACCESS", "EMBEDDERS", "MEMORY", "OLD", "RUNNING", "PAGES", "SIZING", "TOPOLOGIES", "USERS"),
    *("Finding", "bad", "fine", "poor", "troubled"),
]

RUNNING, ACCESS = "docs/running.md#options", "docs/running.md#who-may-ask"
SIZING, EMBEDDERS = "docs/operations.md#sizing", "docs/embedders.md"
TOPOLOGIES, MEMORY = "docs/redis.md#topologies", "docs/redis.md#memory"
USERS, OLD = "docs/redis.md#users", "docs/redis.md#an-old-redis"
PAGES = (RUNNING, ACCESS, SIZING, EMBEDDERS, TOPOLOGIES, MEMORY, USERS, OLD)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """``state``: ``bad`` is in the way of serving, ``poor`` is not and could be better."""

    check: str
    state: Literal["ok", "poor", "bad"]
    said: str
    todo: str = ""
    page: str = ""


def fine(check: str, said: str) -> Finding:
    return Finding(check=check, state="ok", said=said)


def poor(check: str, said: str, todo: str, page: str = "") -> Finding:
    return Finding(check=check, state="poor", said=said, todo=todo, page=page)


def bad(check: str, said: str, todo: str, page: str = "") -> Finding:
    return Finding(check=check, state="bad", said=said, todo=todo, page=page)


def troubled(check: str, error: SemcacheError) -> Finding:
    """``error``, which says what to do about it."""
    return Finding(check=check, state="bad", said=" ".join(str(error).split()), page=error.docs)
