"""The LLM that all contenders are given: simulated, seeded, counted."""

from __future__ import annotations

import asyncio
import math
import random

LENGTH = 300
"""Characters of an answer."""


def answer_to(prompt: str) -> str:
    """About as long as a short answer of an LLM, and no other prompt's."""
    return f"Answer to: {prompt} ".ljust(LENGTH, ".")


class SimulatedLLM:
    """Thinks for a lognormal time that ``seed`` and the prompt decide, so that a prompt costs every
    contender the same, whatever else it asked before."""

    def __init__(self, *, median_s: float, sigma: float, seed: int) -> None:
        self._median_s, self._sigma, self._seed = median_s, sigma, seed
        self.prompts: list[str] = []
        """What it was asked, in order."""
        self.seconds = 0.0
        """Thinking time of all calls together."""

    def thinking_s(self, prompt: str) -> float:
        drawn = random.Random(f"{self._seed} {prompt}").gauss(0.0, self._sigma)
        return self._median_s * math.exp(drawn)

    async def __call__(self, prompt: str) -> str:
        self.prompts.append(prompt)
        seconds = self.thinking_s(prompt)
        self.seconds += seconds
        await asyncio.sleep(seconds)
        return answer_to(prompt)
