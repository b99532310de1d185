"""A simulated LLM."""

from __future__ import annotations

import asyncio
import math
import random

__all__ = ["SimulatedLLM"]


class SimulatedLLM:
    """An LLM that thinks for a lognormal time and answers with the prompt it was given."""

    def __init__(self, *, median_s: float = 0.8, sigma: float = 0.35, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a simulation
        self._median_s = median_s
        self._sigma = sigma
        self.calls = 0
        self.seconds = 0.0
        """Thinking time of all calls together."""

    async def __call__(self, prompt: str) -> str:
        self.calls += 1
        seconds = self._median_s * math.exp(self._random.gauss(0.0, self._sigma))
        self.seconds += seconds
        await asyncio.sleep(seconds)
        return f"Answer to: {prompt}"
