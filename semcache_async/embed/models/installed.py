"""The model store: built, checked, and only then moved into the user's cache directory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np

from semcache_async.embed.embedder import open_tokenizer
from semcache_async.embed.encoder.graph import build_graph
from semcache_async.embed.encoder.reference import reference_vectors
from semcache_async.embed.encoder.weights import digest, read_architecture, read_json, read_tensors
from semcache_async.embed.models.progress import Progress
from semcache_async.embed.models.sources import MINILM, PublishedModel, fetch
from semcache_async.embed.runtimes.checks import INVARIANCE, PARITY_F32, PROBES, invariance, parity
from semcache_async.embed.runtimes.encoders import OnnxPacked, usable_cpus
from semcache_async.embed.wording import brief
from semcache_async.errors import ModelError

__all__ = ["BUILDER", "GRAPH", "MANIFEST", "build_packed", "cache_directory", "pull_model"]

BUILDER = 1
"""Goes up whenever the graph or the manifest changes."""
GRAPH = "packed.onnx"
MANIFEST = "semcache.json"

Say: TypeAlias = Callable[[str], None]


def cache_directory() -> Path:
    """SEMCACHE_CACHE_DIR, else this user's cache directory as the platform has it."""
    named = os.environ.get("SEMCACHE_CACHE_DIR")
    if named:
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "semcache"
    base = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "semcache"


def pull_model(
    *, force: bool = False, progress: bool = True, model: PublishedModel = MINILM
) -> Path:
    """The default model's directory, fetched, verified, built and checked on first need.

    ``force`` does it anew. Safe from several processes at once: one works, the others wait.
    Raises ``ModelError`` where it cannot be had or does not pass its checks.
    """
    target = cache_directory() / "models" / f"{model.name}-{_key(model)}-b{BUILDER}"

    def fill(directory: Path, say: Say) -> None:
        say("fetching")
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            write_packed(fetch(model, Path(scratch)), directory, say)

    return _install(target, fill, force=force, title=model.name, progress=progress)


def build_packed(source: Path, *, progress: bool = True) -> Path:
    """The packed form of the sentence-transformers directory ``source``, built on first need.

    Known again by content, wherever ``source`` lies. Raises ``ModelError`` as ``pull_model`` does.
    """
    content = hashlib.sha256()
    for name in (
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "1_Pooling/config.json",
        "sentence_bert_config.json",
        "modules.json",
    ):
        path = source / name
        content.update(f"{name} {digest(path) if path.is_file() else '-'}\n".encode())
    name = f"{source.resolve().name[:64]}-{content.hexdigest()[:16]}-b{BUILDER}"
    target = cache_directory() / "models" / name
    return _install(
        target,
        lambda directory, say: write_packed(source, directory, say),
        force=False,
        title=source.name,
        progress=progress,
    )


def _key(model: PublishedModel) -> str:
    return hashlib.sha256(json.dumps(sorted(model.sha256.items())).encode()).hexdigest()[:16]


def write_packed(source: Path, directory: Path, say: Say) -> None:
    say("building")
    import onnx

    architecture = read_architecture(source)
    weights = source / "model.safetensors"
    tensors = read_tensors(weights, architecture)
    onnx.save(build_graph(architecture, tensors), directory / GRAPH)
    tokenizer = open_tokenizer(source / "tokenizer.json")
    shutil.copyfile(source / "tokenizer.json", directory / "tokenizer.json")
    say("checking")
    items = [np.array(tokenizer.encode(p).ids, np.int32)[: architecture.window] for p in PROBES]
    encoder = OnnxPacked(directory / GRAPH, threads=usable_cpus())
    truth = reference_vectors(architecture, tensors, items)
    near, steady = parity(encoder.run(items), truth), invariance(encoder.run, items)
    if not (near >= PARITY_F32 and steady >= INVARIANCE):
        raise ModelError(
            f"The graph built from {source} is wrong: cosine to the reference {near:.6f}, to "
            f"itself in other company {steady:.6f}. Pull the model again; if it stays, try another "
            "onnxruntime version."
        )
    manifest = {
        "builder": BUILDER,
        "weights_sha256": digest(weights),
        "tokenizer_sha256": digest(source / "tokenizer.json"),
        "architecture": architecture.as_json(),
        "parity": near,
        "invariance": steady,
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _install(
    target: Path, fill: Callable[[Path, Say], None], *, force: bool, title: str, progress: bool
) -> Path:
    """``target``, which appears whole or not at all: filled elsewhere, then renamed."""
    if not force and _is_whole(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.parent / f".{target.name}.lock"):
            if not force and _is_whole(target):
                return target
            for left in target.parent.glob(f".{target.name}.tmp-*"):
                shutil.rmtree(left, ignore_errors=True)
            staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.tmp-", dir=target.parent))
            try:
                with Progress(title, staging, enabled=progress) as say:
                    fill(staging, say)
                staging.chmod(0o755)
                _flush(staging)
                if target.exists():
                    target.replace(target.parent / f".{target.name}.tmp-{os.getpid()}-old")
                staging.replace(target)
            finally:
                for left in target.parent.glob(f".{target.name}.tmp-*"):
                    shutil.rmtree(left, ignore_errors=True)
    except OSError as error:
        raise ModelError(
            f"The model cannot be kept in {target.parent} ({brief(error)}); make room or "
            "permission there, or set SEMCACHE_CACHE_DIR to another directory."
        ) from error
    return target


def _is_whole(target: Path) -> bool:
    try:
        return read_json(target / MANIFEST).get("builder") == BUILDER
    except ModelError:
        return False


def _flush(directory: Path) -> None:
    for path in directory.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the one lock of ``path`` among threads and processes; a crash lets go of it."""
    import fcntl

    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
