"""The section of docs/distance.md on shadow mode and learning, as it stands there."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from typer.testing import CliRunner

from semcache_async import Answer, Scope, Source
from semcache_async.cli import app
from semcache_async.serve.settings import Settings
from semcache_async.testing import AngleEmbedder
from semcache_async.tune import command as calibrating
from tests.pages import DOCS, ROOT, code_of
from tests.serve.running import Live, live


def blocks(language: str) -> list[str]:
    return code_of(DOCS / "distance.md", "Start in shadow, then let it learn", language)


SERVE = [block for block in blocks("sh") if "semcache serve" in block]
(WEEKLY,) = (block for block in blocks("sh") if "calibrate" in block)


@pytest.mark.parametrize("block", SERVE)
def test_the_service_is_told_what_the_text_says(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Settings] = []

    async def serve(settings: Settings) -> None:
        told.append(settings)

    monkeypatch.setattr("semcache_async.serve.process.supervisor.serve", serve)
    monkeypatch.setattr("semcache_async.serve.process.logs.log_to_stderr", lambda: None)
    monkeypatch.chdir(tmp_path)
    Path("semcache.toml").write_text('upstream_url = "https://llm.example/v1"\n')
    _, *arguments = shlex.split(block)
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert told[0].judge_model == "gpt-4o-mini"
    assert told[0].cache.shadow is ("--shadow" in block)
    assert told[0].cache.target_precision == (None if told[0].cache.shadow else 0.98)


@pytest.fixture
def reviewed() -> Iterator[Live]:
    """A service with three hundred reviews, all of right hits up to a distance of .015."""

    async def review(running: Live) -> None:
        journal = running.service.journal
        for n in range(300):
            angle = n % 10
            hit = Answer(
                text="it",
                source=Source.SEMANTIC,
                distance=1.0 - float(AngleEmbedder().embed([f"at {angle}"])[0][0]),
                matched_prompt=f"stored {n} at 0",
            )
            journal.note_hit(prompt=f"asked {n} at {angle}", answer=hit, scope=Scope())
        await journal.flush()
        for listed in await journal.near(300):
            await journal.review(listed.id, "right")

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(live(review_fraction=0.0)) as running,
    ):
        portal.call(review, running)
        yield running


def test_the_weekly_recipe(reviewed: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "_embedder", lambda _model: AngleEmbedder())
    monkeypatch.chdir(tmp_path)
    Path("semcache.toml").write_text("[cache]\nmax_distance = 0.3\n")
    fetch, _, calibrate = WEEKLY.partition("\nsemcache ")
    env = {**os.environ, "SEMCACHE_URL": reviewed.url, "SEMCACHE_API_KEY": "any"}
    subprocess.run(["sh", "-ec", fetch], check=True, timeout=60, env=env)
    result = CliRunner().invoke(app, shlex.split(calibrate), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    written = tomllib.loads(Path("semcache.toml").read_text())["cache"]["max_distance"]
    assert 0.0 < written < 0.02


def test_the_program(tmp_path: Path) -> None:
    (tmp_path / "llm.py").write_text(code_of(DOCS / "usage.md")[0], encoding="utf-8")
    (tmp_path / "program.py").write_text(blocks("python")[0], encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "generated None",
        "generated How do I reset my PIN?",
        "None",
    ]
