"""``semcache load`` as people and scripts meet it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import anyio
import pytest
from rich.console import Console
from typer.testing import CliRunner

from semcache_async.cli import app
from semcache_async.load.asking.targets import CacheTarget, open_in_process
from semcache_async.load.live import print_tables, shown_on
from semcache_async.load.runs import LoadOptions, run_load
from semcache_async.testing import AngleEmbedder, MemoryStore
from tests.load.helpers import MACHINE, Queue

runner = CliRunner()
BRIEF = ["--duration", "0.5", "--warm-up", "0.2"]


def test_a_sweep_in_process(tmp_path: Path, redis_url: str) -> None:
    options = ["--rates", "30,60", "--repeats", "2", "--llm-ms", "5", "--redis-url", redis_url]
    out = tmp_path / "out"
    done = runner.invoke(app, ["load", *BRIEF, *options, "--json", "--output", str(out)])
    assert done.exit_code == 0, done.output
    results = json.loads(done.stdout)
    assert [one["target_rate"] for one in results] == [30.0, 60.0, 30.0, 60.0]
    assert all(one["llm_calls"] > 0 and not one["errors"] for one in results)
    assert {path.name for path in out.iterdir()} == {
        *("report.html", "report.md", "report.png", "results.json"),
    }
    for part in ("repeat 2 of 2", "Loads", "Noise floor", "report.html"):
        assert part in done.stderr


def test_nothing_answered_is_a_failure(tmp_path: Path) -> None:
    options = ["--url", "http://127.0.0.1:1", "--callers", "2", "--output", str(tmp_path / "out")]
    done = runner.invoke(app, ["load", *BRIEF, *options])
    assert done.exit_code == 1
    assert "not answered" in done.stdout
    assert "ClientConnectorError" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--url", "nonsense"], 1, "--url"),
        (["--trace", "none.csv"], 1, "none.csv"),
        (["--texts", "none.txt"], 1, "none.txt"),
        (["--rates", "1,x"], 2, "--rates"),
        (["--rate", "1", "--callers", "1"], 2, "--callers"),
    ],
)
def test_nonsense_is_one_sentence(options: list[str], code: int, says: str) -> None:
    where = [] if "--url" in options else ["--url", "http://127.0.0.1:1"]
    done = runner.invoke(app, ["load", *where, *options])
    assert done.exit_code == code
    assert says in done.stderr
    assert "Traceback" not in done.output


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hdrh.histogram", None)
    done = runner.invoke(app, ["load"])
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "Load reports need hdrh, which is not installed: pip install 'semcache-async[load]'."
    ]


def test_a_terminal_sees_live_numbers() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    options = LoadOptions(callers=2, duration_s=0.6, warm_up_s=0.0)

    async def run() -> None:
        results = await run_load(Queue(), options, machine=MACHINE, watch=shown_on(console))
        print_tables(results, console)

    anyio.run(run)
    assert isinstance(console.file, io.StringIO)
    screen = console.file.getvalue()
    for part in ("2 callers", "elapsed", "under way", "exact 100.0%", "answers/s", "p99", "share"):
        assert part in screen


def test_each_run_in_process_starts_empty_and_leaves_nothing() -> None:
    store = MemoryStore()

    async def run() -> None:
        async with open_in_process(
            None, llm_ms=0.0, seed=0, embedder=AngleEmbedder(), store=store
        ) as target:
            assert isinstance(target, CacheTarget)
            for _ in range(2):
                await target.begin()
                sources = [(await target.ask(f"ask at {at}")).source for at in (10, 10, 11, 90)]
                assert sources == ["generated", "exact", "semantic", "generated"]
                assert target.llm_calls() == 2
            assert len(store) == 4
            await target.forget()
            assert len(store) == 0

    anyio.run(run)
