"""What is uploaded holds what it should, and works where nothing but it is installed.
``make wheel-test`` is the whole of it, with each extra's packages."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
from importlib.metadata import PackageNotFoundError, PathDistribution, version
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import pytest
from packaging.requirements import Requirement

from semcache_async import __version__
from tests.release.tools import ROOT, tool

STEM = f"semcache_async-{__version__}"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("dist")
    tool("hatchling", "build", "--directory", made)
    return made


def test_the_wheel_is_the_package_and_its_notices(dist: Path) -> None:
    with ZipFile(dist / f"{STEM}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
    inside = {name for name in names if name.startswith("semcache_async/")}
    ours = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "semcache_async"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {"semcache_async/py.typed", "semcache_async/serve/page/static/index.html"} <= inside
    pages = {name for name in inside if name.startswith("semcache_async/docs/")}
    assert "semcache_async/docs/troubleshooting.md" in pages
    assert all((ROOT / name.removeprefix("semcache_async/")).exists() for name in pages)
    assert not any(name.endswith((".png", ".svg")) for name in pages)
    assert inside - pages == {name for name in ours if (ROOT / name).exists()}
    assert {name.rpartition("/")[2] for name in names - inside} == {
        *("LICENSE", "NOTICE.md", "METADATA", "RECORD", "WHEEL", "entry_points.txt")
    }


def test_the_source_archive_has_nothing_of_the_tests(dist: Path) -> None:
    with tarfile.open(dist / f"{STEM}.tar.gz") as archive:
        tops = {name.split("/")[1] for name in archive.getnames()}
    assert tops == {
        *("semcache_async", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "NOTICE.md"),
        *("PKG-INFO", ".gitignore", "docs"),
    }


def test_it_runs_where_it_is_installed_alone(dist: Path, tmp_path: Path) -> None:
    """With what it needs on the path, and this checkout out of it."""
    home = tmp_path / "env"
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    wheel = dist / f"{STEM}-py3-none-any.whl"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet"]
    environment = {"PATH": os.environ["PATH"], "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def run(*command: str | Path, **variables: str) -> str:
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    run(*pip, "install", "--no-deps", "--no-index", "--no-compile", wheel)
    others = sysconfig.get_path("purelib")
    assert run(home / "bin" / "semcache", "--version", PYTHONPATH=others) == (
        f"semcache {__version__}\n"
    )
    where = run(
        *(python, "-c", "import semcache_async; print(semcache_async.__file__)"),
        PYTHONPATH=others,
    )
    assert where.startswith(str(home))


def test_every_extra_asks_for_what_the_tests_ran_with(dist: Path) -> None:
    name = f"{STEM}.dist-info"
    with ZipFile(dist / f"{STEM}-py3-none-any.whl") as wheel:
        members = [one for one in wheel.infolist() if _is_metadata(one, name)]
        wheel.extractall(dist, members)
    told = PathDistribution(dist / name)
    assert told.version == __version__
    extras = set(told.metadata.get_all("Provides-Extra") or ()) - {"dev", "all"}
    asked = [Requirement(line) for line in told.requires or ()]
    for extra in sorted(extras):
        wanted = [
            one
            for one in asked
            if one.marker is not None
            and one.marker.evaluate({"extra": extra})
            and not one.marker.evaluate({"extra": ""})
        ]
        for one in wanted:
            try:
                assert one.specifier.contains(version(one.name), prereleases=True), one
            except PackageNotFoundError:
                pytest.fail(f"{extra}: {one} is not installed where the tests run")


def _is_metadata(one: ZipInfo, folder: str) -> bool:
    return one.filename.startswith(f"{folder}/")
