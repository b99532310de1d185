"""Data flows one way, and so do imports; importing the package stays cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import semcache_async

ROOT = Path(semcache_async.__file__).parent

# What each part may import at run time, itself and the vocabulary apart.
ALLOWED = {
    "text": set[str](),
    "flow": {"text"},
    "embed": {"flow"},
    "store": set[str](),
    "data": set[str](),
    "tiers": {"flow", "request", "stats", "text"},
    "request": {"flow", "text"},
    "stats": set[str](),
    "answering": {"flow", "request", "stats", "tiers"},
    "reply": {"answering", "flow", "request", "stats"},
    "cache": {
        *("answering", "embed", "flow", "reply", "request"),
        *("stats", "store", "text", "tiers"),
    },
    "testing": set[str](),
    "workload": {"data"},
    "live": {"shell", "testing", "workload"},
    "demo": {"cache", "data", "embed", "live", "stats", "testing", "workload"},
    "report": {"demo", "live", "text"},
    "load": {"cache", "data", "embed", "shell", "stats", "testing", "text", "workload"},
    "shell": set[str](),
    "serve": {"__version__", "cache", "embed", "flow", "reply", "shell", "store", "text"},
    "cli": {"__version__", "cache", "demo", "embed", "load", "report", "serve", "shell", "testing"},
}
VOCABULARY = {"complaints", "config", "errors", "protocols", "types"}
HEAVY = (
    "hdrh",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "openvino",
    "transformers",
    "tokenizers",
    "huggingface_hub",
    "rich",
)


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "semcache_async":
                names = [f"semcache_async.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("semcache_async.")}
    return found


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_arrows(part: str) -> None:
    folder = ROOT / part
    paths = sorted(folder.glob("*.py")) if folder.is_dir() else [ROOT / f"{part}.py"]
    assert paths
    for path in paths:
        strange = imported(path) - ALLOWED[part] - VOCABULARY - {part}
        assert not strange, f"{path.relative_to(ROOT)} imports {sorted(strange)}"


@pytest.mark.parametrize("part", sorted(VOCABULARY))
def test_the_vocabulary_knows_nobody(part: str) -> None:
    assert imported(ROOT / f"{part}.py") <= VOCABULARY


def test_modules_can_be_read_at_a_sitting() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in ROOT.rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 310
    }
    assert not long


def test_importing_loads_nothing_heavy() -> None:
    code = f"import sys, semcache_async; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_names() -> None:
    for name in semcache_async.__all__:
        assert getattr(semcache_async, name) is not None
    with pytest.raises(AttributeError):
        semcache_async.nonsense  # noqa: B018
