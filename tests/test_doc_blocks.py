"""Every block of the documents does what it says: Python is run, requests are sent to a service
with a simulated LLM, commands name what there is, files are read by what reads them.

A comment in front of a block says what is otherwise: ``<!-- not run: REASON -->``,
``<!-- run by: tests/test_x.py -->``, and ``<!-- prints -->`` before what the block above prints.
The Python of a page is run elsewhere if a test says that it has the "blocks of docs/PAGE", or names
a page of docs/integrations.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib.util
import inspect
import io
import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from anyio.from_thread import start_blocking_portal

from semcache_async import CacheConfig, SemanticCache
from semcache_async.cli import app
from semcache_async.embed import TextEmbedder
from semcache_async.serve.keys import KeyRing
from semcache_async.serve.settings import Settings, read_settings, strange_variables
from semcache_async.worker.rules import read_rules
from tests.pages import DOCS, PAGES, ROOT, SERVICE, Block, blocks_of, code_of, stand_in
from tests.serve.running import Live, live

yaml = pytest.importorskip("yaml")
OTHERS = {
    *("cd", "curl", "docker", "git", "gunicorn", "helm", "kubectl", "openssl", "redis-cli"),
    "uvicorn",
}
"""Programs that are not this package's."""
COMMAND: Any = typer.main.get_command(app)


ALL = [block for page in PAGES for block in blocks_of(page)]
TESTS = {path: path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/test_*.py")}
ELSEWHERE = {
    page: path
    for path, text in TESTS.items()
    for page in PAGES
    if re.search(rf"blocks? of {page.relative_to(ROOT)}\b", text)
    or (page.parent.name == "integrations" and f'"{page.name}"' in text)
}
"""By page: the test that runs its Python."""


def of(*languages: str) -> list[Any]:
    return [pytest.param(block, id=block.where) for block in ALL if block.language in languages]


def test_each_block_is_of_a_kind_that_is_checked() -> None:
    for block in ALL:
        assert block.language in {"python", "sh", "json", "toml", "yaml", "text"}, block.where
        if block.mark.startswith("not run:"):
            assert len(block.mark.split()) > 4, f"{block.where}: why not?"
        if block.mark.startswith("run by:"):
            test = TESTS[ROOT / block.mark.removeprefix("run by:").strip()]
            assert block.page.name in test, f"{block.where} is in no test there"


# -- Python


@pytest.fixture(scope="module")
def service(redis_url: str, text_embedder: TextEmbedder) -> Iterator[Live]:
    """``semcache serve --simulate-llm``, for all pages."""
    name, cache = f"docs-{secrets.token_hex(4)}", {"max_distance": 0.12, "widenable": ("locale",)}
    opening = live(redis_url, name, embedder=text_embedder, cache=cache)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(opening) as running:
        yield running


@pytest.fixture
def known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, redis_url: str, text_embedder: TextEmbedder
) -> dict[str, Any]:
    """What a page's blocks have: ``llm.py``, ``generate``; any Redis is this one, any model the
    default one."""
    stand_in(monkeypatch, redis_url, text_embedder)
    monkeypatch.setattr(
        "semcache_async.embed.load_verifier", lambda _: lambda pairs: [1.0] * len(pairs)
    )
    defaults: Any = CacheConfig.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "index", "flat")
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    llm = code_of(DOCS / "usage.md")[0]
    Path("llm.py").write_text(llm, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "llm", raising=False)
    names: dict[str, Any] = {}
    exec(llm, names)
    return names


def run(block: Block, known: dict[str, Any], runner: asyncio.Runner, service: Live) -> str:
    """What it prints."""
    text = block.text.replace(SERVICE, service.url)
    code = compile(text, block.where, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        done = eval(code, known)
        if inspect.isawaitable(done):
            runner.run(awaited(done))
    return printed.getvalue()


async def awaited(done: Any) -> None:
    await done


PROGRAMS = {
    page: [block for block in blocks_of(page) if block.language in ("python", "text")]
    for page in PAGES
    if page not in ELSEWHERE
}


@pytest.mark.parametrize(
    "page",
    [page for page, some in PROGRAMS.items() if any(b.language == "python" for b in some)],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_python(
    page: Path, known: dict[str, Any], service: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page's blocks share their names, and may await as a notebook's do."""
    defaults: Any = CacheConfig.__init__.__kwdefaults__
    printed = ""
    with asyncio.Runner() as runner:
        known["cache"] = cache = runner.run(opened_cache())
        try:
            for block in PROGRAMS[page]:
                if block.language == "text":
                    assert block.mark != "prints" or printed == block.text, block.where
                elif block.runs_here:
                    monkeypatch.setitem(defaults, "name", f"docs-{secrets.token_hex(4)}")
                    printed = run(block, known, runner, service)
                else:
                    ast.parse(block.text)
        finally:
            runner.run(cache.aclose())
            if hasattr(known.get("client"), "close"):
                known["client"].close()
            if "set_llm_cache" in known:
                known["set_llm_cache"](None)


async def opened_cache() -> SemanticCache:
    config = CacheConfig(name=f"docs-{secrets.token_hex(4)}")
    return await SemanticCache.open(config=config)


# -- commands


def commands(text: str) -> Iterator[tuple[str, list[list[str]]]]:
    """Each line of a shell, continued ones as one, with the words of its commands."""
    line = ""
    for part in text.replace("\\\n", " ").splitlines():
        line += part + "\n"
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:  # within quotes
            continue
        found: list[list[str]] = [[]]
        for word in words:
            if set(word) <= set("|&;"):
                found.append([])
            else:
                found[-1].append(word)
        if words:
            yield line, [command for command in found if command]
        line = ""
    assert not line.strip(), f"an open quote: {line}"


def check_options(words: list[str]) -> None:
    """Raises a usage error unless the command takes these words."""
    name, command = "semcache", COMMAND
    context = command.context_class(command, info_name=name)
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, words)
        context = command.context_class(command, info_name=name, parent=context)
    if not {"--help", "--hash-key"} & set(words):  # which end the process
        command.make_context(name, list(words), parent=context)


def targets() -> set[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))


def check_command(words: list[str]) -> None:
    while words and re.match(r"[A-Z_]+=", words[0]):
        name, _, value = words.pop(0).partition("=")
        assert not strange_variables({name: value})
    if not words:
        return
    program, *rest = words
    program = program.rpartition("/")[2]
    if program == "semcache":
        check_options(rest)
    elif program == "make":
        assert {word for word in rest if "=" not in word} <= targets()
    elif program == "python" and rest[:1] == ["-m"] and rest[1] != "venv":
        assert importlib.util.find_spec(rest[1]), rest[1]
    elif program == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        for extras in re.findall(r"(?:semcache-async|\.)\[(.+?)\]", " ".join(rest)):
            assert set(extras.split(",")) <= set(project["optional-dependencies"]), extras
    else:
        assert program in {*OTHERS, "python", "export"}, f"what is {program}?"


@pytest.mark.parametrize("block", of("sh"))
def test_commands(
    block: Block, service: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They parse, and name what there is; those that ask a service ask this one."""
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r"(?<![\w/])\w+\.(?:jsonl|toml|csv)\b", block.text):
        Path(name).touch()
    subprocess.run(["sh", "-n"], input=block.text, text=True, check=True)
    env = {**os.environ, "SEMCACHE_API_KEY": "any", "SEMCACHE_URL": service.url}
    for line, found in commands(block.text):
        for words in found:
            check_command(words)
            if words[0] == "export":
                monkeypatch.setenv(*words[1].split("=", 1))
        if block.runs_here and "curl" in found[0] and "localhost:8080" in line:
            told = line.replace(SERVICE, "localhost:8080").replace("localhost:8080", service.url)
            asked = told.replace("curl ", "curl --silent --show-error --fail-with-body ", 1)
            done = subprocess.run(
                ["sh", "-ec", asked], env=env, capture_output=True, text=True, timeout=30
            )
            assert done.returncode == 0, f"{block.where}: {done.stdout}{done.stderr}"


def test_a_slip_in_a_command_is_found() -> None:
    for line in (
        "semcache serve --simulate",
        "semcache model fetch X",
        "semcache migrate --rate x",
    ):
        with pytest.raises(typer.BadParameter.__bases__):
            check_options(line.split()[1:])
    with pytest.raises(AssertionError):
        check_command(["make", "dmeo"])
    with pytest.raises(AssertionError):
        check_command(["SEMCACHE_MAX_DISTANEC=1", "semcache", "demo"])


def flags(command: Any) -> set[str]:
    """Of a command and all below it."""
    own = {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}
    return own.union(*map(flags, getattr(command, "commands", {}).values()))


def test_options_in_running_text_are_there() -> None:
    known = flags(COMMAND) | {"--help", "--preload", "--auto-truncate", "--against"}
    known |= {"--build-arg", "--set-file"}  # of docker, of helm
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"`(?:semcache \w+ )?(--[a-z][a-z-]+)", text)) <= known, page
        assert not strange_variables(
            dict.fromkeys(re.findall(r"SEMCACHE_(?!TEST_)[A-Z_]+[A-Z]", text), "")
        )


# -- files


@pytest.mark.parametrize("block", of("json", "yaml"))
def test_files(block: Block) -> None:
    if block.language == "yaml":
        assert list(yaml.safe_load_all(block.text))
        return
    try:
        json.loads(block.text)
    except ValueError:
        for line in block.text.splitlines():
            json.loads(line)


@pytest.mark.parametrize("block", of("toml"))
def test_toml(block: Block, tmp_path: Path) -> None:
    """Read by what reads such a file: keys, rules of a worker, else the service's options."""
    path = tmp_path / "semcache.toml"
    said = tomllib.loads(block.text)
    path.write_text(block.text, encoding="utf-8")
    if "rules" in said:
        read_rules(path)
        return
    if "keys" in said:
        whole = re.sub(r"sha256:\w+\.\.\.", f"sha256:{'0' * 64}", block.text)
        path.write_text(whole, encoding="utf-8")
        assert not KeyRing.of(Settings(simulate_llm=True, api_keys_file=path)).open
        return
    if not {"upstream_url", "upstreams"} & set(said):
        path.write_text(f"simulate_llm = true\n{block.text}", encoding="utf-8")
    keys = {table["key_env"]: "any" for table in said.get("upstreams", ()) if "key_env" in table}
    read_settings({}, env=keys, file=path)
