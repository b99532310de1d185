"""``semcache init`` and ``semcache doctor``."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from semcache_async.cli import app
from semcache_async.cli.setup.template import EXAMPLES, template
from semcache_async.config import CacheConfig
from semcache_async.serve.settings import OPTIONS, Settings, read_settings

runner = CliRunner()
OPTION = re.compile(r"^# ([a-z_]+ = .+)$", re.MULTILINE)
RIVALS = {"verified", "model"}
"""Each is refused beside another example; the test of single lines has them."""


def invoke(*arguments: str, env: dict[str, str | None] | None = None) -> Result:
    return runner.invoke(app, list(arguments), env=env, catch_exceptions=False)


def value_of(settings: Settings, name: str) -> Any:
    return getattr(settings if hasattr(settings, name) else settings.cache, name)


# -- init


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "semcache.toml"


def read(file: Path, text: str) -> Settings:
    file.write_text(text)
    return read_settings({}, env={}, file=file, asks_llm=False)


def test_what_init_writes_is_the_default_with_every_option_in_it(file: Path) -> None:
    written = template({})
    assert read(file, written) == Settings()
    names = [line.partition(" ")[0] for line in OPTION.findall(written)]
    assert sorted(names) == sorted(OPTIONS)
    assert names[0] == "redis_url"
    assert all(line.startswith("#") for line in written.splitlines() if line and line[0] != "[")
    assert all(len(line) <= 100 for line in written.splitlines() if " = " not in line)


def test_every_line_can_be_taken_at_its_word(file: Path) -> None:
    written = template({})
    for name in OPTIONS:
        with_it = re.sub(rf"^# ({name} = )", r"\1", written, flags=re.MULTILINE)
        if name.startswith("embeddings_"):
            with_it = re.sub(r"^# (embeddings_(url|model) = )", r"\1", with_it, flags=re.MULTILINE)
        value = value_of(read(file, with_it), name)
        if name in EXAMPLES:
            assert str(value) == str(EXAMPLES[name])
        else:
            assert value == OPTIONS[name].default


def test_all_lines_together_are_a_file_too(file: Path) -> None:
    together = OPTION.sub(lambda m: m[m[1].partition(" ")[0] not in RIVALS], template({}))
    settings = read(file, together)
    set_ = {part.name for part in fields(CacheConfig)} & EXAMPLES.keys() - RIVALS
    assert all(value_of(settings, name) == EXAMPLES[name] for name in set_)


def test_init_asks_nothing_and_says_what_is_next(file: Path) -> None:
    done = invoke("init", str(file))
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (
        0,
        f"  semcache serve --config {file}",
    )
    assert read_settings({}, env={}, file=file).simulate_llm
    assert file.stat().st_mode & 0o777 == 0o600
    again = invoke("init", str(file), "--upstream-url", "https://llm.example/v1")
    assert (again.exit_code, again.stdout, len(again.stderr.splitlines())) == (1, "", 1)
    assert read_settings({}, env={}, file=file).simulate_llm
    url = 'redis://u:p"\\%40\x7f@r:6379/0'
    told = ("--upstream-url", "https://llm.example/v1", "--redis-url", url, "--force")
    assert "SEMCACHE_UPSTREAM_KEY=" in invoke("init", str(file), *told).stdout
    settings = read_settings({}, env={}, file=file)
    assert (settings.upstream_url, settings.redis_url) == ("https://llm.example/v1", url)
    assert not settings.simulate_llm


@pytest.mark.parametrize(
    "wrong", [("--upstream-url", "llm"), ("--redis-url", "redis://r/3"), ("--redis-url", "r")]
)
def test_nothing_is_written_that_could_not_be_read(file: Path, wrong: tuple[str, str]) -> None:
    done = invoke("init", str(file), *wrong)
    assert (done.exit_code, file.exists()) == (1, False)
    assert invoke("init", str(file / "no" / "such")).exit_code == 1
