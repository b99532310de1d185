"""Questions whose distances and intents are known."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from semcache_async.types import Case

__all__ = ["Clusters", "intent_of", "judge"]


class Clusters:
    """An embedder of texts such as ``12:3``, question 3 of intent 12: questions of one intent lie
    ``1 - cosine`` of about ``spread`` apart, those of different ones about 1; ``12~5:3`` is one of
    an intent whose questions lie just as near those of intent 5."""

    dim = 64
    fingerprint = "clusters"
    max_distance = 0.12
    guarded = False

    def __init__(self, spread: float = 0.1) -> None:
        self._noise = float(np.sqrt(spread / (1.0 - spread)))

    def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        rows = np.array([self._row(text) for text in texts])
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(unit, np.float32)

    def _row(self, text: str) -> NDArray[np.float64]:
        centre = text.partition(":")[0].rpartition("~")[2]
        return _direction(centre) + self._noise * _direction(text)


def _direction(text: str) -> NDArray[np.float64]:
    seed = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
    row = np.random.default_rng(seed).standard_normal(Clusters.dim)
    found: NDArray[np.float64] = row / np.linalg.norm(row)
    return found


def intent_of(text: str) -> str:
    """What comes before the colon."""
    return text.partition(":")[0]


async def judge(case: Case) -> float:
    """Knows the intents."""
    return float(intent_of(case.prompt) == intent_of(case.matched_prompt))
