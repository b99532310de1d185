"""Whatever the tokenizer: what it erases is never served, and no text is a special token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache_async import CacheConfig, SemanticCache
from semcache_async.embed.tokenizer import open_tokenizer
from semcache_async.errors import ModelError
from semcache_async.testing import MemoryStore
from semcache_async.text.erased import Reading, erases
from semcache_async.text.prompt import normalise
from tests.embed.tongues import KINDS, PAIRS, embedder_of

if TYPE_CHECKING:
    from pathlib import Path

    from semcache_async.embed import TextEmbedder

SPECIAL = ["[SEP]", "[UNK]", "[MASK]", "</s>", "<unk>", "<mask>", "<|endoftext|>", "<|padding|>"]
UNIGRAM = {"xlm-roberta", "albert", "unigram-bytes"}
SEES_ALL = {"roberta", "roberta-prefix", "modern-bert", "sentencepiece-bpe"}
PROMPT = "query: "
# What some model reads as one, or as made of the same.
SAME = [
    ["x2", "x\u00b2", "x\u2082", "\uff582"],
    ["fi", "\ufb01"],
    ["kg", "\u338f"],
    ["cd", "\u33c5", "\u3104d"],
    ["1\u20442", "\u00bd"],
    ["1", "\u2460", "\uff11"],
    ["...", "\u2026"],
    ["a", "\u00e1", "a\u0301", "a\u0301\u0323", "\u00aa", "A", "a\u200b", "a\u00ad", "a\x07"],
    ["ss", "\u00df", "\u1e9e"],
    ["i", "\u0131", "\u0130", "I", "i\u0307"],
    ["\u03c3", "\u03c2", "\u03a3"],
    ["\u304b", "\u304c", "\u304b\u3099", "\u30ac", "\uff76\uff9e", "\u30ab"],
    ["\ud55c", "\u1112\u1161\u11ab", "\ud558\u11ab", "\u3134"],
    ["\u05e9", "\u05e9\u05c1", "\u05e9\u05b8", "\ufb2a"],
    ["\u0928", "\u0928\u093f", "\u0928\u0940", "\u0929"],
    ["\u0e01", "\u0e01\u0e47", "\u0e01\u0e33", "\u0e01\u0e4d\u0e32"],
    ["\u0627", "\u0623", "\u0627\u0654", "\u0627\u064e"],
    ["\u1ea1", "\u1ea3", "a\u0323"],
    ["\U0001f44d", "\U0001f44d\U0001f3fd", "\U0001f44d\ufe0f"],
    ["\U0001f469\u200d\U0001f467", "\U0001f469\U0001f467", "\U0001f469 \U0001f467"],
    ["\u65e5", "\u2f47", "<0xE6><0x97><0xA5>"],
    [" ", "\u200b", "\u2581", "\u0120", "\u2028"],
    [*SPECIAL, "", "query: "],
    ["=", "\uff1d", "\u2260", "=\u0338"],
    ["\u0301", "\u00b4", " \u0301", "a \u0301"],
    ["what", "\uff37hat", "wh\u00e2t"],
]
places = st.lists(
    st.tuples(st.sampled_from(SAME), st.integers(0, 99), st.integers(0, 99)), max_size=5
)


@pytest.fixture(scope="module")
def embedders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TextEmbedder]:
    directory = tmp_path_factory.mktemp("tokenizers")
    return {
        kind + prompt: embedder_of(kind, directory, prompt=prompt)
        for kind in KINDS
        for prompt in ("", PROMPT)
    }


def apart(embedder: TextEmbedder, one: str, other: str, *, lenient: bool = True) -> bool:
    a, b = (Reading(text, embedder.pieces(text)) for text in (one, other))
    found = erases(a, b, lenient=lenient)
    assert erases(b, a, lenient=lenient) == found
    return found


@given(places)
def test_equal_tokens_stand_for_equal_texts(
    embedders: dict[str, TextEmbedder], chosen: list[tuple[list[str], int, int]]
) -> None:
    one = "".join(same[i % len(same)] for same, i, _ in chosen)
    other = "".join(same[i % len(same)] for same, _, i in chosen)
    if one.casefold() == other.casefold():
        return  # the case of a first letter is no difference
    taken_for_one = normalise(one) == normalise(other)
    for kind, embedder in embedders.items():
        tokens, others = embedder.tokenise([one, other])
        erased = apart(embedder, one, other, lenient=False)
        if taken_for_one:
            assert not erased, kind
        elif tokens.tolist() == others.tolist():
            assert erased or not embedder.readable(tokens), kind


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_neither_cut_nor_padded(embedders: dict[str, TextEmbedder], kind: str) -> None:
    short, longer = embedders[kind].tokenise(["a", "a b " * 20])
    assert len(short) < 5
    assert len(longer) > 40
    assert embedders[kind].readable(longer)


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_are_of_the_text_behind_the_prompt(
    embedders: dict[str, TextEmbedder], kind: str
) -> None:
    embedder = embedders[kind + PROMPT]
    reading = Reading("What is it about?", embedder.pieces("What is it about?"))
    assert (reading.before, "".join(reading.inks)) == ("", "Whatisitabout?")
    (tokens,) = embedder.tokenise(["What is it about?"])
    ids = [piece.id for piece in embedder.pieces("What is it about?")]
    assert ids == tokens.tolist()[-len(ids) - 1 : -1]
    assert embedder.readable(tokens)


@pytest.mark.parametrize("name", ["vocab.txt", "sentencepiece.bpe.model"])
def test_a_slow_tokenizer_alone_is_an_error_that_says_how_to_go_on(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(ModelError, match=rf"{name} is of a slow .*\.from_pretrained\('{tmp_path}'"):
        open_tokenizer(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spelled", SPECIAL)
def test_no_text_is_a_special_token(
    embedders: dict[str, TextEmbedder], kind: str, spelled: str
) -> None:
    """Unigram models, which have them in their vocabulary, cannot read it."""
    text = f"What does {spelled} do?"
    (tokens,) = embedders[kind].tokenise([text])
    pieces = embedders[kind].pieces(text)
    assert [piece.id for piece in pieces] == tokens.tolist()[1:-1]
    if kind in UNIGRAM and spelled.startswith("<") and "|" not in spelled:
        assert not embedders[kind].readable(tokens)
    else:
        assert embedders[kind].readable(tokens)
        assert sum(piece.start >= 10 and piece.end <= 10 + len(spelled) for piece in pieces) > 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("カメラの使い方は?", "ｶﾒﾗの使い方は?"),
        ("wifiのパスワードは?", "ｗｉｆｉのパスワードは?"),
        ("注文番号123の状況は?", "注文番号１２３の状況は?"),
        ("返品できますか?", "返品できますか\uff1f"),
    ],
)
def test_the_width_of_plain_writing_is_a_habit(
    embedders: dict[str, TextEmbedder], one: str, other: str
) -> None:
    embedder = embedders["xlm-roberta"]
    assert apart(embedder, one, other, lenient=False)
    assert not apart(embedder, one, other)
    assert apart(embedder, f'"{one}"', f'"{other}"')


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_no_trap_is_served(embedders: dict[str, TextEmbedder], kind: str) -> None:
    traps = [(pair["text_a"], pair["text_b"]) for pair in PAIRS if not pair["label"]]
    traps += [
        ("What is x\u00b2 for 12?", "What is x2 for 12?"),
        ("How many is 10\u00b2 in all?", "How many is 102 in all?"),
        ("What does \u2460 mean here?", "What does 1 mean here?"),
        ("How much is 5\u00bd in all?", "How much is 51\u20442 in all?"),
        ("Why does print\uff081\uff09 fail?", "Why does print(1) fail?"),
        ("Is print('a,  b') right?", "Is print('a, b') right?"),
        ("Who are a\u200bb in all?", "Who are a b in all?"),
        ("S\u0131k\u0131ld\u0131m ne demek?", "Sikildim ne demek?"),
        ("What is \U0001f44d\U0001f3fd about?", "What is \U0001f44d about?"),
        ("What is </s> about?", "What is <s> about?"),
    ]
    config = CacheConfig(max_distance=0.01, guards=())
    async with SemanticCache.open(
        store=MemoryStore(), embedder=embedders[kind], config=config
    ) as cache:
        for one, _ in traps:
            await cache.store(one, one)
        for one, other in traps:
            found = await cache.lookup(other)
            assert found is None or found.text != one
        assert (cache.stats().erased > 0) == (kind not in SEES_ALL)
