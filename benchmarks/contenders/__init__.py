"""What people would use instead, each in an environment and a process of its own.

Contender ``some-name`` is the module ``some_name`` here: ``ENVIRONMENT`` (the venv
``.venv-ENVIRONMENT`` that ``scripts/pinned-env`` makes from ``requirements/``; "" for the
driver's own), ``PACKAGES`` (whose versions are reported) and ``open_contender``. The driver
imports it too, so its packages are imported inside functions.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Generate: TypeAlias = Callable[[str], Awaitable[str]]
"""The LLM: a prompt's answer."""
Vectors: TypeAlias = "NDArray[np.float32]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What every contender is given alike."""

    name: str
    """Prefix of its keys, its own within one run."""
    redis_url: str
    model: Path
    """A directory with the model both packed and in sentence-transformers form."""
    max_distance: float
    """Cosine distance, 0..2."""


class NoEmbeddingError(Exception):
    """The contender compares no meanings: it has no embedding step to time."""


class Contender(Protocol):
    """A semantic cache, open. Called by one task or by many."""

    about: str
    """What does its work: runtime, threads, index."""

    async def fill(self, pairs: Sequence[tuple[str, str]], vectors: Vectors | None = None) -> None:
        """Store prompts with their answers, by the quickest means it offers. ``vectors``: the
        prompts', by the model; it saves time, where it can."""

    async def lookup(self, prompt: str) -> str | None:
        """The answer to the nearest stored prompt within ``max_distance``."""

    async def embed(self, prompt: str) -> None:
        """The embedding step of ``lookup``, alone. Raises ``NoEmbeddingError``."""

    async def get_or_generate(self, prompt: str, generate: Generate) -> str:
        """The answer to the nearest prompt, else the LLM's, which is then kept."""


class Checked(ABC):
    """``get_or_generate`` without single flight, for a cache that leaves the LLM to its caller."""

    @abstractmethod
    async def lookup(self, prompt: str) -> str | None: ...

    @abstractmethod
    async def store(self, prompt: str, answer: str) -> None: ...

    async def get_or_generate(self, prompt: str, generate: Generate) -> str:
        answer = await self.lookup(prompt)
        if answer is None:
            answer = await generate(prompt)
            await self.store(prompt, answer)
        return answer


class ContenderModule(Protocol):
    """What a module here defines."""

    ENVIRONMENT: str
    PACKAGES: tuple[str, ...]

    def open_contender(self, setup: Setup) -> AbstractAsyncContextManager[Contender]: ...


def load(name: str) -> ContenderModule:
    """The module of contender ``name``; raises ``LookupError`` where there is none."""
    path = f"{__name__}.{name.replace('-', '_')}"
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        raise LookupError(f"no contender {name!r}: {path} does not exist") from None
    if not hasattr(module, "open_contender"):
        raise LookupError(f"{path} is no contender")
    return cast("ContenderModule", module)
