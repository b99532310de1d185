"""Words that differ in case, accents and voicing marks alone, whatever the embedder tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semcache_async.flow.wording import Wording
from semcache_async.protocols import Embedder
from tests.embed.tongues import embedder_of

APART = [
    ("Can IT help me with it?", "Can it help me with IT?"),
    ("Is 10 nm a lot?", "Is 10 NM a lot?"),
    ("Gdzie jest mój kąt?", "Gdzie jest mój kat?"),
    ("パスはどこですか", "バスはどこですか"),
    ("ビザを注文したい", "ピザを注文したい"),
    ("橋のはしを見る", "橋のはじを見る"),
]
UNSEEN = [
    ("What is x² plus one?", "What is x2 plus one?"),
    ("Where is my card", "Where is\u200b my ca\u00adrd"),
    ("मेरा कमल कहाँ है", "मेरा कमाल कहाँ है"),
    ("ילד גדול", "יֶלֶד גדול"),
]
ALIKE = [
    ("How do I reset my password?", "how do i reset my password"),
    ("Where is my card?", "How do I find my card"),
    ("Best café near me?", "best cafe near me"),
    ("开户在哪里", "开门在哪里"),
]


class Silent:
    """Tells nothing of its tokens."""

    dim, fingerprint = 4, "silent"

    def embed(self, texts: Any, /) -> Any:
        raise AssertionError("only words are compared here")


@pytest.fixture(scope="module", params=["silent", "xlm-roberta"])
def embedder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    """One that tells nothing, and one that sees case and accents."""
    if request.param == "silent":
        return Silent()
    directory: Path = tmp_path_factory.mktemp("model")
    return embedder_of(request.param, directory)


@pytest.fixture
def wording(embedder: Embedder) -> Wording:
    return Wording(embedder, lenient=True, guards=())


@pytest.mark.parametrize("pair", APART)
def test_what_some_models_drop_is_compared(wording: Wording, pair: tuple[str, str]) -> None:
    assert wording.erases(*pair)
    assert wording.erases(*pair[::-1])


@pytest.mark.parametrize("pair", UNSEEN)
def test_of_a_silent_embedder_the_worst_is_believed(pair: tuple[str, str]) -> None:
    assert Wording(Silent(), lenient=True, guards=()).erases(*pair)


@pytest.mark.parametrize("pair", ALIKE)
def test_habits_and_other_words_are_the_distances_business(
    wording: Wording, pair: tuple[str, str]
) -> None:
    assert not wording.erases(*pair)


def test_vowel_signs_that_a_model_sees_are_the_distances_business(wording: Wording) -> None:
    apart = wording.erases("मेरा कमल कहाँ है", "मेरे कमल कहाँ हैं")
    assert apart == (len(wording._pieces) == 1)
