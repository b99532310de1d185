"""Cross-encoders: two texts in one pass, the same score in any company as another truth gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semcache_async import CacheConfig, SemanticCache
from semcache_async.embed import PairVerifier, load_embedder, load_verifier
from semcache_async.embed.encoder.layout import read_architecture
from semcache_async.embed.encoder.reference import reference_vectors
from semcache_async.embed.encoder.weights import read_tensors
from semcache_async.embed.runtimes.checks import parity
from semcache_async.embed.tokenizer import pair_tokens
from semcache_async.errors import ModelError
from semcache_async.testing import AngleEmbedder, MemoryStore
from tests.embed import golden
from tests.embed.tiny import add_head, write_model

GOLDEN = np.load(Path(__file__).parent / "golden_pairs.npz")


def load(directory: Path, **options: Any) -> PairVerifier:
    return load_verifier(directory, progress=False, **options)


@pytest.fixture(autouse=True)
def plain(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache directory of the test's own, and no second runtime to compare with."""
    monkeypatch.setenv("SEMCACHE_BACKEND", "onnxruntime")


@pytest.fixture
def scorer(tmp_path: Path) -> Path:
    """A tiny random BERT that scores pairs."""
    return add_head(write_model(tmp_path / "scorer"))


@pytest.mark.parametrize("kind", golden.KINDS)
def test_sentence_transformers_agrees(tmp_path: Path, kind: str) -> None:
    """Scores that sentence-transformers 6.2 on torch 2.13 gave, each pair alone, for the same
    random weights; here in company, and with the reference in numpy."""
    source = add_head(write_model(tmp_path / "m", kind=kind))
    verifier, (architecture, layout) = load(source), read_architecture(source)
    pairs = golden.PAIRS
    scores = verifier.score([*pairs, *pairs[::-1]])[: len(pairs)]
    np.testing.assert_allclose(scores, GOLDEN[kind], atol=1e-5)
    items = pair_tokens(verifier._tokenizer, pairs, architecture.second)
    truth = reference_vectors(architecture, read_tensors(layout, architecture), items)
    assert parity(scores[:, None], truth) >= 0.99999


def test_tokens_are_told_apart_where_the_tokenizer_does(tmp_path: Path, scorer: Path) -> None:
    untold = add_head(write_model(tmp_path / "untold"))
    said = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (untold / "tokenizer_config.json").write_text(json.dumps(said))
    differ = [load(each).score([("card", "how")]).item() for each in (scorer, untold)]
    assert abs(differ[0] - differ[1]) > 1e-3


def test_what_it_cannot_read_whole_has_no_score(scorer: Path) -> None:
    verifier = load(scorer)
    assert verifier.window == 130
    fits = ("a" * 60, "b" * 67)  # and three special ones
    pairs = [fits, (fits[0] + "c", fits[1]), ("card", "☃"), ("☃", "card"), ("a" * 9_999, "b")]
    assert np.isnan(verifier.score(pairs)).tolist() == [False, True, True, True, True]
    assert verifier.score([]).shape == (0,)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"id2label": {"0": "no", "1": "yes"}}, "gives 2 labels by Sigmoid"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.Softmax"}}, "1 labels by Softmax"),
        ({"vocab_size": None}, "garbles"),
    ],
)
def test_models_that_give_no_score(tmp_path: Path, config: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        load(add_head(write_model(tmp_path / "m"), **config))


def test_each_kind_of_model_has_its_place(scorer: Path, tiny: Path) -> None:
    with pytest.raises(ModelError, match="embeds texts and compares none"):
        load(tiny)
    with pytest.raises(ModelError, match="compares two texts and embeds none"):
        load_embedder(scorer, progress=False)


@pytest.mark.anyio
async def test_a_cache_takes_one_by_its_directory(scorer: Path) -> None:
    """Scores that are known beforehand decide."""
    scores = load(scorer).score([("card at 1", "card at 0"), ("money at 1", "card at 0")]).tolist()
    async with SemanticCache.open(
        store=MemoryStore(),
        embedder=AngleEmbedder(),
        config=CacheConfig(min_score=sum(scores) / 2),
        verifier=str(scorer),
    ) as opened:
        await opened.store("card at 0", "text")
        hits = [await opened.lookup(prompt) for prompt in ("card at 1", "money at 1")]
        assert [hit is not None for hit in hits] == [score == max(scores) for score in scores]
        stats = opened.stats()
        assert (stats.verifier_asked, stats.verifier_failed) == (2, 0)
