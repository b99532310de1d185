"""``semcache init``, ``semcache doctor`` and ``semcache docs``."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import fields
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis.asyncio
from typer.testing import CliRunner, Result

from semcache_async.cli import app
from semcache_async.cli.setup import here
from semcache_async.cli.setup.finding import MEMORY, PAGES, Finding
from semcache_async.cli.setup.here import look_at_models, look_at_port
from semcache_async.cli.setup.redis import look_at_redis
from semcache_async.cli.setup.template import EXAMPLES, template
from semcache_async.config import CacheConfig
from semcache_async.serve.settings import OPTIONS, Settings, read_settings
from tests.faults.test_outages import plain_redis
from tests.serve.running import live
from tests.test_docs import ROOT

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
    assert not re.search(r"\w  +\w", written)


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
    file.chmod(0o644)
    url = 'redis://u:p"\\%40\x7f\N{GRINNING FACE}@r:6379/0'
    told = ("--upstream-url", "https://llm.example/v1", "--redis-url", url, "--force")
    assert "SEMCACHE_UPSTREAM_KEY=" in invoke("init", str(file), *told).stdout
    settings = read_settings({}, env={}, file=file)
    assert (settings.upstream_url, settings.redis_url) == ("https://llm.example/v1", url)
    assert not settings.simulate_llm
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "wrong",
    [
        ("--upstream-url", "llm"),
        *(("--redis-url", url) for url in ("redis://r/3", "r", "unix:///\udcff")),
    ],
)
def test_nothing_is_written_that_could_not_be_read(file: Path, wrong: tuple[str, str]) -> None:
    done = invoke("init", str(file), *wrong)
    assert (done.exit_code, file.exists()) == (1, False)
    assert invoke("init", str(file / "no" / "such")).exit_code == 1


# -- doctor


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither on the disk nor on the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("SEMCACHE_CACHE_DIR", str(tmp_path / "nothing"))


def doctor(*arguments: str, env: dict[str, str | None] | None = None) -> tuple[int, dict[str, Any]]:
    """The exit code, and what was found by what was looked at."""
    done = invoke("doctor", "--json", "--port", "0", *arguments, env=env)
    told = json.loads(done.stdout)
    assert told["ok"] is (done.exit_code == 0)
    return done.exit_code, {one["check"]: one for one in told["checks"]}


async def found(url: str, **options: Any) -> dict[str, Finding]:
    return {one.check: one async for one in look_at_redis(url, CacheConfig(**options))}


def test_nothing_is_wrong_here(redis_url: str, name: str, file: Path) -> None:
    assert invoke("init", str(file), "--redis-url", redis_url).exit_code == 0
    env = {"SEMCACHE_NAME": name, "SEMCACHE_BACKEND": "onnxruntime"}
    told = invoke("doctor", "--config", str(file), "--port", "0", env=dict(env))
    assert told.exit_code == 0, told.stdout
    assert "Nothing is in the way of serving" in told.stdout
    lines = {line.split()[1]: line for line in told.stdout.splitlines() if line[0] != " "}
    assert "SEMCACHE_NAME, --port" in lines["options"]
    assert "ms a round trip" in lines["redis"]
    assert "float16" in lines["search"]
    assert "to itself in other company 1.0000" in lines["model"]
    assert "far more than that" in lines["user"]


def test_what_is_broken_hides_nothing_else(
    no_models: None, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("port = = 8080\n")
    monkeypatch.setattr(here, "usable_cpus", lambda: 1 / 0)  # what nobody thought of
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        url = f"redis://u:s3cret@127.0.0.1:{port}/0"  # accepts, and says nothing
        env = {"SEMCACHE_STORE_TIMEOUT_S": "0.1", "SEMCACHE_MAX_DISTANCES": "0.1"}
        env |= {
            "SEMCACHE_WORKERS": "many",
            "SEMCACHE_UPSTREAM_URL": "http://127.0.0.1:1/?key=s3cret",
            "SEMCACHE_MODEL": "BAAI/bge-small-en-v1.5",
        }
        arguments = ("--config", str(file), "--redis-url", url, "--port", port)
        code, checks = doctor(*arguments, env=dict(env))
    bad = {name for name, one in checks.items() if one["state"] == "bad"}
    assert (code, bad) == (1, {"options", "here", "port", "redis", "model", "upstream"})
    assert "ZeroDivisionError" in checks["here"]["said"]
    assert "not valid TOML" in checks["options"]["said"]
    assert "within 0.1 s" in checks["redis"]["said"] or "127.0.0.1" in checks["redis"]["said"]
    assert checks["redis"]["page"].endswith(" StoreUnavailableError")
    assert "semcache model pull" in checks["model"]["todo"]
    assert "did you mean SEMCACHE_MAX_DISTANCE" in checks["variables"]["said"]
    assert "s3cret" not in json.dumps(checks)


def test_a_path_that_is_no_text_is_told(no_models: None) -> None:
    url = "redis://127.0.0.1:1/0"
    code, checks = doctor("--config", "\udcff.toml", "--redis-url", url)
    assert (code, checks["options"]["said"][0]) == (1, "\udcff")


def test_a_port_of_ours_is_no_trouble(no_models: None, redis_url: str, name: str) -> None:
    async def work() -> list[Finding]:
        async with live(redis_url, name) as service:
            port = int(service.url.rpartition(":")[2])
            return [one async for one in look_at_port(Settings(port=port))]

    (finding,) = anyio.run(work)
    assert finding.state == "ok"
    assert "answers" in finding.said


@pytest.mark.anyio
async def test_a_redis_that_cannot_be_the_caches(tmp_path: Path) -> None:
    with plain_redis(tmp_path, "--requirepass", "right", "--maxmemory", "0") as url:
        checks = await found(url.replace("unix://", "unix://:wrong@"))
        assert checks["redis"].page.endswith(" StoreAuthError")
        checks = await found(url.replace("unix://", "unix://:right@"))
        assert checks["search"].page.endswith(" SearchModuleMissingError")
        assert (checks["memory"].state, checks["memory"].page) == ("poor", MEMORY)
    for wrong in ("redis://r/3", "r", "embedded:"):
        assert (await found(wrong))["redis"].state == "bad"


@pytest.mark.anyio
@pytest.mark.parametrize("lacking", ["", "-hset", "-ft.search -exec", "-multi", "-ft.create"])
async def test_what_the_user_may_not_do_is_named_and_nothing_is_done(
    redis_url: str, name: str, lacking: str
) -> None:
    line, *_ = (ROOT / "docs" / "redis" / "users.acl").read_text().splitlines()
    rules = [rule if rule[0] != ">" else ">hush" for rule in line.replace("NAME", name).split()[2:]]
    async with redis.asyncio.from_url(redis_url) as client:
        await client.execute_command("ACL", "SETUSER", name, "reset", *rules, *lacking.split())
        url = redis_url.replace("unix://", f"unix://{name}:hush@")
        user = (await found(url, name=name))["user"]
        named = {part.replace("+", "-") for part in user.todo.split() if part[0] == "+"}
        if lacking == "-ft.create":
            assert user.state == "poor"
        else:
            assert (user.state, named) == ("bad" if lacking else "ok", set(lacking.split()))
        assert (await found(url, name=f"x{name}"))["keys"].state == "bad"
        await client.execute_command("ACL", "SETUSER", name, "on", "allcommands")
        await client.execute_command("ACL", "SETUSER", name, "-multi")
        assert "+multi" in (await found(url, name=name))["user"].todo
        assert [key async for key in client.scan_iter(f"*{name}*")] == []
        assert not any(name in str(one) for one in await client.execute_command("FT._LIST"))
        await client.acl_deluser(name)


def test_what_the_package_index_has_needs_no_hub(no_models: None) -> None:
    async def work() -> list[Finding]:
        return [one async for one in look_at_models(Settings())]

    (finding,) = anyio.run(work)
    assert (finding.state, finding.check) == ("poor", "model")
    assert "first use" in finding.said


# -- docs


def test_what_is_to_be_read_is_shown() -> None:
    for page in PAGES:
        program, *arguments = page.split()
        shown = invoke(*arguments)
        assert (program, shown.exit_code) == ("semcache", 0)
        assert shown.stdout.startswith("#")


def test_a_page_a_part_of_one_or_where_a_word_stands() -> None:
    pages = invoke("docs").stdout
    assert "integrations/langchain" in pages
    assert "reference/" not in pages
    assert invoke("docs", "langchain").stdout.startswith("# LangChain\n")
    part = invoke("docs", "docs/redis.md#memory").stdout
    assert part.startswith("## Memory\n")
    assert "## Users" not in part
    places = invoke("docs", "not_stored_quota").stdout.splitlines()
    assert "semcache docs troubleshooting#answers-are-not-stored" in places
    for place in places:
        assert "not_stored_quota" in invoke(*place.split()[1:]).stdout
    nothing = invoke("docs", "no such thing")
    assert (nothing.exit_code, len(nothing.stderr.splitlines())) == (1, 1)
