"""Texts to vectors for many callers at once: remembered, tokenised and packed off the loop."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from semcache_async.errors import EmbedderUnavailableError, EmbeddingError, OverloadedError
from semcache_async.flow.batcher import MicroBatcher
from semcache_async.flow.breaker import Breaker
from semcache_async.flow.recent import Recent
from semcache_async.protocols import BatchedEmbedder, Embedder, TokenEmbedder
from semcache_async.types import Vector

__all__ = ["Vectors", "in_halves", "open_vectors"]

_PLAIN_BATCH = 32
"""Texts per call of an embedder that does not pack tokens itself."""
_TINY = 256
"""Characters of a text that is tokenised on the event loop where nobody else is being served,
which saves it a change of threads: 30 us as a rule, .3 ms at worst."""
_SHORT = 1_024
"""Characters beyond which a text is tokenised in the lane of the long ones."""
_LANES = 2
_CHARACTERS_A_TOKEN = 16
"""A text with more for each token of the window has the exact tier only, unread."""
_TOKENISE_CHARACTERS = 8_192
"""Characters per tokeniser call: some milliseconds of work at most."""
_LONG = 8
"""Budgets of tokens in a text that may take many seconds. Those over one budget, which take tenths
of a second, need not wait for it."""
_PROBE = "Is anybody there?"
_PROBE_S = 30.0
"""Seconds for a probe of an embedder that was out of reach; one that bounds itself takes less."""
_UNIT = 1e-2
"""How far from 1 a vector's length may be before the embedder is at fault."""

T = TypeVar("T")
V = TypeVar("V")


class _Text(NamedTuple):
    """A tenant's text and its token ids, which are no part of its identity."""

    text: str
    tokens: Any
    tenant: str | None = None

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Text) and self.text == other.text and self.tenant == other.tenant


class Vectors:
    """The embedder behind micro-batches: equal texts of one tenant are embedded once, the last ones
    remembered. Another tenant's are embedded anew: how long it takes would tell who asked before.

    An embedder that offers ``tokenise`` and ``embed_tokens`` (``embed.TextEmbedder``) is fed packs
    by token budget on as many threads as it has streams, and texts over the budget one at a time on
    threads of their own. One that says what a call of it takes (``protocols.BatchedEmbedder``) gets
    so much, in as many calls at once as it has streams; any other one batches of 32 texts. Texts
    are tokenised on a thread, the long ones on another; a tiny one at rest where it stands.

    From an ``EmbedderUnavailableError`` on nothing is embedded until a probe gets through.
    """

    def __init__(
        self, embedder: Embedder, *, remembered: int, wait_s: float, executor: _Executor
    ) -> None:
        self.embedder = embedder
        self._wait_s = wait_s
        self._executor = executor
        self._remembered = Recent[tuple[str | None, str], Vector](remembered)
        self._tokens: TokenEmbedder | None = None
        self._batched = embedder if isinstance(embedder, BatchedEmbedder) else None
        self.breaker = Breaker(
            self.probe,
            timeout_s=_PROBE_S,
            opened=self._embedder_is_gone,
            name="The embedder",
            meanwhile="the exact tier answers alone",
            kind=EmbedderUnavailableError,
        )
        """Whether the embedder is asked."""
        self._lanes: list[MicroBatcher[_Text, Any]] = []
        self._long: list[MicroBatcher[_Text, Vector | None]] = []
        if isinstance(embedder, TokenEmbedder):
            self._tokens = embedder
            self._longest = embedder.window * _CHARACTERS_A_TOKEN
            self._lanes = [
                MicroBatcher(
                    partial(self._tokenise, embedder),
                    budget=_TOKENISE_CHARACTERS,
                    cost=lambda item: len(item.text),
                    pure=True,
                )
                for _ in range(_LANES)
            ]
            self._packer, *self._long = (
                MicroBatcher[_Text, Vector | None](
                    partial(self._embed_tokens, embedder, lane),
                    budget=embedder.token_budget,
                    cost=lambda item: len(item.tokens),
                    concurrency=streams,
                    pure=True,
                )
                for lane, streams in enumerate((embedder.streams, 1, 1))
            )
        elif self._batched is not None:
            self._packer = MicroBatcher(
                self._embed_texts,
                budget=self._batched.token_budget,
                cost=partial(_cost, self._batched),
                concurrency=self._batched.streams,
                pure=True,
            )
        else:
            self._packer = MicroBatcher(self._embed_texts, budget=_PLAIN_BATCH, pure=True)
        self.hits = 0
        """Texts whose vector was remembered."""

    @property
    def packer(self) -> MicroBatcher[_Text, Vector | None]:
        """The batcher in front of the embedder; longer texts have others."""
        return self._packer

    @property
    def texts(self) -> int:
        """Texts embedded."""
        return sum(packer.items for packer in (self._packer, *self._long))

    @property
    def packs(self) -> int:
        """Calls of the embedder for them."""
        return sum(packer.batches for packer in (self._packer, *self._long))

    @property
    def queued(self) -> int:
        """Texts waiting for the tokeniser or the model."""
        return sum(lane.queued for lane in (self._packer, *self._lanes, *self._long))

    async def vector(
        self, text: str, *, tenant: str | None = None, bulk: bool = False
    ) -> Vector | None:
        """Float32 ``[dim]`` of unit length; None for a text that the model cannot read whole:
        longer than its window, or with characters its vocabulary lacks. ``tenant``: whose text it
        is; None for the cache's own purposes. ``bulk``: one of many, which lets others go first.

        Raises ``OverloadedError`` where a single one would wait for longer than it may for this
        process's own work, ``EmbeddingError``, or what the embedder raised.
        """
        if type(text) is not str:  # a subclass may lie about its length and its equals
            text = str.__str__(text)
        if self._tokens is not None and len(text) > self._longest:
            return None
        known = self._remembered.get((tenant, text))
        if known is not None:
            self.hits += 1
            return known
        if self.breaker.is_open:
            self.breaker.skip()
            raise self.breaker.refusal()
        if self._batched is not None and self._batched.estimate(text) > self._batched.window:
            return None
        self._turn_away(self._packer, bulk)
        tokens, packer = None, self._packer
        if self._tokens is not None:
            if len(text) <= _TINY and not (self._packer.busy or self._lanes[0].busy):
                tokens = _read(self._tokens, [text])[0]
            else:
                tokens = await self._lanes[len(text) > _SHORT].submit(
                    _Text(text, None, tenant), bulk=bulk
                )
            if isinstance(tokens, Exception):
                raise tokens
            if tokens is None:
                return None
            budget = self._tokens.token_budget
            if len(tokens) > budget:
                packer = self._long[len(tokens) > _LONG * budget]
                self._turn_away(packer, bulk)
        return await packer.submit(_Text(text, tokens, tenant), bulk=bulk)

    def _turn_away(self, packer: MicroBatcher[_Text, Vector | None], bulk: bool) -> None:
        if packer.backlog_s > self._wait_s and not bulk:
            late = f"{self.queued} prompts wait for the embedder; ask again later."
            here = self._batched is None  # what waits for a service is not this process's work
            raise OverloadedError(late) if here else EmbedderUnavailableError(late)

    async def probe(self) -> None:
        """Embed one text, so that an embedder at odds with its ``dim`` is found at the start."""
        outcome = (await self._embed_all([_PROBE]))[0]
        if isinstance(outcome, Exception):
            raise outcome

    async def aclose(self) -> None:
        await self.breaker.aclose()
        for lane in (*self._lanes, self._packer, *self._long):
            await lane.aclose()

    async def _tokenise(self, embedder: TokenEmbedder, items: list[_Text]) -> Sequence[Any]:
        return await self._executor.read(partial(_read, embedder), [item.text for item in items])

    async def _embed_tokens(
        self, embedder: TokenEmbedder, lane: int, items: list[_Text]
    ) -> Sequence[Vector | Exception]:
        tokens = [item.tokens for item in items]
        vectors = await self._executor.run(embedder.embed_tokens, tokens, lane)
        return self._kept(items, self._checked(vectors, len(items)))

    async def _embed_texts(self, items: list[_Text]) -> Sequence[Vector | Exception]:
        found = await in_halves(
            *(self._embed_all, [item.text for item in items]), together=self._batched is not None
        )
        for outcome in found:
            if isinstance(outcome, EmbedderUnavailableError):  # whoever still waits
                asyncio.get_running_loop().call_soon(self.breaker.note, outcome)
                break
        return self._kept(items, found)

    def _kept(
        self, items: list[_Text], found: Sequence[Vector | Exception]
    ) -> Sequence[Vector | Exception]:
        """Remembered, whoever still waits: one that comes late is there for the next to ask."""
        for item, vector in zip(items, found, strict=True):
            if not isinstance(vector, Exception):
                self._remembered.put((item.tenant, item.text), vector)
        return found

    def _embedder_is_gone(self, error: Exception) -> None:
        self._packer.fail(error)

    async def _embed_all(self, texts: list[str]) -> Sequence[Vector | Exception]:
        if inspect.iscoroutinefunction(self.embedder.embed):
            result = await self.embedder.embed(texts)
        else:
            result = await self._executor.run(self.embedder.embed, texts)
        return self._checked(result, len(texts))

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


async def in_halves(
    call: Callable[[list[T]], Awaitable[Sequence[V | Exception]]],
    items: list[T],
    *,
    together: bool = False,
) -> list[V | Exception]:
    """An outcome for each item, where one that makes ``call`` raise gets the error to itself.

    A call that raised is made again for each half, and so on: about twice log2(n) calls for one
    bad item, never many more than n; ``together``: for both halves at once. Where both halves raise
    the same and none has succeeded yet, what is called is taken to be down, and everybody gets the
    error; ``ValueError`` and ``TypeError`` speak of the items, and are looked into further.
    ``EmbedderUnavailableError`` says that it is down.
    """
    outcomes: list[V | Exception] = [EmbeddingError("not tried")] * len(items)
    spent, alive, down = 0, False, False

    async def attempt(start: int, end: int) -> Exception | None:
        nonlocal spent, alive, down
        spent += 1
        try:
            found = await call(items[start:end])
        except Exception as error:  # whatever it raises
            outcomes[start:end] = [error] * (end - start)
            down = down or isinstance(error, EmbedderUnavailableError)
            return error
        alive = True
        outcomes[start:end] = found
        return None

    failed = [(0, len(items))] if await attempt(0, len(items)) is not None else []
    while failed and not down:
        start, end = failed.pop(0)
        if end - start < 2 or spent >= max(len(items), 8):
            continue
        middle = (start + end) // 2
        if together:
            first, second = await asyncio.gather(attempt(start, middle), attempt(middle, end))
        else:
            first, second = await attempt(start, middle), await attempt(middle, end)
        same = first is not None and type(first) is type(second)
        if same and not alive and not isinstance(first, ValueError | TypeError):
            break
        failed += [(start, middle)] * (first is not None) + [(middle, end)] * (second is not None)
    return outcomes


def _cost(embedder: BatchedEmbedder, item: _Text) -> int:
    """What a text takes of the budget: as much at least as leaves room for no more texts than there
    may be, and all of it if the text might be too long, so that it is refused alone."""
    tokens = embedder.estimate(item.text)
    if 2 * tokens > embedder.window:
        return max(tokens, embedder.token_budget)
    return max(tokens, -(-embedder.token_budget // embedder.most_texts))


def _read(embedder: TokenEmbedder, texts: Sequence[str]) -> list[Any]:
    """The tokens of each text that the model can read whole, None for the others, and the error
    for one that is no text."""
    try:
        found = embedder.tokenise(texts)
    except Exception as error:
        if len(texts) == 1:
            return [error]
        return [_read(embedder, [text])[0] for text in texts]
    return [
        tokens if len(tokens) <= embedder.window and embedder.readable(tokens) else None
        for tokens in found
    ]


@asynccontextmanager
async def open_vectors(
    embedder: Embedder, *, remembered: int, wait_s: float = math.inf
) -> AsyncIterator[Vectors]:
    """``Vectors`` on worker threads that end with it; ``wait_s``: how long a text may wait. Raises
    ``EmbeddingError`` where the embedder does not do what its ``dim`` says; one that is down may
    come back."""
    executor = _Executor(int(getattr(embedder, "streams", 1)))
    vectors = Vectors(embedder, remembered=remembered, wait_s=wait_s, executor=executor)
    try:
        try:
            await vectors.probe()
        except EmbedderUnavailableError as error:
            vectors.breaker.note(error)
        yield vectors
    finally:
        await vectors.aclose()
        executor.close()


class _Executor:
    """Worker threads for model code, those of long texts apart, and others for reading texts: a
    text is read while every stream of the model is busy."""

    def __init__(self, streams: int) -> None:
        self._embedding = [
            ThreadPoolExecutor(threads, thread_name_prefix="semcache-embed")
            for threads in (streams, 1, 1)
        ]
        self._reading = ThreadPoolExecutor(_LANES, thread_name_prefix="semcache-read")
        self._loop = asyncio.get_running_loop()

    def run(
        self, function: Callable[[list[Any]], T], items: list[Any], lane: int = 0
    ) -> asyncio.Future[T]:
        return self._loop.run_in_executor(self._embedding[lane], function, items)

    def read(self, function: Callable[[list[Any]], T], items: list[Any]) -> asyncio.Future[T]:
        return self._loop.run_in_executor(self._reading, function, items)

    def close(self) -> None:
        for pool in (*self._embedding, self._reading):
            pool.shutdown(wait=False, cancel_futures=True)
