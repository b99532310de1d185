"""What a release is checked with, in an environment of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

__all__ = ["ROOT", "tool"]

ROOT = Path(__file__).parents[2]


def tool(name: str, *arguments: str | Path, typed: str = "") -> str:
    """What it prints; the test fails where it complains."""
    path = ROOT / ".venv-release" / "bin" / name
    if not path.exists():
        pytest.skip("make release-tools")
    done = subprocess.run(
        [path, *arguments], cwd=ROOT, input=typed, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout
