"""What is run elsewhere: workflows, hooks and forms are well formed, and call what there is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from semcache_async import __version__
from tests.release.tools import ROOT, tool

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_they_fit_their_schema() -> None:
    tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)


def test_workflows_may_do_no_more_than_they_have_to() -> None:
    tool("zizmor", "--offline", "--no-progress", "--quiet", ROOT / ".github")
    writing = {
        (path.stem, name): {right for right, much in job["permissions"].items() if much == "write"}
        for path in WORKFLOWS
        for name, job in read(path)["jobs"].items()
        if "permissions" in job
    }
    assert writing == {("image", "push"): {"packages"}, ("release", "publish"): {"id-token"}}
    assert all(read(path)["permissions"] == {"contents": "read"} for path in WORKFLOWS)


def test_only_tags_publish_and_only_what_was_tested() -> None:
    release = read(ROOT / ".github" / "workflows" / "release.yml")
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML's `on`
    publish = release["jobs"]["publish"]
    assert (publish["needs"], publish["environment"]) == ("build", "pypi")
    steps = [step.get("run", "") for step in release["jobs"]["build"]["steps"]]
    assert any("scripts/wheel-test" in step for step in steps)


def test_what_they_call_is_there() -> None:
    texts = [path.read_text() for path in (*WORKFLOWS, ROOT / ".pre-commit-config.yaml")]
    called = {name for text in texts for name in re.findall(r": (?:&\w+ )?make ([a-z-]+)", text)}
    assert {"check", "test"} <= called <= TARGETS
    named = {
        name
        for text in texts
        for name in re.findall(r"(?:tests|scripts|deploy)/[\w/.-]+", text)
        if not name.endswith(("/", "**"))
    }
    assert named
    assert all((ROOT / name).exists() for name in named)


def test_every_python_that_is_promised_is_tested() -> None:
    jobs = read(ROOT / ".github" / "workflows" / "checks.yml")["jobs"]
    said = "Programming Language :: Python :: "
    promised = {
        line.removeprefix(said) for line in PROJECT["project"]["classifiers"] if said in line
    }
    assert set(jobs["tests"]["strategy"]["matrix"]["python"]) == promised


def test_the_version_stands_in_one_place() -> None:
    assert "version" in PROJECT["project"]["dynamic"]
    assert "version" not in read(ROOT / "CITATION.cff")
    pieces = __version__.split(".")
    assert len(pieces) == 3
    assert all(piece.isdecimal() for piece in pieces[:2])
