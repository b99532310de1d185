"""Small tokenizers of every kind that embedding models have, and an embedder that knows no more of
a text than its tokens.

``scripts.jsonl`` holds pairs of prompts written for this project (label 0: they need two answers).
``charsmap.bin`` is what sentencepiece compiles of 957 rules: NFKC of some blocks of signs, accented
letters and kana, control characters dropped, those without width and line breaks made spaces.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from semcache_async.data import banking77
from semcache_async.embed import TextEmbedder
from semcache_async.embed.tokenizer import open_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from semcache_async.embed.runtimes.encoders import Ids, Vectors

__all__ = ["KINDS", "PAIRS", "embedder_of"]

_HERE = Path(__file__).parent
PAIRS = [json.loads(line) for line in (_HERE / "scripts.jsonl").read_text("utf-8").splitlines()]
_TEXTS = [
    " ".join(string.printable),
    "² ª ß \u0131 \u03c3 ς か が カ ガ 日 ạ ả 한 하 \u2044 \u11ab \u1112 \u1161",
    "\u0301 \u0323 \u2260 \u0338 \u0654 \u200d \ufe0f",
    "ש \u05c1 \u05b8 न \u093f \u0940 ก \u0e47 \u0e33 \u0627 👍 \U0001f3fd 👩 👧",
    *(text for pair in PAIRS for text in (pair["text_a"], pair["text_b"])),
    *(question.text for question in banking77("test")[::8]),
]
_DIM = 64


def word_piece(*, lowercase: bool) -> Tokenizer:
    """BERT's, uncased or cased."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        _TEXTS, trainers.WordPieceTrainer(special_tokens=special, show_progress=False)
    )
    return _framed(tokenizer, "[CLS]", "[SEP]")


def byte_level(special: Sequence[str], **options: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(**options)
    trainer = trainers.BpeTrainer(
        vocab_size=1_500,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(special),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXTS, trainer)
    return tokenizer


def roberta(*, prefix: bool, trim: bool) -> Tokenizer:
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = byte_level(special, add_prefix_space=prefix, trim_offsets=trim)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=trim, add_prefix_space=prefix
    )
    return tokenizer


def modern_bert() -> Tokenizer:
    special = ["<|padding|>", "<|endoftext|>", "[UNK]", "[CLS]", "[SEP]", "[PAD]"]
    tokenizer = byte_level(special, add_prefix_space=False)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens([AddedToken(" " * count, normalized=True) for count in range(2, 8)])
    tokenizer.add_special_tokens([AddedToken("[MASK]", lstrip=True)])
    return _framed(tokenizer, "[CLS]", "[SEP]")


def unigram(*before: Any, fallback: bool = False) -> Tokenizer:
    """XLM-RoBERTa's; with ``before`` ALBERT's, and with ``fallback`` to bytes T5's successors'."""
    tokenizer = Tokenizer(models.Unigram())
    charsmap = normalizers.Precompiled((_HERE / "charsmap.bin").read_bytes())
    tokenizer.normalizer = normalizers.Sequence(
        [*before, charsmap, normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=2_000,
        special_tokens=special,
        unk_token="<unk>",
        max_piece_length=8,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXTS, trainer)
    return _framed(_with_bytes(tokenizer) if fallback else tokenizer, "<s>", "</s>")


def sentence_piece_bpe() -> Tokenizer:
    """Gemma's and Llama's, which fall back on bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    trainer = trainers.BpeTrainer(
        vocab_size=1_000,
        limit_alphabet=100,
        special_tokens=["<unk>", "<s>", "</s>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXTS, trainer)
    return _framed(_with_bytes(tokenizer), "<s>", "</s>")


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "uncased": lambda: word_piece(lowercase=True),
    "cased": lambda: word_piece(lowercase=False),
    "roberta": lambda: roberta(prefix=False, trim=True),
    "roberta-prefix": lambda: roberta(prefix=True, trim=False),
    "modern-bert": modern_bert,
    "xlm-roberta": unigram,
    "albert": lambda: unigram(
        normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()
    ),
    "unigram-bytes": lambda: unigram(fallback=True),
    "sentencepiece-bpe": sentence_piece_bpe,
}


def embedder_of(kind: str, directory: Path, *, prompt: str = "") -> TextEmbedder:
    """Reads as such a model does, from a file that asks for truncation and padding."""
    tokenizer = KINDS[kind]()
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(directory / "tokenizer.json"))
    return TextEmbedder(
        tokenizer=open_tokenizer(directory / "tokenizer.json"),
        encoder=_ByTokens(),
        dim=_DIM,
        window=256,
        fingerprint=kind,
        prompt=prompt,
    )


class _ByTokens:
    """Equal vectors for equal tokens, others far apart."""

    name, precision, budget, streams = "by-tokens", "f32", 128, 1

    def plan(self, lengths: Sequence[int]) -> list[list[int]]:
        return [[index] for index in range(len(lengths))]

    def run(self, items: Sequence[Ids]) -> Vectors:
        found = [np.random.default_rng(crc32(i.tobytes())).standard_normal(_DIM) for i in items]
        return np.array([row / np.linalg.norm(row) for row in found], np.float32)

    def complete(self) -> None:
        """Nothing is made ready later."""

    reopen = complete


def _framed(tokenizer: Tokenizer, first: str, last: str) -> Tokenizer:
    numbers = [(token, tokenizer.token_to_id(token)) for token in (first, last)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=numbers
    )
    return tokenizer


def _with_bytes(tokenizer: Tokenizer) -> Tokenizer:
    said = json.loads(tokenizer.to_str())
    model, names = said["model"], [f"<0x{byte:02X}>" for byte in range(256)]
    model["byte_fallback"] = True
    if isinstance(model["vocab"], dict):
        model["vocab"] |= {name: len(model["vocab"]) + i for i, name in enumerate(names)}
    else:
        model["vocab"] += [[name, 0.0] for name in names]
    return Tokenizer.from_str(json.dumps(said))
