"""What ``semcache doctor`` finds: one thing that was looked at, and what to do about it."""

from __future__ import annotations

from typing import Literal

import msgspec

from semcache_async.errors import SemcacheError

__all__ = [
    *(
        "ACCESS",
        "EMBEDDERS",
        "MEMORY",
        "MODELS",
        "OLD",
        "RUNNING",
        "PAGES",
        "SIZING",
        "TOPOLOGIES",
        "USERS",
    ),
    *("Finding", "bad", "fine", "poor", "troubled"),
]

RUNNING, ACCESS = "semcache docs running#options", "semcache docs running#who-may-ask"
SIZING, EMBEDDERS = "semcache docs operations#sizing", "semcache docs embedders"
MODELS = "semcache docs ModelError"
TOPOLOGIES, MEMORY = "semcache docs redis#topologies", "semcache docs redis#memory"
USERS, OLD = "semcache docs redis#users", "semcache docs redis#an-old-redis"
PAGES = (RUNNING, ACCESS, SIZING, EMBEDDERS, MODELS, TOPOLOGIES, MEMORY, USERS, OLD)


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
