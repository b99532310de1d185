"""The report on programs that people run; ``python -m benchmarks.programs`` runs them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contenders.process import ROOT
from benchmarks.programs.__main__ import outcome
from benchmarks.programs.field import PROGRAMS
from benchmarks.programs.report import Row, render, shown

_NONE = dict.fromkeys(("generated", "exact", "semantic", "shared", "bypassed", "failed"), 0)
_BEFORE = {**_NONE, "bypass_reasons": {"tools": 2}, "unkept_answers": {}, "http_errors": {}}
_AFTER = {**_BEFORE, "generated": 1, "bypassed": 3, "bypass_reasons": {"tools": 5}}


def test_a_cell_tells_what_was_counted_and_why() -> None:
    assert str(outcome(_BEFORE, _AFTER, 0, "")) == "generated, 3 bypassed (tools)"
    assert str(outcome(_BEFORE, _BEFORE, 0, "")) == "nothing asked"
    failed = outcome(_BEFORE, {**_BEFORE, "http_errors": {"502": 1}}, 1, "no luck")
    assert str(failed) == "HTTP 502, **it failed (1)**"


def test_the_report() -> None:
    made = Row("one", "`one ask`", "it offers tools", "1.2")
    made.steps = {"miss": outcome(_BEFORE, _AFTER, 0, ""), "stream": None}
    made.bodies = [{"messages": []}]
    rows = [made, Row("two", "`two`", "", "", left_out="no environment")]
    text = render(rows, {"miss": "How?", "stream": "How?"})
    cells = "generated, 3 bypassed (tools) | - |"
    assert f"| one 1.2 | `one ask` | `chat/completions` | {cells}" in text
    assert "| two | `two` |  | not asked: no environment |" in text
    assert text.endswith("- **one**: it offers tools\n")
    assert shown(made).splitlines()[0] == "one 1.2"


def test_what_is_run_is_pinned() -> None:
    folder = ROOT / "benchmarks" / "programs" / "requirements"
    pinned = {path.stem: path for path in folder.iterdir()}
    assert pinned.keys() == {program.environment for program in PROGRAMS.values()}
    lines = [line for path in pinned.values() for line in Path(path).read_text().splitlines()]
    assert all("==" in line for line in lines if line[:1].isalpha())
