from __future__ import annotations

from pathlib import Path

import pytest

from semcache_async.data import banking77
from semcache_async.embed import TextEmbedder, load_embedder, pull_model
from tests.embed.tiny import write_model


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The default model's directory, in the user's own cache."""
    return pull_model(progress=False)


@pytest.fixture(scope="session")
def embedder(minilm: Path) -> TextEmbedder:
    return load_embedder(minilm, backend="onnxruntime")


@pytest.fixture(scope="session")
def questions() -> list[str]:
    """3,080 questions that customers of a bank asked (BANKING77)."""
    return [question.text for question in banking77("test")]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory, in force for the test."""
    monkeypatch.setenv("SEMCACHE_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("SEMCACHE_BACKEND", "SEMCACHE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def tiny(tmp_path: Path, cache: Path) -> Path:
    """A tiny random BERT in sentence-transformers form; ``cache`` is in force too."""
    return write_model(tmp_path / "tiny")
