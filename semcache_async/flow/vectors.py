"""Texts to vectors for many callers at once: remembered, tokenised and packed off the loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from semcache_async.errors import EmbeddingError
from semcache_async.flow.batcher import MicroBatcher
from semcache_async.flow.recent import Recent
from semcache_async.protocols import Embedder
from semcache_async.types import Vector

__all__ = ["Vectors", "open_vectors"]

_PLAIN_BATCH = 32
"""Texts per call of an embedder that does not pack tokens itself."""
_TOKENISE_CHARACTERS = 32_768
"""Characters per tokeniser call: about 1 ms of work."""
_UNIT = 1e-2
"""How far from 1 a vector's length may be before the embedder is at fault."""

T = TypeVar("T")


@runtime_checkable
class _TokenEmbedder(Embedder, Protocol):
    """An embedder whose work can be planned by token: ``embed.TextEmbedder``."""

    window: int
    token_budget: int
    streams: int

    def tokenise(self, texts: Sequence[str], /) -> Sequence[Any]: ...
    def readable(self, tokens: Any, /) -> bool: ...
    def embed_tokens(self, items: Sequence[Any], /) -> NDArray[np.float32]: ...


class _Text(NamedTuple):
    """A text and its token ids; the text alone is its identity."""

    text: str
    tokens: Any

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Text) and self.text == other.text


class Vectors:
    """The embedder behind micro-batches: equal texts are embedded once, the last ones remembered.

    An embedder that offers ``tokenise`` and ``embed_tokens`` (``embed.TextEmbedder``) is fed packs
    by token budget on as many threads as it has streams; any other one batches of 32 texts.
    """

    def __init__(self, embedder: Embedder, *, remembered: int, executor: _Executor) -> None:
        self.embedder = embedder
        self._executor = executor
        self._remembered = Recent[str, Vector](remembered)
        self._tokeniser: MicroBatcher[str, Any] | None = None
        if isinstance(embedder, _TokenEmbedder):
            self._tokeniser = MicroBatcher(
                partial(self._tokenise, embedder),
                budget=_TOKENISE_CHARACTERS,
                cost=len,
                pure=True,
            )
            self._packer: MicroBatcher[_Text, Vector | None] = MicroBatcher(
                partial(self._embed_tokens, embedder),
                budget=embedder.token_budget,
                cost=lambda item: 0 if item.tokens is None else len(item.tokens),
                concurrency=embedder.streams,
                pure=True,
            )
        else:
            self._packer = MicroBatcher(self._embed_texts, budget=_PLAIN_BATCH, pure=True)
        self.hits = 0
        """Texts whose vector was remembered."""

    @property
    def packer(self) -> MicroBatcher[_Text, Vector | None]:
        """The batcher in front of the embedder."""
        return self._packer

    @property
    def queued(self) -> int:
        """Texts waiting for the tokeniser or the model."""
        return self._packer.queued + (self._tokeniser.queued if self._tokeniser else 0)

    async def vector(self, text: str, *, bulk: bool = False) -> Vector | None:
        """Float32 ``[dim]`` of unit length; None for a text that the model cannot read whole:
        longer than its window, or with characters its vocabulary lacks.

        Raises ``EmbeddingError``, or what the embedder raised.
        """
        known = self._remembered.get(text)
        if known is not None:
            self.hits += 1
            return known
        tokens = None
        if self._tokeniser is not None and (self._tokeniser.busy or self._packer.busy):
            tokens = await self._tokeniser.submit(text)
            if tokens is None:
                return None
        vector = await self._packer.submit(_Text(text, tokens))
        if vector is not None:
            self._remembered.put(text, vector)
        return vector

    async def probe(self) -> None:
        """Embed one text, so that an embedder at odds with its ``dim`` is found at the start."""
        outcome = (await self._embed_texts([_Text("Is anybody there?", None)]))[0]
        if isinstance(outcome, Exception):
            raise outcome

    async def aclose(self) -> None:
        if self._tokeniser is not None:
            await self._tokeniser.aclose()
        await self._packer.aclose()

    async def _tokenise(self, embedder: _TokenEmbedder, texts: list[str]) -> Sequence[Any]:
        return await self._executor.run(partial(_read, embedder), texts)

    async def _embed_tokens(
        self, embedder: _TokenEmbedder, items: list[_Text]
    ) -> Sequence[Vector | Exception | None]:
        tokens, vectors = await self._executor.run(partial(_read_and_embed, embedder), items)
        found = iter(self._checked(vectors, len(vectors)))
        return [None if item is None else next(found) for item in tokens]

    async def _embed_texts(self, items: list[_Text]) -> Sequence[Vector | Exception]:
        texts = [item.text for item in items]
        try:
            if inspect.iscoroutinefunction(self.embedder.embed):
                result = await self.embedder.embed(texts)
            else:
                result = await self._executor.run(self.embedder.embed, texts)
        except (ValueError, TypeError) as error:
            if len(items) == 1:
                return [error]
            return [(await self._embed_texts([item]))[0] for item in items]
        return self._checked(result, len(items))

    def _checked(self, result: object, count: int) -> Sequence[Vector | Exception]:
        try:
            matrix: NDArray[np.float32] = np.asarray(result, dtype=np.float32)
        except (ValueError, TypeError) as error:
            raise EmbeddingError(
                f"The embedder returned {type(result).__name__}, not float32 vectors."
            ) from error
        wanted = (count, self.embedder.dim)
        if matrix.shape != wanted:
            raise EmbeddingError(
                f"The embedder returned shape {matrix.shape} for {count} texts; it must be "
                f"{wanted}: one vector of its dim={self.embedder.dim} each."
            )
        lengths = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
        return [
            row.copy()
            if abs(length - 1.0) < _UNIT
            else EmbeddingError(
                f"The embedder returned a vector of length {length:.3g}; it must be finite and of "
                "unit length (divide it by its norm)."
            )
            for row, length in zip(matrix, lengths.tolist(), strict=True)
        ]


def _read(embedder: _TokenEmbedder, texts: Sequence[str]) -> list[Any]:
    """The tokens of each text that the model can read whole, None for the others."""
    return [
        tokens if len(tokens) <= embedder.window and embedder.readable(tokens) else None
        for tokens in embedder.tokenise(texts)
    ]


def _read_and_embed(
    embedder: _TokenEmbedder, items: Sequence[_Text]
) -> tuple[list[Any], NDArray[np.float32]]:
    """The tokens of each item, and a vector for each that has any. A text that found everybody
    idle comes without tokens, which saves it a change of threads."""
    tokens = [
        _read(embedder, [item.text])[0] if item.tokens is None else item.tokens for item in items
    ]
    return tokens, embedder.embed_tokens([item for item in tokens if item is not None])


@asynccontextmanager
async def open_vectors(embedder: Embedder, *, remembered: int) -> AsyncIterator[Vectors]:
    """``Vectors`` on worker threads that end with it. Raises ``EmbeddingError`` where the
    embedder does not do what its ``dim`` says."""
    executor = _Executor(1 + int(getattr(embedder, "streams", 1)))
    vectors = Vectors(embedder, remembered=remembered, executor=executor)
    try:
        await vectors.probe()
        yield vectors
    finally:
        await vectors.aclose()
        executor.close()


class _Executor:
    """Worker threads for model code."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="semcache-embed")
        self._loop = asyncio.get_running_loop()

    def run(self, function: Callable[[list[Any]], T], items: list[Any]) -> asyncio.Future[T]:
        return self._loop.run_in_executor(self._pool, function, items)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
