"""Texts to vectors for many callers: packed, remembered, and honest about what cannot be read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from semcache_async import CacheConfig, SemanticCache, Source
from semcache_async.embed import TextEmbedder
from semcache_async.errors import EmbedderUnavailableError, OverloadedError, PromptError
from semcache_async.flow.batcher import MicroBatcher
from semcache_async.flow.vectors import Vectors, in_halves, open_vectors
from semcache_async.testing import AngleEmbedder, MemoryStore
from semcache_async.types import Piece
from tests.helpers import until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]


async def echo(prompt: str) -> str:
    return f"answer to {prompt}"


async def test_equal_texts_are_embedded_once_and_remembered() -> None:
    embedder = AngleEmbedder()
    async with open_vectors(embedder, remembered=2) as vectors:
        embedder.calls.clear()
        await asyncio.gather(*[vectors.vector("at 1") for _ in range(50)])
        first = await vectors.vector("at 1")
        await vectors.vector("at 2")
        assert await vectors.vector("at 1") is first
        await vectors.vector("at 3")  # forgets the least recently used: 2
        await vectors.vector("at 1")
        await vectors.vector("at 2")
        assert embedder.calls == [["at 1"], ["at 2"], ["at 3"], ["at 2"]]
        assert vectors.hits == 3


async def test_nothing_is_remembered_when_told_so() -> None:
    embedder = AngleEmbedder()
    async with open_vectors(embedder, remembered=0) as vectors:
        embedder.calls.clear()
        for _ in range(2):
            await vectors.vector("at 1")
        assert len(embedder.calls) == 2


async def test_real_texts_are_packed_by_token(text_embedder: TextEmbedder) -> None:
    texts = [f"Why was my transfer number {n} declined today?" for n in range(200)]
    async with open_vectors(text_embedder, remembered=1_000) as vectors:
        found = await asyncio.gather(*[vectors.vector(text) for text in texts])
        packs = vectors.packer.batches
        assert vectors.packer.items == 200
        assert vectors.packer.fill > 0.7
    expected = text_embedder.embed(texts)
    matrix = np.array([vector for vector in found if vector is not None])
    assert np.min((matrix * expected).sum(axis=1)) > 0.9999
    tokens = sum(len(ids) for ids in text_embedder.tokenise(texts))
    assert packs <= 1.5 * tokens / text_embedder.token_budget + 2 * text_embedder.streams


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("word " * 300 + "a", "word " * 300 + "b"),  # alike for longer than the model reads
        ("What does 🙂 mean?", "What does 🙃 mean?"),  # alike in the model's vocabulary
    ],
    ids=["too long", "unknown characters"],
)
async def test_what_the_model_cannot_read_whole_has_the_exact_tier_only(
    text_embedder: TextEmbedder, one: str, other: str
) -> None:
    config = CacheConfig(max_distance=2.0)
    async with SemanticCache.open(
        store=MemoryStore(), embedder=text_embedder, config=config
    ) as cache:
        assert await vectors_of(cache).vector(one) is None
        for prompt, source in [
            (one, Source.GENERATED),
            (one, Source.EXACT),
            (other, Source.GENERATED),
            (other, Source.EXACT),
        ]:
            answer = await cache.get_or_generate(prompt, echo)
            assert (answer.source, answer.text) == (source, f"answer to {prompt}")


def vectors_of(cache: SemanticCache) -> Vectors:
    return cache._models.vectors


class Falling(AngleEmbedder):
    """Raises ``error`` for a batch that holds a text with BAD, or any where ``down``."""

    def __init__(self, error: Exception, *, down: bool = False) -> None:
        super().__init__()
        self.error = error
        self.down = down
        self.sizes: list[int] = []

    async def embed(self, texts: Sequence[str]) -> np.ndarray:  # type: ignore[override]
        self.sizes.append(len(texts))
        if self.down or any("BAD" in text for text in texts):
            raise self.error
        return super().embed(texts)


@pytest.mark.parametrize("error", [RuntimeError("400"), ValueError("x"), OSError("reset")])
@pytest.mark.parametrize("place", [0, 7, 31])
async def test_one_text_that_makes_an_embedder_raise_stands_alone(
    error: Exception, place: int
) -> None:
    embedder = Falling(error)
    async with open_vectors(embedder, remembered=0) as vectors:
        embedder.sizes.clear()
        texts = [f"{'BAD' if i == place else ''} at {i}" for i in range(32)]
        found = await asyncio.gather(*map(vectors.vector, texts), return_exceptions=True)
    assert [i for i, one in enumerate(found) if isinstance(one, Exception)] == [place]
    assert found[place] is error
    assert embedder.sizes == [32, 16, 16, 8, 8, 4, 4, 2, 2, 1, 1]


@pytest.mark.parametrize(
    ("error", "sizes"),
    [(RuntimeError("down"), [32, 16, 16]), (EmbedderUnavailableError("down"), [32])],
)
async def test_an_embedder_that_is_down_is_called_a_few_times(
    error: Exception, sizes: list[int]
) -> None:
    embedder = Falling(error)
    async with open_vectors(embedder, remembered=0) as vectors:
        embedder.sizes.clear()
        embedder.down = True
        waiting = [vectors.vector(f"at {i}") for i in range(32)]
        found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in found] == [type(error)] * 32
    assert embedder.sizes == sizes


@pytest.mark.parametrize("size", [1, 2, 3, 8, 32])
async def test_halves_are_bounded_and_answer_everybody(size: int) -> None:
    """However many are bad; ``ValueError`` is looked into even where both halves raise it."""
    calls = 0

    async def call(items: list[str]) -> list[str | Exception]:
        nonlocal calls
        calls += 1
        if any(item in bad for item in items):
            raise ValueError(items)
        return list(items)

    for count in range(size + 1):
        calls, bad = 0, {str(i) for i in range(count)}
        found = await in_halves(call, [str(i) for i in range(size)])
        assert len(found) == size
        assert calls <= max(size, 8) + 1
        assert all(isinstance(one, Exception) for one in found[:count])
        if count < 3:
            assert found[count:] == [str(i) for i in range(count, size)]


class Reading:
    """A ``TextEmbedder`` of 4 tokens that notes what it read, on which thread; long texts wait."""

    dim, fingerprint, window, token_budget, streams = 2, "reading", 100, 128, 1

    def __init__(self) -> None:
        self.read: list[tuple[int, bool]] = []
        self.gate = threading.Event()
        self.waits = threading.Event()

    def tokenise(self, texts: Sequence[str]) -> list[np.ndarray]:
        for text in texts:
            if "BAD" in text:
                raise PromptError("no text")
            here = threading.current_thread() is threading.main_thread()
            self.read.append((len(text), here))
            if len(text) > 1_024:
                self.waits.set()
                self.gate.wait()
        return [np.zeros(4, np.int32) for _ in texts]

    def readable(self, tokens: np.ndarray) -> bool:
        return True

    def pieces(self, text: str) -> list[Piece]:
        return []

    def embed_tokens(self, items: Sequence[np.ndarray]) -> np.ndarray:
        return np.array([[1.0, 0.0]] * len(items), np.float32)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return self.embed_tokens(self.tokenise(texts))


async def test_long_texts_hold_nobody_up_and_over_the_bound_are_not_read() -> None:
    embedder = Reading()
    async with open_vectors(embedder, remembered=0) as vectors:
        embedder.read.clear()
        assert await vectors.vector("x" * 1_601) is None  # 16 characters a token of the window
        assert embedder.read == []
        long = [asyncio.ensure_future(vectors.vector(f"{i}" * 1_600)) for i in range(9)]
        await asyncio.to_thread(embedder.waits.wait)
        assert await vectors.vector("y" * 20) is not None
        assert await vectors.vector("y" * 400) is not None
        assert not any(waiting.done() for waiting in long)
        embedder.gate.set()
        assert all(vector is not None for vector in await asyncio.gather(*long))
    assert (20, True) in embedder.read  # tiny: where it stands
    assert all(not here for length, here in embedder.read if length > 256)


class Gated(Reading):
    """A token for each character; passes over the budget of 16 tokens wait to be let go."""

    window, token_budget = 10_000, 16

    def __init__(self, streams: int) -> None:
        super().__init__()
        self.streams = streams
        self.gate.set()
        self.began: list[int] = []
        """Tokens of each pass over the budget."""
        self.let_go = threading.Semaphore(0)
        self.done = 0

    def tokenise(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.zeros(len(text), np.int32) for text in texts]

    def embed_tokens(self, items: Sequence[np.ndarray]) -> np.ndarray:
        tokens = sum(map(len, items))
        if tokens > self.token_budget:
            self.began.append(tokens)
            self.let_go.acquire()
            self.done += 1
        return super().embed_tokens(items)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return Reading.embed_tokens(self, self.tokenise(texts))


@pytest.mark.parametrize("streams", [1, 2])
async def test_long_passes_hold_up_none_that_are_shorter(streams: int) -> None:
    embedder = Gated(streams)
    async with open_vectors(embedder, remembered=0) as vectors:
        longest = [asyncio.ensure_future(vectors.vector(f"{n}" * (500 + n))) for n in range(4)]
        long = [asyncio.ensure_future(vectors.vector(f"{n}" * (100 + n))) for n in range(2)]
        await until(lambda: len(embedder.began) == 2 and vectors.queued == 4)
        for n in range(20):
            assert await vectors.vector(f"short {n}") is not None
        assert sorted(embedder.began) == [100, 500]  # one of each lane at a time
        longest[1].cancel()
        for turn in range(5):
            embedder.let_go.release()
            await until(lambda turn=turn: embedder.done == turn + 1)  # type: ignore[misc]
        await asyncio.gather(*long, longest[0], *longest[2:])
        assert [n for n in embedder.began if n >= 500] == [500, 502, 503]  # nobody waited for it
        assert (vectors.queued, vectors.texts) == (0, 25)


async def test_what_came_late_is_there_for_the_next_to_ask() -> None:
    embedder = Gated(1)
    async with open_vectors(embedder, remembered=1) as vectors:
        waiting = asyncio.ensure_future(vectors.vector("x" * 200))
        await until(lambda: len(embedder.began) == 1)
        waiting.cancel()
        embedder.let_go.release()
        await until(lambda: not any(lane.busy for lane in vectors._long))
        assert await vectors.vector("x" * 200) is not None
        assert (vectors.hits, len(embedder.began)) == (1, 1)


async def test_long_texts_beyond_what_can_be_done_in_time_are_turned_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embedder = Gated(1)
    async with open_vectors(embedder, remembered=0, wait_s=1.0) as vectors:
        held = asyncio.ensure_future(vectors.vector("x" * 200))
        await until(lambda: len(embedder.began) == 1)
        monkeypatch.setattr(
            MicroBatcher, "backlog_s", property(lambda batcher: 2.0 * batcher.under_way)
        )
        with pytest.raises(OverloadedError):
            await vectors.vector("y" * 200)
        assert await vectors.vector("short") is not None
        embedder.let_go.release()
        await held


@pytest.mark.parametrize("length", [20, 400, 1_500])
async def test_a_text_that_cannot_be_read_fails_alone(length: int) -> None:
    embedder = Reading()
    embedder.gate.set()
    async with open_vectors(embedder, remembered=0) as vectors:
        texts = [f"{'BAD' if i == 2 else i}".ljust(length) for i in range(5)]
        found = await asyncio.gather(*map(vectors.vector, texts), return_exceptions=True)
    assert [isinstance(one, PromptError) for one in found] == [i == 2 for i in range(5)]


async def test_a_text_that_lies_about_itself() -> None:
    class Liar(str):
        __slots__ = ()

        def __len__(self) -> int:
            return 3

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    embedder = AngleEmbedder()
    async with open_vectors(embedder, remembered=10) as vectors:
        embedder.calls.clear()
        await asyncio.gather(vectors.vector(Liar("at 1")), vectors.vector("at 2"))
    assert embedder.calls == [["at 1", "at 2"]]
    assert type(embedder.calls[0][0]) is str
