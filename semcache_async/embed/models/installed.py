"""The models on this disk: built, checked, and only then moved into the user's cache directory."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from semcache_async.embed.encoder.architecture import Tensors
from semcache_async.embed.encoder.graph import build_graph
from semcache_async.embed.encoder.layout import (
    Layout,
    digest,
    lowers,
    read_architecture,
    read_json,
    read_layout,
    read_modules,
    read_prompt,
)
from semcache_async.embed.encoder.reference import reference_vectors
from semcache_async.embed.encoder.weights import read_tensors, weight_files
from semcache_async.embed.models.catalog import MINILM, PublishedModel, known
from semcache_async.embed.models.progress import Progress
from semcache_async.embed.models.sources import fetch
from semcache_async.embed.runtimes.checks import INVARIANCE, PARITY_F32, invariance, parity, probes
from semcache_async.embed.runtimes.encoders import OnnxPacked, usable_cpus
from semcache_async.embed.tokenizer import open_tokenizer, write_lowering
from semcache_async.embed.wording import brief
from semcache_async.errors import ModelError

__all__ = [
    "BUILDER",
    "GRAPH",
    "MANIFEST",
    "build_packed",
    "cache_directory",
    "exported_graph",
    "kept_models",
    "missing",
    "origin",
    "pull_model",
]

BUILDER = 2
"""Goes up whenever the graph or the manifest changes."""
GRAPH = "packed.onnx"
MANIFEST = "semcache.json"

_DESCRIPTIONS = (
    *("config.json", "tokenizer.json", "1_Pooling/config.json", "sentence_bert_config.json"),
    *("modules.json", "config_sentence_transformers.json", "tokenizer_config.json"),
)
_NAME = re.compile(r"(?P<repository>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?")

Say: TypeAlias = Callable[[str], None]
Facts: TypeAlias = dict[str, Any]


def cache_directory() -> Path:
    """SEMCACHE_CACHE_DIR, else this user's cache directory as the platform has it."""
    named = os.environ.get("SEMCACHE_CACHE_DIR")
    if named:
        return Path(named).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "semcache"
    base = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "semcache"


def kept_models() -> list[Path]:
    """Directories of the models on this disk that this version can use."""
    return [path for path in sorted(_models().glob("[!.]*")) if path.is_dir() and _is_whole(path)]


def origin(directory: Path) -> tuple[str, str]:
    """The name of a model on this disk, and the commit or package that it came from."""
    manifest = read_json(directory / MANIFEST)
    return str(manifest.get("name", "")), str(manifest.get("revision", "a directory"))


def pull_model(
    name: str | PublishedModel | None = None, *, force: bool = False, progress: bool = True
) -> Path:
    """The directory of a model, fetched, verified, built and checked on first need.

    ``name``: ``OWNER/NAME`` on the Hugging Face hub, or one of the catalogue without its owner;
    ``@REVISION`` behind it asks for a branch, tag or commit. Without one, what was fetched first
    stays, until ``force`` fetches the newest anew. None: the default model. Safe from several
    processes at once: one works, the others wait. Raises ``ModelError`` where it cannot be had or
    does not pass its checks.
    """
    model, revision = _parse(name) if isinstance(name, str) else (name or MINILM, None)
    target = _place(model, revision)

    def fill(directory: Path, say: Say) -> None:
        say("fetching")
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            source, origin = fetch(model, revision, Path(scratch))
            facts = {"name": model.repository, "revision": origin}
            write = write_packed if exported_graph(source) is None else _keep_exported
            write(source, directory, say, facts, model.prompt)

    return _install(target, fill, force=force, title=model.name, progress=progress)


def missing(name: str) -> tuple[PublishedModel, str | None] | None:
    """What ``pull_model`` would fetch, and of which revision; None where it lies on this disk.
    Raises ``ModelError`` for what is no name."""
    model, revision = _parse(name)
    return None if _is_whole(_place(model, revision)) else (model, revision)


def _place(model: PublishedModel, revision: str | None) -> Path:
    key = _pinned(model) if model.sha256 else re.sub(r"[^\w.-]", "-", revision or "first")
    return _models() / f"{model.repository.replace('/', '--')}-{key}-b{BUILDER}"


def _parse(name: str) -> tuple[PublishedModel, str | None]:
    found = _NAME.fullmatch(name)
    if name and found is None and Path(name).is_dir():
        raise ModelError(
            f"{name!r} is a directory: nothing is to be fetched. Name it in SEMCACHE_MODEL."
        )
    if found is None:
        raise ModelError(
            f"{name!r} is neither a directory nor the name of a model; give OWNER/NAME as on the "
            "Hugging Face hub, with @REVISION behind it if need be."
        )
    repository, revision = found["repository"], found["revision"]
    model = known(repository)
    if model is None and "/" not in repository:
        raise ModelError(
            f"There is no model {name!r} in the catalogue (semcache model list) nor a directory of "
            "that name; give OWNER/NAME for one of the Hugging Face hub."
        )
    if model is None:
        model = PublishedModel(repository, "", 0, "", "")
    return (model if revision is None else model._replace(sha256={})), revision


def _pinned(model: PublishedModel) -> str:
    return hashlib.sha256(json.dumps(sorted(model.sha256.items())).encode()).hexdigest()[:16]


def build_packed(source: Path, *, progress: bool = True) -> Path:
    """The packed form of the sentence-transformers directory ``source``, built on first need.

    Known again by content, wherever ``source`` lies. Raises ``ModelError`` as ``pull_model`` does.
    """
    layout = read_layout(source)
    steps = [path / "config.json" for _, path in read_modules(source)]
    files = [*(source / name for name in _DESCRIPTIONS), *steps, *weight_files(layout)]
    content = hashlib.sha256()
    for path in files:
        name = path.relative_to(source).as_posix()
        content.update(f"{name} {digest(path) if path.is_file() else '-'}\n".encode())
    key = f"{source.resolve().name[:64]}-{content.hexdigest()[:16]}"
    return _install(
        _models() / f"{key}-b{BUILDER}",
        lambda directory, say: write_packed(source, directory, say, {"name": source.name}),
        force=False,
        title=source.name,
        progress=progress,
    )


def exported_graph(directory: Path) -> Path | None:
    """The graph that an exporter left in a model's directory."""
    paths = (directory / "model.onnx", directory / "onnx/model.onnx")
    return next((path for path in paths if path.is_file()), None)


def _models() -> Path:
    return cache_directory() / "models"


def write_packed(
    source: Path, directory: Path, say: Say, facts: Facts, prompt: str | None = None
) -> None:
    """``prompt``: in place of what the files of ``source`` say."""
    say("building")
    import onnx

    architecture, layout = read_architecture(source)
    tensors = read_tensors(layout, architecture)
    try:
        onnx.save(build_graph(architecture, tensors), directory / GRAPH)
    except Exception as error:  # whatever is odd about the shape
        raise _cannot_be_packed(source, error) from error
    kept = directory / "tokenizer.json"
    tokenizer = open_tokenizer(layout.transformer / kept.name)
    shutil.copyfile(layout.transformer / kept.name, kept)
    if lowers(layout.transformer):
        write_lowering(kept)
        tokenizer = open_tokenizer(kept)
    say("checking")
    _check_vocabulary(source, tokenizer, tensors)
    items = probes(
        *(tokenizer, architecture.window), pairs=architecture.scores, second=architecture.second
    )
    try:
        encoder = OnnxPacked(directory / GRAPH, threads=usable_cpus())
        truth = reference_vectors(architecture, tensors, items)
        near, steady = parity(encoder.run(items), truth), invariance(encoder.run, items)
    except Exception as error:  # whatever is odd about the weights
        raise _cannot_be_packed(source, error) from error
    if not (near >= PARITY_F32 and steady >= INVARIANCE):
        raise ModelError(
            f"The graph built from {source} is wrong: cosine to the reference {near:.6f}, to "
            f"itself in other company {steady:.6f}. Pull the model again; if it stays, try another "
            "onnxruntime version."
        )
    manifest = {
        "weights_sha256": _weights_digest(layout),
        "tokenizer_sha256": digest(kept),
        "prompt": read_prompt(source) if prompt is None else prompt,
        "architecture": architecture.as_json(),
        "parity": near,
        "invariance": steady,
    }
    _write_manifest(directory, facts | manifest)


def _cannot_be_packed(source: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{source} cannot be packed ({brief(error)}); put an exported model.onnx beside its "
        "tokenizer.json instead."
    )


def _check_vocabulary(source: Path, tokenizer: Any, tensors: Tensors) -> None:
    """A text with a token that has no row would fail, and all that is embedded with it."""
    rows = len(tensors["embeddings.word_embeddings.weight"])
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if highest >= rows:
        raise ModelError(
            f"The tokenizer of {source} has a token {highest}, and its weights have {rows} rows; "
            "fetch both again."
        )


def _keep_exported(
    source: Path, directory: Path, _say: Say, facts: Facts, prompt: str | None
) -> None:
    kept = directory / "exported"
    shutil.copytree(source, kept, ignore=shutil.ignore_patterns(".cache"))
    said = read_prompt(source) if prompt is None else prompt
    _write_manifest(directory, facts | {"exported": kept.name, "prompt": said})


def _write_manifest(directory: Path, manifest: Facts) -> None:
    text = json.dumps({"builder": BUILDER} | manifest, indent=1) + "\n"
    (directory / MANIFEST).write_text(text, encoding="utf-8")


def _weights_digest(layout: Layout) -> str:
    digests = [digest(path) for path in weight_files(layout)]
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )


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
    for path in (found for found in directory.rglob("*") if found.is_file()):
        with path.open("rb") as file:
            os.fsync(file.fileno())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the one lock of ``path`` among threads and processes; a crash lets go of it."""
    import fcntl

    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
