"""From a model's directory to a ready embedder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from semcache_async.embed.embedder import TextEmbedder, open_tokenizer
from semcache_async.embed.encoder.weights import digest, read_json, read_pooling, read_window
from semcache_async.embed.models.installed import (
    GRAPH,
    MANIFEST,
    build_packed,
    cache_directory,
    pull_model,
)
from semcache_async.embed.runtimes.backends import Backend, choose_backend, chosen_name, remembered
from semcache_async.embed.runtimes.checks import INVARIANCE, PROBES, invariance
from semcache_async.embed.runtimes.encoders import Encoder, Ids, OnnxPadded, usable_cpus
from semcache_async.embed.wording import brief
from semcache_async.errors import ConfigError, ModelError

__all__ = ["default_embedder", "load_embedder"]


def default_embedder() -> TextEmbedder:
    """The embedder of the default model, fetched and built on first need; blocks meanwhile."""
    return load_embedder()


def load_embedder(
    model: str | Path | None = None,
    *,
    backend: Backend = "auto",
    threads: int | None = None,
    progress: bool = True,
) -> TextEmbedder:
    """A ready embedder; blocks, for seconds where the model must be built first.

    ``model``: None for the default one, or a directory that holds ``tokenizer.json`` and either
    BERT-family weights in sentence-transformers form (``config.json``, ``model.safetensors``) or
    an exported ``model.onnx`` (also ``onnx/model.onnx``). ``backend``: "auto" is what
    SEMCACHE_BACKEND says, else the quickest that gives right vectors here. ``threads``: CPUs to
    use; None means all this process may use.
    Raises ``ModelError`` for a model that cannot be had, and ``ConfigError`` for a bad argument.
    """
    runtime = chosen_name(backend)
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, not {threads}.")
    cpus = threads or usable_cpus()
    if model is None:
        return _load_packed(pull_model(progress=progress), runtime, cpus)
    directory = Path(model).expanduser()
    if not directory.is_dir():
        raise ModelError(
            f"{directory} is no directory; download the model first and name its directory (hf "
            "download NAME --local-dir DIRECTORY)."
        )
    if (directory / MANIFEST).is_file():
        return _load_packed(directory, runtime, cpus)
    exported = next(
        (p for p in (directory / "model.onnx", directory / "onnx/model.onnx") if p.is_file()), None
    )
    if (directory / "model.safetensors").is_file() or exported is None:
        try:
            return _load_packed(build_packed(directory, progress=progress), runtime, cpus)
        except ModelError:
            if exported is None:
                raise
    if runtime == "openvino":
        raise ConfigError(f"{exported} runs in onnxruntime only; choose that backend, or auto.")
    return _load_padded(directory, exported, cpus)


def _load_packed(directory: Path, backend: Backend, threads: int) -> TextEmbedder:
    manifest = read_json(directory / MANIFEST)
    try:
        architecture = manifest["architecture"]
        window, dim = int(architecture["window"]), int(architecture["hidden"])
        identity = [
            manifest["weights_sha256"],
            manifest["tokenizer_sha256"],
            architecture["pooling"],
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{directory / MANIFEST} is damaged ({brief(error)}); delete that "
            "directory, and the model is built again."
        ) from error
    tokenizer = open_tokenizer(directory / "tokenizer.json")
    encoder = choose_backend(
        directory / GRAPH,
        _probes(tokenizer, window),
        backend=backend,
        threads=threads,
        verdicts=cache_directory() / "verdicts",
        key=f"{_hash(identity)} {manifest['builder']}",
    )
    return _embedder(tokenizer, encoder, identity, dim=dim, window=window)


def _load_padded(directory: Path, exported: Path, threads: int) -> TextEmbedder:
    config_path = directory / "config.json"
    config = read_json(config_path) if config_path.exists() else {}
    pooling = read_pooling(directory)
    tokenizer = open_tokenizer(directory / "tokenizer.json")
    positions = int(config.get("max_position_embeddings", 512))
    if config.get("model_type") in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        positions -= int(config.get("pad_token_id", 1)) + 1
    window = read_window(directory, positions)
    pad_id = int(config.get("pad_token_id") or 0)
    probes = _probes(tokenizer, window)
    longest = np.resize(probes[-1], min(window, 512))
    try:
        encoder = OnnxPadded(exported, threads=threads, pooling=pooling, pad_id=pad_id)
        dim = encoder.run([longest]).shape[1]
    except Exception as error:  # any failure inside the runtime
        raise ModelError(
            f"{exported} cannot be used with {len(longest)} tokens ({brief(error)}); put the "
            "config.json of the model beside it, or export it again for feature extraction."
        ) from error
    identity = [digest(exported), digest(directory / "tokenizer.json"), pooling]

    def judge() -> str:
        steady = invariance(encoder.run, probes)
        return "" if steady >= INVARIANCE else f"{steady:.6f}"

    trouble = remembered(cache_directory() / "verdicts", [_hash(identity), "padded"], judge)
    if trouble:
        raise ModelError(
            f"{exported} gives one text other vectors in other company (cosine {trouble}), as "
            "dynamic int8 does; use its float32 or weight-only form."
        )
    return _embedder(tokenizer, encoder, identity, dim=dim, window=window)


def _embedder(
    tokenizer: Any, encoder: Encoder, identity: list[str], *, dim: int, window: int
) -> TextEmbedder:
    fingerprint = _hash([*identity, encoder.precision])
    return TextEmbedder(
        tokenizer=tokenizer, encoder=encoder, dim=dim, window=window, fingerprint=fingerprint
    )


def _probes(tokenizer: Any, window: int) -> list[Ids]:
    """The probe texts' tokens, cut to the window: they only have to be various."""
    return [np.array(tokenizer.encode(text).ids, np.int32)[:window] for text in PROBES]


def _hash(parts: list[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
