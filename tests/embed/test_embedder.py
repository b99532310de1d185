from __future__ import annotations

import itertools
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from semcache_async.embed import TextEmbedder, load_embedder
from semcache_async.embed.runtimes.checks import parity
from semcache_async.embed.tokenizer import open_tokenizer
from semcache_async.errors import EmbeddingError, PromptError, PromptTooLongError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def test_facts(embedder: TextEmbedder) -> None:
    assert (embedder.dim, embedder.window, embedder.token_budget) == (384, 256, 128)
    assert embedder.backend == "onnxruntime-f32-packed"
    assert embedder.streams >= 1
    assert int(embedder.fingerprint, 16)
    assert embedder.backend in repr(embedder)


def test_no_texts(embedder: TextEmbedder) -> None:
    assert embedder.embed([]).shape == (0, 384)
    assert embedder.embed_tokens([]).shape == (0, 384)


def test_order_is_kept(embedder: TextEmbedder, questions: list[str]) -> None:
    texts = questions[:100]
    one_by_one = np.concatenate([embedder.embed([text]) for text in texts])
    assert parity(embedder.embed(texts), one_by_one) > 0.99999


def test_tokens_are_neither_cut_nor_padded(embedder: TextEmbedder) -> None:
    """The model's own tokenizer.json cuts and pads to 128."""
    short, long = embedder.tokenise(["hi", "word " * 200])
    assert short.tolist() == [101, 7632, 102]
    assert len(long) == 202
    assert short.dtype == np.int32


def test_too_long_says_how_long(embedder: TextEmbedder) -> None:
    assert embedder.embed(["word " * 254]).shape == (1, 384)
    calls: list[Callable[[], object]] = [
        lambda: embedder.embed(["hi", "word " * 255]),
        lambda: embedder.embed(["many texts"] * 200 + ["word " * 255]),
        lambda: embedder.embed_tokens([np.full(257, 7, np.int32)]),
    ]
    for call in calls:
        with pytest.raises(PromptTooLongError, match=r"257 tokens .* reads 256; shorten"):
            call()


def test_texts_longer_than_a_pack_are_embedded_whole(embedder: TextEmbedder) -> None:
    base = "how do I reset my password " * 30
    longer, cut = embedder.embed([base + "or my pin", base[: len(base) // 2]])
    assert longer @ cut < 0.9999


def test_invalid_text(embedder: TextEmbedder) -> None:
    with pytest.raises(PromptError):
        embedder.embed(["\ud800"])
    with pytest.raises(PromptError):
        embedder.embed([3])  # type: ignore[list-item]
    with pytest.raises(PromptError, match="no tokens"):
        embedder.embed_tokens([np.array([], np.int32)])


def test_threads_agree(embedder: TextEmbedder, questions: list[str]) -> None:
    texts = questions[:120]
    truth = embedder.embed(texts)

    def work(seed: int) -> float:
        order = np.random.default_rng(seed).permutation(len(texts))
        return parity(embedder.embed([texts[i] for i in order]), truth[order])

    with ThreadPoolExecutor(4) as pool:
        assert min(pool.map(work, range(8))) > 0.99999


def test_runtime_failure_is_an_embedding_error(tiny: Path) -> None:
    embedder = load_embedder(tiny, backend="onnxruntime", progress=False)
    with pytest.raises(EmbeddingError, match="onnxruntime-f32-packed failed"):
        embedder.embed_tokens([np.array([999_999], np.int32)])


@pytest.mark.parametrize("bad", [np.full((1, 32), np.nan, "f4"), np.zeros((2, 32), "f4")])
def test_unusable_vectors_are_an_embedding_error(tiny: Path, bad: Any) -> None:
    class Broken:
        name, precision, budget, streams = "broken", "f32", 128, 1

        def plan(self, lengths: Sequence[int]) -> list[list[int]]:
            return [list(range(len(lengths)))]

        def run(self, items: object) -> Any:
            return bad

        def complete(self) -> None:
            raise AssertionError("nobody asks for this here")

        reopen = complete

    embedder = TextEmbedder(
        tokenizer=open_tokenizer(tiny / "tokenizer.json"),
        encoder=Broken(),
        dim=32,
        window=128,
        fingerprint="0",
    )
    with pytest.raises(EmbeddingError, match="unusable vectors"):
        embedder.embed(["hi"])


def test_import_is_light() -> None:
    code = "import json, sys, semcache_async.embed; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    heavy = {"onnx", "onnxruntime", "openvino", "transformers", "tokenizers", "safetensors"}
    assert not (heavy | {"huggingface_hub", "rich"}) & set(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("text", "readable"),
    [("How do I locate my card?", True), ("What does 🙂 mean?", False), ("naïve café", True)],
)
def test_a_text_beyond_the_vocabulary_is_not_readable(
    embedder: TextEmbedder, text: str, readable: bool
) -> None:
    (tokens,) = embedder.tokenise([text])
    assert embedder.readable(tokens) is readable


def test_unreadable_texts_would_share_a_vector(embedder: TextEmbedder) -> None:
    one, other = embedder.embed(["What does 🙂 mean?", "What does 🙃 mean?"])
    assert one @ other > 0.9999


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("Añ 5", ["Añ", "5"]),
        ("an\u0303 5", ["an", "5"]),  # the mark was dropped
        ("x ≠ y", ["x", "≠", "y"]),  # its slash was
        ("a\tb\n  c", ["a", "b", "c"]),
        ("a\u200bb\x00", ["a\u200bb"]),  # zero-width and control characters, within and after
        ("🙂 my 🙃", ["🙂", "my", "🙃"]),  # beyond the first plane: one character each
        ("重置 pin", ["重", "置", "pin"]),
        ("unaffable", ["una", "ffa", "ble"]),
        ("한", ["한", "한", "한"]),  # three tokens out of one character
        ("か\u3099", ["か"]),
        ("\ufffd hi", ["hi"]),
        ("\u0301", []),
        (" ", []),
        ("", []),
    ],
)
def test_pieces_say_where_tokens_stand(embedder: TextEmbedder, text: str, seen: list[str]) -> None:
    pieces = embedder.pieces(text)
    assert [text[piece.start : piece.end] for piece in pieces] == seen
    assert [piece.id for piece in pieces] == embedder.tokenise([text])[0].tolist()[1:-1]
    assert all(a.start <= b.start and a.end <= b.end for a, b in itertools.pairwise(pieces))


def test_pieces_of_no_text(embedder: TextEmbedder) -> None:
    for bad in ("\ud800", 3):
        with pytest.raises(PromptError):
            embedder.pieces(bad)  # type: ignore[arg-type]


def test_pieces_from_several_threads(embedder: TextEmbedder, questions: list[str]) -> None:
    texts = questions[:200]
    truth = [embedder.pieces(text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(embedder.pieces, texts)) == truth
