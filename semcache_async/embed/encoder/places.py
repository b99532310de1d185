"""How encoders tell where a token stands, beyond a table of positions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["RELATIVE_REACH", "bias_by_distance", "rotations"]

RELATIVE_REACH = 128
"""Tokens farther apart than this have one bias, before and behind."""


def bias_by_distance(buckets: int) -> NDArray[np.int32]:
    """Int32 ``[2 * RELATIVE_REACH + 1]``: the bucket of a token that stands so far behind, from
    -RELATIVE_REACH on. Half of the buckets are for either side; half of those for one distance
    each, the others ever wider (T5, arXiv 1910.10683, section 2.1; MPNet does the same)."""
    gaps = np.arange(-RELATIVE_REACH, RELATIVE_REACH + 1)
    side, far = buckets // 2, np.abs(gaps)
    exact = side // 2
    scaled = np.log(np.maximum(far, 1) / exact) / np.log(RELATIVE_REACH / exact)
    wide = np.minimum(exact + (scaled * (side - exact)).astype(int), side - 1)
    found: NDArray[np.int32] = np.where(far < exact, far, wide) + side * (gaps > 0)
    return found.astype(np.int32)


def rotations(
    window: int, wide: int, base: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines and sines ``[window, wide / 2]`` of the angles by which what stands at each position
    is turned (RoPE, arXiv 2104.09864)."""
    speeds = base ** (-np.arange(0, wide, 2) / wide)
    angles = np.outer(np.arange(window), speeds)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
