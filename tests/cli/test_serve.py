"""``semcache serve``, ``stats``, ``invalidate`` and ``feedback`` as people meet them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from anyio.from_thread import start_blocking_portal
from typer.testing import CliRunner, Result

from semcache_async import CacheConfig, SemanticCache
from semcache_async.cli import app
from semcache_async.serve.keys import Caller, KeyRing, hash_key
from semcache_async.types import Scope
from tests.serve.running import Live, live

runner = CliRunner()
KEYS = KeyRing({hash_key("sk-root"): Caller(admin=True), hash_key("sk-a"): Caller(tenant="a")})


def invoke(*arguments: str, stdin: str = "", env: dict[str, str | None] | None = None) -> Result:
    return runner.invoke(app, list(arguments), input=stdin, env=env, catch_exceptions=False)


def refused(*arguments: str, env: dict[str, str | None] | None = None) -> str:
    """What a command that fails says: one sentence."""
    result = invoke(*arguments, env=env)
    assert (result.exit_code, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


@pytest.mark.parametrize("command", ["serve", "stats", "invalidate", "feedback"])
def test_help(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert "Examples" in result.stdout


def test_help_loads_no_service() -> None:
    code = (
        "import sys; from semcache_async.cli import app; "
        "app(['serve', '--help'], standalone_mode=False); "
        "assert sys.modules.keys().isdisjoint({'aiohttp', 'onnxruntime', 'prometheus_client'})"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        ([], {}, "--upstream-url"),
        (["--upstream-url", "llm.example"], {}, "http(s)://"),
        (["--upstream-url", "http://a", "--simulate-llm"], {}, "not both"),
        (["--simulate-llm", "--host", ""], {}, "host"),
        (["--simulate-llm"], {"SEMCACHE_WORKERS": "many"}, "SEMCACHE_WORKERS"),
        (["--simulate-llm", "--config", "nowhere.toml"], {}, "nowhere.toml"),
        (["--simulate-llm"], {"SEMCACHE_CONFIG": "nowhere.toml"}, "nowhere.toml"),
        (["--simulate-llm", "--api-keys-file", "nowhere.toml"], {}, "nowhere.toml"),
        (["--simulate-llm", "--exact-ttl-s", "-1"], {}, "exact_ttl_s"),
        (["--simulate-llm", "--redis-url", "http://a"], {}, "Redis URL"),
    ],
)
def test_misconfiguration_is_one_sentence(
    arguments: list[str], env: dict[str, str | None], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEMCACHE_REDIS_URL", raising=False)
    monkeypatch.setattr("semcache_async.serve.process.logs.log_to_stderr", lambda: None)
    assert said in refused("serve", *arguments, env={"SEMCACHE_PORT": "0", **env})


def test_a_hashed_key_is_an_entry_of_the_keys_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    given = invoke("serve", "--hash-key", stdin="sk-mine\n")
    assert hash_key("sk-mine") in given.stdout
    assert "sk-mine" not in given.stdout + given.stderr
    made = invoke("serve", "--hash-key")
    key = made.stderr.split()[-1]
    assert hash_key(key) in made.stdout
    path.write_text(given.stdout + made.stdout)
    assert not KeyRing.load(path).open


# -- a running service


@pytest.fixture
def service(redis_url: str, name: str) -> Iterator[Live]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(live(redis_url, name, keys=KEYS)) as running,
    ):
        for angle, tags in ((0, ["even"]), (40, ["even", "four"]), (90, ["odd"])):

            async def put(angle: int = angle, tags: list[str] = tags) -> None:
                await running.service.cache.store(
                    str(angle), "answer", tags=tags, scope=Scope(tenant="a")
                )

            portal.call(put)
        yield running


def entry_of(service: Live, prompt: str) -> str:
    """The id of the entry with that prompt."""
    url, headers = f"{service.url}/semantic-cache/entries", {"Authorization": "Bearer sk-root"}
    with urlopen(Request(url, headers=headers)) as found:
        listed = json.loads(found.read())["entries"]
    return next(str(entry["id"]) for entry in listed if entry["prompt"] == prompt)


def test_stats_of_a_service(service: Live) -> None:
    shown = invoke("stats", "--url", service.url, "--api-key", "sk-root")
    assert shown.exit_code == 0
    assert "hit rate" in shown.stdout
    told = invoke("stats", "--url", f"{service.url}/", "--api-key", "sk-root", "--json")
    assert json.loads(told.stdout)["requests"] == 0


def test_stats_of_a_redis(service: Live, redis_url: str, name: str) -> None:
    shown = invoke("stats", "--redis-url", redis_url, "--name", name, "--json")
    told = json.loads(shown.stdout)
    assert (told["entries"], len(told["indexes"])) == (3, 1)
    assert told["keys_in_redis"] >= 3
    assert all(index["bytes_per_entry"] > 0 for index in told["indexes"].values())
    assert "entries" in invoke("stats", "--redis-url", redis_url, "--name", name).stdout


def test_invalidating_through_a_service(service: Live) -> None:
    arguments = ("invalidate", "--url", service.url, "--api-key", "sk-root")
    told = invoke(*arguments, "--tag", "four", "--dry-run").stdout.splitlines()
    assert told[0] == "1 entry would be deleted."
    assert told[1].endswith("Z  40  [even, four]")
    assert invoke(*arguments, "--tag", "four", "--tag", "none").stdout == "1 entry deleted.\n"
    assert invoke(*arguments, "--tenant", "b").stdout == "0 entries deleted.\n"
    assert invoke(*arguments, "--tenant", "a").stdout == "2 entries deleted.\n"


def test_a_dry_run_in_redis_prints_one_plain_line_each(redis_url: str, name: str) -> None:
    env: dict[str, str | None] = {
        "SEMCACHE_REDIS_URL": redis_url,
        "SEMCACHE_NAME": name,
        "SEMCACHE_STORE_TIMEOUT_S": "60",
    }
    assert (
        invoke("ask", "What does \x1b[31mred\x1b[0m\nmean?", "--tag", "t", env=env).exit_code == 0
    )
    shown = invoke("invalidate", "--tag", "t", "--dry-run", env=env).stdout.splitlines()
    assert shown[0] == "1 entry would be deleted."
    assert shown[1].endswith("Z  What does \ufffd[31mred\ufffd[0m mean?  [t]")
    assert invoke("invalidate", "--tag", "t", env=env).stdout == "1 entry deleted.\n"


def test_invalidating_in_redis_needs_no_model(
    redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semcache_async.embed.loading.load_embedder", None)
    env: dict[str, str | None] = {"SEMCACHE_REDIS_URL": redis_url, "SEMCACHE_NAME": name}
    assert invoke("invalidate", "--tag", "none", env=env).stdout == "0 entries deleted.\n"
    dry = ("invalidate", "--tenant", "a", "--model", "m", "--dry-run")
    assert invoke(*dry, env=env).stdout == "0 entries would be deleted.\n"
    blank = invoke("invalidate", "--tag", " ", env=env)
    assert (blank.exit_code, "The tag is empty" in blank.output) == (1, True)


def test_feedback_through_a_service(service: Live) -> None:
    at = ("--url", service.url, "--api-key", "sk-root")
    entry_id = entry_of(service, "0")
    assert invoke("feedback", "5", entry_id, "--wrong", *at).stdout == "Noted: wrong.\n"
    assert invoke("feedback", "5", entry_id, "--right", *at).stdout == "Noted: right.\n"
    stats = service.service.cache.stats()
    assert (stats.feedback_right, stats.feedback_wrong) == (1, 1)
    assert "no such entry" in refused("feedback", "5", "gone", "--wrong", *at)
    assert "403" in refused(
        *("feedback", "5", entry_id, "--right", "--url", service.url, "--api-key", "sk-a")
    )


def test_feedback_in_redis(redis_url: str, name: str) -> None:
    env: dict[str, str | None] = {"SEMCACHE_REDIS_URL": redis_url, "SEMCACHE_NAME": name}
    assert "no such entry" in refused("feedback", "How?", "gone", "--wrong", env=env)
    config = CacheConfig(name=name)

    async def asked(prompt: str) -> str | None:
        async with SemanticCache.open(redis_url, config=config) as cache:
            if await cache.lookup_exact("How do I reset my PIN?") is None:
                return await cache.store("How do I reset my PIN?", "In the app.")
            found = await cache.lookup(prompt)
            return None if found is None else found.entry_id

    reworded = "How can I reset my PIN?"
    entry_id = str(asyncio.run(asked(reworded)))
    assert asyncio.run(asked(reworded)) == entry_id
    assert invoke("feedback", reworded, entry_id, "--wrong", env=env).stdout == "Noted: wrong.\n"
    assert asyncio.run(asked(reworded)) is None


def test_a_service_that_refuses_or_is_not_there(service: Live, redis_url: str) -> None:
    assert "401" in refused("invalidate", "--tag", "x", "--url", service.url)
    mine = ("--url", service.url, "--api-key", "sk-a")
    assert "403" in refused("invalidate", "--tag", "x", *mine)
    assert "403" in refused("invalidate", "--tenant", "a", "--dry-run", *mine)
    assert "No answer from" in refused("stats", "--url", "http://127.0.0.1:1")
    assert "is no URL" in refused("stats", "--url", "nonsense")


@pytest.mark.parametrize(
    "arguments",
    [
        ["stats"],
        ["invalidate", "--tag", "x"],
        ["feedback", "x", "e", "--right"],
        ["feedback", "x", "e", "--url", "http://a"],
        ["invalidate", "--url", "http://a"],
        ["invalidate", "--url", "http://a", "--attribute", "x"],
    ],
)
def test_what_is_missing_is_said(arguments: list[str]) -> None:
    result = invoke(*arguments, env={"SEMCACHE_REDIS_URL": None, "SEMCACHE_URL": None})
    assert result.exit_code == 2
    assert "--" in result.stderr
