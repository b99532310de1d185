"""What the package is built on: declared where it is used, and above known holes."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED = [Requirement(line) for line in PROJECT["dependencies"]]
OPTIONAL = [
    Requirement(line)
    for name, lines in PROJECT["optional-dependencies"].items()
    if name not in ("dev", "all")
    for line in lines
]
HOLES = {
    "aiohttp": "3.14.5",
    "onnx": "1.21",  # CVE-2026-27489, CVE-2026-28500, CVE-2026-34445
    "redis": "8.0.1",
}
"""The first versions without known holes that this package's way of use could meet."""
BY_NAME = {"hiredis": "redis"}
"""Named in brackets behind another."""
BY_OTHERS = {"uvloop"}
"""Loaded by anyio, which is told to use it."""


def lowest(requirement: Requirement) -> Version:
    (least,) = [one.version for one in requirement.specifier if one.operator in (">=", "==")]
    return Version(least)


@pytest.mark.parametrize("name", sorted(HOLES))
def test_floors_are_above_known_holes(name: str) -> None:
    (requirement,) = [one for one in NEEDED if canonicalize_name(one.name) == name]
    assert lowest(requirement) >= Version(HOLES[name])


@pytest.mark.parametrize("requirement", NEEDED, ids=lambda one: one.name)
def test_what_is_installed_meets_its_floor(requirement: Requirement) -> None:
    assert requirement.specifier.contains(version(requirement.name), prereleases=True)


def imported() -> set[str]:
    """The modules of others that the package names, by their first part."""
    found = set()
    for path in (ROOT / "semcache_async").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                found.add((node.module or "").partition(".")[0])
            elif isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
    return found - set(sys.stdlib_module_names) - {"semcache_async"}


def test_what_is_imported_is_declared_and_the_other_way_round() -> None:
    homes = packages_distributions()
    used = {
        canonicalize_name(BY_NAME.get(module, homes.get(module, [module])[0]))
        for module in imported()
    }
    declared = {canonicalize_name(one.name) for one in NEEDED}
    optional = {canonicalize_name(one.name) for one in OPTIONAL}
    assert used <= declared | optional
    assert declared <= used | BY_OTHERS


def test_constraints_are_exact_and_above_every_floor() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {}
    for line in lines:
        if not line.startswith("#"):
            assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line), line
            name, _, number = line.partition("==")
            pinned[name] = number
    assert list(pinned) == sorted(pinned)
    for one in (*NEEDED, *OPTIONAL):
        number = pinned[canonicalize_name(one.name)]
        assert one.specifier.contains(number, prereleases=True), one
