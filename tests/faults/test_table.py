"""The table of faults: each row has its tests, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LATER = {"processes"}
"""What stands in a row whose tests are yet to come."""


def test_every_row_names_tests_that_there_are() -> None:
    text = (HERE / "README.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.endswith("| tests |")]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert row.count("`") == 2 * len(named), row
        if not named:
            assert any(f"| {word} |" in row for word in LATER), row
        for file, name in named:
            path = ROOT / file
            assert path.exists(), file
            assert re.search(rf"^(?:async )?def {name}\(", path.read_text(), re.MULTILINE), name


def test_every_test_of_a_fault_is_in_it() -> None:
    text = (HERE / "README.md").read_text(encoding="utf-8")
    for file in ("test_store.py", "test_leader.py"):
        source = (HERE / file).read_text()
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", source, re.MULTILINE):
            assert f"{file}::{name}`" in text, name
