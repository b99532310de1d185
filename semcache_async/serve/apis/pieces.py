"""In what pieces a stored answer's texts came, kept with it so that it can come so again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import msgspec

__all__ = ["PIECES", "taken", "with_pieces", "without_pieces"]

PIECES = "semcache_pieces"
"""The field that says so; it never leaves the service."""
_MOST = 256
_TAIL = 8_192
"""Characters at the end among which the field is."""
_AT_END = re.compile(rf',"{PIECES}":\[[0-9,\[\]]*\]\}}\Z')


def with_pieces(text: str, sizes: Sequence[Sequence[int]]) -> str:
    """An answer that says how its stream was cut; of very many pieces, neighbours as one."""
    kept = [list(some) for some in sizes]
    if not any(len(some) > 1 for some in kept):
        return text
    for at, some in enumerate(kept):
        while len(some) > _MOST:
            pairs = zip_longest(some[::2], some[1::2], fillvalue=0)
            some = [one + other for one, other in pairs]
        kept[at] = some
    return f'{text[:-1]},"{PIECES}":{msgspec.json.encode(kept).decode()}}}'


def without_pieces(text: str) -> str:
    """The answer alone."""
    return _AT_END.sub("}", text) if PIECES in text[-_TAIL:] else text


def taken(answer: dict[str, Any]) -> Sequence[Sequence[int]]:
    """The sizes of the pieces, taken out of a decoded answer; none where it has none."""
    sizes: Sequence[Sequence[int]] = answer.pop(PIECES, ())
    return sizes
