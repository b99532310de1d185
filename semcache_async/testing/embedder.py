"""An embedder one can reason about."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

__all__ = ["AngleEmbedder"]


class AngleEmbedder:
    """Puts a text at the angle it names, in degrees, on a circle: ``"refund at 15"`` and
    ``"money back at 20"`` are 5 degrees apart, a distance of ``1 - cos(5 degrees)``.

    Texts that name no angle get one from their hash. ``hold`` keeps calls back until ``release``;
    ``fail`` makes the next ones raise.
    """

    dim = 8
    guarded = False
    """Its texts are labels, not questions: guards would see nothing but their numbers."""
    fingerprint = "angle-1"
    max_distance: float | None = 0.12

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        """The texts of every ``embed`` call."""
        self._gate = threading.Event()
        self._gate.set()
        self._errors: list[Exception] = []

    def hold(self) -> None:
        """Keep calls back; each is in ``calls`` already."""
        self._gate.clear()

    def release(self) -> None:
        """Let calls through, those that wait and those to come."""
        self._gate.set()

    def fail(self, error: Exception, *, times: int = 1) -> None:
        """Raise ``error`` at the next ``times`` calls."""
        self._errors += [error] * times

    def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        self.calls.append(list(texts))
        self._gate.wait()
        if self._errors:
            raise self._errors.pop(0)
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            angle = math.radians(self.angle(text))
            row[0], row[1] = math.cos(angle), math.sin(angle)
        return vectors

    @staticmethod
    def angle(text: str) -> float:
        """Degrees."""
        named = re.search(r"at (-?\d+(?:\.\d+)?)", text)
        if named:
            return float(named.group(1))
        return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big") % 360
