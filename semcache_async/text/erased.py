"""Stub."""

from __future__ import annotations

from collections.abc import Sequence

from semcache_async.types import Piece


class Reading:
    def __init__(self, text: str, pieces: Sequence[Piece]) -> None: ...


def erases(one: Reading, other: Reading, *, lenient: bool) -> bool:
    return False
