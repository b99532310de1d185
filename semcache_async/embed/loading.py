"""From a model's directory to a ready embedder."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio.to_thread
import msgspec
import numpy as np

from semcache_async.embed.embedder import TextEmbedder
from semcache_async.embed.encoder.architecture import Architecture
from semcache_async.embed.encoder.layout import (
    digest,
    read_json,
    read_layout,
    read_prompt,
    read_window,
)
from semcache_async.embed.models.catalog import MINILM, measured_distance
from semcache_async.embed.models.installed import (
    GRAPH,
    MANIFEST,
    build_packed,
    cache_directory,
    exported_graph,
    pull_model,
)
from semcache_async.embed.remote import RemoteEmbedder
from semcache_async.embed.runtimes.backends import (
    Backend,
    choose_backend,
    chosen_name,
    remembered,
)
from semcache_async.embed.runtimes.checks import INVARIANCE, invariance, probes
from semcache_async.embed.runtimes.encoders import Encoder, OnnxPadded, usable_cpus
from semcache_async.embed.runtimes.forks import give_back
from semcache_async.embed.tokenizer import open_tokenizer
from semcache_async.embed.verifier import PairVerifier
from semcache_async.embed.wording import brief
from semcache_async.errors import ConfigError, ModelError

__all__ = ["default_embedder", "load_embedder", "load_verifier", "open_embedder"]

_CUT = re.compile(r"(?P<model>.*[^:/]):(?P<dim>[0-9]{1,5})")


def default_embedder() -> TextEmbedder:
    """The embedder of SEMCACHE_MODEL or the default model, fetched and built on first need; blocks
    meanwhile."""
    return load_embedder()


@asynccontextmanager
async def open_embedder(
    remote: Mapping[str, Any] | None = None,
    *,
    model: str | None = None,
    threads: int | None = None,
) -> AsyncIterator[TextEmbedder | RemoteEmbedder]:
    """The embedder of a service or a command: a remote one where ``remote`` has the arguments of
    ``RemoteEmbedder.open``, else ``load_embedder``'s. Raises as those do."""
    if remote is None:
        yield await anyio.to_thread.run_sync(lambda: load_embedder(model, threads=threads))
    else:
        async with RemoteEmbedder.open(
            **remote, directory=cache_directory() / "remote"
        ) as embedder:
            yield embedder


def load_embedder(
    model: str | Path | None = None,
    *,
    backend: Backend = "auto",
    threads: int | None = None,
    progress: bool = True,
) -> TextEmbedder:
    """A ready embedder; blocks, for seconds where the model must be built first.

    ``model``: None for what SEMCACHE_MODEL says, else the default one; the name of one on the
    Hugging Face hub, as ``pull_model`` takes it; or a directory that holds ``tokenizer.json`` and
    either weights in sentence-transformers form (``config.json``, ``model.safetensors``) or an
    exported ``model.onnx`` (also ``onnx/model.onnx``). ``:DIM`` behind either keeps so many values
    of each vector, for models that were trained for it (Matryoshka). ``backend``: "auto" is what
    SEMCACHE_BACKEND says, else the quickest that gives right vectors here. ``threads``: CPUs to
    use; None means all this process may use.
    Raises ``ModelError`` for a model that cannot be had, and ``ConfigError`` for a bad argument.
    """
    named = model or os.environ.get("SEMCACHE_MODEL") or MINILM.repository
    found = _load(named, backend, threads, progress)
    if isinstance(found, PairVerifier):
        raise ModelError(f"{named} compares two texts and embeds none; it may be a verifier.")
    return found


def load_verifier(
    model: str | Path,
    *,
    backend: Backend = "auto",
    threads: int | None = None,
    progress: bool = True,
) -> PairVerifier:
    """A ready verifier: a cross-encoder by name or directory, as ``load_embedder`` takes them, with
    weights and one label. Blocks and raises as that does."""
    found = _load(model, backend, threads, progress)
    if not isinstance(found, PairVerifier):
        raise ModelError(
            f"{model} embeds texts and compares none; name a cross-encoder (its config.json says "
            "...ForSequenceClassification) with safetensors."
        )
    return found


def _load(
    model: str | Path, backend: Backend, threads: int | None, progress: bool
) -> TextEmbedder | PairVerifier:
    runtime = chosen_name(backend)
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, not {threads}.")
    named = str(model)
    cut = None if Path(named).expanduser().is_dir() else _CUT.fullmatch(named)
    named, dim = (named, None) if cut is None else (cut["model"], int(cut["dim"]))
    how = _How(runtime, threads or usable_cpus(), dim)
    directory = Path(named).expanduser()
    if not directory.is_dir():
        if isinstance(model, Path) or named.startswith((".", "/", "~")):
            raise ModelError(
                f"{directory} is no directory; name one that holds a model, or a model of the "
                "Hugging Face hub (OWNER/NAME)."
            )
        directory = pull_model(named, progress=progress)
    if (directory / MANIFEST).is_file():
        return _load_kept(directory, how)
    exported = exported_graph(directory)
    if exported is None or (directory / "model.safetensors").is_file():
        try:
            return _load_kept(build_packed(directory, progress=progress), how)
        except ModelError:
            if exported is None:
                raise
    return _load_padded(directory, exported, how, read_prompt(directory))


class _How(NamedTuple):
    backend: Backend
    threads: int
    dim: int | None
    """How many values of each vector are kept; None: all."""


def _load_kept(directory: Path, how: _How) -> TextEmbedder | PairVerifier:
    manifest = read_json(directory / MANIFEST)
    try:
        if "exported" in manifest:
            source = directory / str(manifest["exported"])
            exported = exported_graph(source) or source / "model.onnx"
            return _load_padded(source, exported, how, str(manifest["prompt"]))
        architecture = Architecture.of_json(manifest["architecture"])
        weights, prompt = str(manifest["weights_sha256"]), str(manifest["prompt"])
        identity = [weights, str(manifest["tokenizer_sha256"]), architecture.pooling]
        builder = manifest["builder"]
    except (KeyError, msgspec.ValidationError) as error:
        raise ModelError(
            f"{directory / MANIFEST} is damaged ({brief(error)}); delete that "
            "directory, and the model is built again."
        ) from error
    if peculiar := architecture.peculiarities():
        identity.append(json.dumps(peculiar, sort_keys=True))
    tokenizer = open_tokenizer(directory / "tokenizer.json")
    encoder = choose_backend(
        directory / GRAPH,
        probes(
            *(tokenizer, architecture.window), pairs=architecture.scores, second=architecture.second
        ),
        backend=how.backend,
        threads=how.threads,
        verdicts=cache_directory() / "verdicts",
        key=f"{_hash(identity)} {builder}",
    )
    give_back()
    dim, cut = _kept_dim(architecture.dim, how.dim)
    embedder = _embedder(
        *(tokenizer, encoder, [*identity, *cut], prompt),
        dim=dim,
        window=architecture.window,
        max_distance=measured_distance(weights) if how.dim is None else None,
    )
    if architecture.scores:
        return PairVerifier(embedder, tokenizer, architecture.second)
    return embedder


def _load_padded(directory: Path, exported: Path, how: _How, prompt: str) -> TextEmbedder:
    if how.backend not in ("auto", "onnxruntime"):
        raise ConfigError(f"{exported} runs in onnxruntime only; choose that backend, or auto.")
    config_path = directory / "config.json"
    config = read_json(config_path) if config_path.exists() else {}
    layout = read_layout(directory)
    tokenizer = open_tokenizer(directory / "tokenizer.json")
    try:
        positions = int(config.get("max_position_embeddings", 512))
        if config.get("model_type") in ("roberta", "xlm-roberta", "camembert", "mpnet"):
            positions -= int(config.get("pad_token_id", 1)) + 1
        pad_id = int(config.get("pad_token_id") or 0)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ModelError(f"{config_path} garbles {error}; fetch the model again.") from error
    window = read_window(directory, positions)
    tried = probes(tokenizer, window)
    longest = np.resize(tried[-1], min(window, 512))
    try:
        encoder = OnnxPadded(exported, threads=how.threads, pooling=layout.pooling, pad_id=pad_id)
        if layout.dense and not encoder.pools:
            raise ValueError("it ends before the pooling, which layers of its directory follow")
        dim = encoder.run([longest]).shape[1]
    except Exception as error:  # any failure inside the runtime
        raise ModelError(
            f"{exported} cannot be used with {len(longest)} tokens ({brief(error)}); put the "
            "config.json of the model beside it, or export it again for feature extraction."
        ) from error
    identity = [digest(exported), digest(directory / "tokenizer.json"), layout.pooling]

    def judge() -> str:
        steady = invariance(encoder.run, tried)
        return "" if steady >= INVARIANCE else f"{steady:.6f}"

    trouble = remembered(cache_directory() / "verdicts", [_hash(identity), "padded"], judge)
    if trouble:
        raise ModelError(
            f"{exported} gives one text other vectors in other company (cosine {trouble}), as "
            "dynamic int8 does; use its float32 or weight-only form."
        )
    dim, cut = _kept_dim(dim, how.dim)
    return _embedder(
        tokenizer, encoder, [*identity, *cut], prompt, dim=dim, window=window, max_distance=None
    )


def _kept_dim(dim: int, wanted: int | None) -> tuple[int, list[str]]:
    """How many values are kept, and what tells vectors of so many from whole ones."""
    if wanted is not None and not 1 <= wanted <= dim:
        raise ConfigError(f"The model's vectors have {dim} values; keep 1 to {dim}, not {wanted}.")
    return (dim, []) if wanted in (None, dim) else (wanted, [f"cut {wanted}"])


def _embedder(
    tokenizer: Any,
    encoder: Encoder,
    identity: list[str],
    prompt: str,
    *,
    dim: int,
    window: int,
    max_distance: float | None,
) -> TextEmbedder:
    marks = [*identity, encoder.precision, *([f"prompt {prompt}"] if prompt else [])]
    return TextEmbedder(
        tokenizer=tokenizer,
        encoder=encoder,
        dim=dim,
        window=window,
        fingerprint=_hash(marks),
        prompt=prompt,
        max_distance=max_distance,
    )


def _hash(parts: list[str]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
