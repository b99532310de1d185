"""How prompts share a pack: whole prompts, a token budget, nearly as few packs as can be."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["plan_packs"]


def plan_packs(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices into ``lengths`` (tokens, each > 0), grouped into packs of at most ``budget`` tokens.

    Best-fit decreasing: every index occurs once, and an item longer than ``budget`` goes alone.
    Equal input gives equal output. Raises ``ValueError`` for a length or budget below 1.
    """
    if budget < 1 or any(length < 1 for length in lengths):
        raise ValueError("Lengths and the budget are token counts; each must be at least 1.")
    if sum(lengths) <= budget:
        return [list(range(len(lengths)))] if lengths else []
    packs: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, pack), ascending
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[index]
        at = bisect_left(room, (length, -1))
        if at < len(room):
            left, pack = room.pop(at)
            packs[pack].append(index)
        else:
            left, pack = budget, len(packs)
            packs.append([index])
        if left > length:
            entry = (left - length, pack)
            room.insert(bisect_left(room, entry), entry)
    return packs
