"""Where options come from, and what is said of nonsense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semcache_async import CacheConfig
from semcache_async.errors import ConfigError
from semcache_async.serve.settings import Settings, UpstreamTable, read_settings, strange_variables

SIMULATED = {"simulate_llm": True}


def read(
    flags: dict[str, Any], env: dict[str, str] | None = None, file: Path | None = None
) -> Settings:
    return read_settings(flags, env=env or {}, file=file)


def written(directory: Path, text: str) -> Path:
    path = directory / "semcache.toml"
    path.write_text(text)
    return path


def test_defaults() -> None:
    assert read(SIMULATED) == Settings(simulate_llm=True)


def test_flags_come_before_variables_and_those_before_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, 'port = 1\nworkers = 1\nhost = "::1"\n[cache]\nneighbours = 1\n')
    env = {"SEMCACHE_PORT": "2", "SEMCACHE_WORKERS": "2", "SEMCACHE_NEIGHBOURS": "2"}
    settings = read({**SIMULATED, "port": 3}, env, file)
    assert (settings.port, settings.workers, settings.host) == (3, 2, "::1")
    assert settings.cache == CacheConfig(neighbours=2)


@pytest.mark.parametrize("text", ["", " ", ",", " , \n"])
def test_keys_that_were_meant_and_are_missing_are_no_encryption(text: str) -> None:
    with pytest.raises(ConfigError, match="SEMCACHE_ENCRYPTION_KEYS is set and holds no key"):
        read(SIMULATED, {"SEMCACHE_ENCRYPTION_KEYS": text})


def test_every_kind_of_option_can_be_a_variable() -> None:
    env = {
        "SEMCACHE_SIMULATE_LLM": "1",
        "SEMCACHE_HIDE_SIMILARITY": "on",
        "SEMCACHE_BODY_TIMEOUT_S": "2.5",
        "SEMCACHE_CORS_ORIGINS": "https://a.example, https://b.example:8443",
        "SEMCACHE_API_KEYS_FILE": "/keys.toml",
        "SEMCACHE_BYPASS_PERSONAL": "off",
        "SEMCACHE_CORPUS_VERSION": "7",
        "SEMCACHE_MAX_DISTANCE": "0.1",
        "SEMCACHE_INDEX": "flat",
        "SEMCACHE_DRAIN_TIMEOUT_S": "",
    }
    assert read({}, env) == Settings(
        simulate_llm=True,
        hide_similarity=True,
        body_timeout_s=2.5,
        cors_origins=("https://a.example", "https://b.example:8443"),
        api_keys_file=Path("/keys.toml"),
        bypass_personal=False,
        corpus_version="7",
        cache=CacheConfig(max_distance=0.1, index="flat"),
    )


def test_a_file_can_say_everything(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        upstream_url = "https://llm.example/v1"
        upstream_timeout_s = 30
        api_keys_file = "keys.toml"
        bypass_personal = ['\\bmy\\b']
        bypass_time_bound = false
        [cache]
        exact_ttl_s = 60
        secret = "s3cret"
        """,
    )
    settings = read({}, file=file)
    assert settings == Settings(
        upstream_url="https://llm.example/v1",
        upstream_timeout_s=30.0,
        api_keys_file=Path("keys.toml"),
        bypass_personal=(r"\bmy\b",),
        bypass_time_bound=False,
        cache=CacheConfig(exact_ttl_s=60.0, secret="s3cret"),
    )


@pytest.mark.parametrize(
    "names", [("SEMCACHE_UPSTREAM_KEY", "OPENAI_API_KEY"), ("OPENAI_API_KEY",)]
)
def test_the_upstreams_key_is_a_variable_and_never_shown(names: tuple[str, ...]) -> None:
    settings = read(SIMULATED, dict(zip(names, ("sk-canary", "sk-other"), strict=False)))
    assert settings.upstream_key == "sk-canary"
    assert "canary" not in repr(settings)


UPSTREAMS = """
[[upstreams]]
name = "anthropic"
url = "https://api.anthropic.com/v1"
models = ["claude-*"]
key_env = "ANTHROPIC_API_KEY"
apis = ["messages"]
[[upstreams]]
name = "local"
url = "http://localhost:11434/v1"
models = ["llama*", "qwen*"]
[cache]
neighbours = 1
"""


def test_several_upstreams_with_their_keys(tmp_path: Path) -> None:
    file = written(tmp_path, UPSTREAMS)
    settings = read({}, {"ANTHROPIC_API_KEY": "sk-canary"}, file)
    first, second = settings.upstreams
    assert (first.name, first.models, first.apis) == ("anthropic", ("claude-*",), ("messages",))
    assert (second.key_env, second.apis) == ("", ())
    assert settings.upstream_keys == {"ANTHROPIC_API_KEY": "sk-canary"}
    assert settings.upstream_names == ("anthropic", "local")
    assert "canary" not in repr(settings)
    env = {"ANTHROPIC_API_KEY": "k", "SEMCACHE_UPSTREAM_URL": "https://llm.example/v1"}
    assert read({}, env, file).upstream_names == ("anthropic", "local", "default")
    assert read_settings({}, env={}, file=file, asks_llm=False).upstream_keys == {}


def test_an_upstreams_key_that_is_missing_is_said_without_repeating_its_name(
    tmp_path: Path,
) -> None:
    file = written(tmp_path, UPSTREAMS.replace("ANTHROPIC_API_KEY", "gsk_s3cret"))
    with pytest.raises(ConfigError, match="key_env of anthropic names is not set") as caught:
        read({}, file=file)
    assert "s3cret" not in str(caught.value)


def test_a_variable_that_holds_an_upstreams_key_is_no_slip() -> None:
    env = {"SEMCACHE_OTHER_KEY": "k"}
    assert strange_variables(env)
    assert not strange_variables(env, named={"SEMCACHE_OTHER_KEY"})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "a b"}, "a name is"),
        ({"name": "default"}, "the name of another one"),
        ({"url": "ftp://x"}, "a: url must be"),
        ({"models": ()}, "must name some"),
        ({"models": ("",)}, "must name some"),
        ({"key_env": "sk-s3cret"}, "the name of a variable"),
    ],
)
def test_an_upstream_that_makes_no_sense(fields: dict[str, Any], said: str) -> None:
    table = UpstreamTable(**{"name": "a", "url": "https://x/v1", "models": ("a",), **fields})
    with pytest.raises(ConfigError, match=said) as caught:
        Settings(upstreams=(table,))
    assert "s3cret" not in str(caught.value)


def test_upstreams_are_told_apart_by_their_names() -> None:
    table = UpstreamTable(name="a", url="https://x/v1", models=("a",))
    with pytest.raises(ConfigError, match="the name of another one"):
        Settings(upstreams=(table, table))
    with pytest.raises(ConfigError, match="not both"):
        Settings(upstreams=(table,), simulate_llm=True)
    with pytest.raises(ConfigError, match="no HTTP header can carry"):
        Settings(upstreams=(table,), upstream_keys={"A": "\n"})


def test_whoever_names_an_llm_overrules_the_other_kind() -> None:
    env = {"SEMCACHE_UPSTREAM_URL": "https://llm.example/v1"}
    assert read(SIMULATED, env).upstream_url is None
    tables = '[{"name": "a", "url": "https://a.example/v1", "models": ["*"]}]'
    assert read(SIMULATED, {"SEMCACHE_UPSTREAMS": tables}).upstreams == ()
    assert not read({"upstreams": tables}, {"SEMCACHE_SIMULATE_LLM": "1"}).simulate_llm
    assert read({"upstream_url": "https://b.example"}, {"SEMCACHE_SIMULATE_LLM": "1"}) == (
        Settings(upstream_url="https://b.example")
    )


def test_what_kubernetes_sets_beside_a_service_of_that_name_is_no_port() -> None:
    assert read(SIMULATED, {"SEMCACHE_PORT": "tcp://10.0.0.7:8080"}).port == Settings().port


def test_tools_need_no_llm() -> None:
    assert read_settings({}, env={}, asks_llm=False) == Settings()


@pytest.mark.parametrize(
    ("flags", "env", "said"),
    [
        ({}, {}, "--upstream-url"),
        ({"upstream_url": "x", "simulate_llm": True}, {}, "http"),
        ({"upstream_url": "http://a", "simulate_llm": True}, {}, "not both"),
        ({"upstream_url": "ftp://a"}, {}, "http"),
        ({"upstream_url": "https://a/v1#x"}, {}, "fragment"),
        ({"upstream_url": "https://user:pass@a/v1"}, {}, "without a user"),
        (SIMULATED, {"SEMCACHE_PORT": "x"}, "SEMCACHE_PORT='x': must be a whole number."),
        (SIMULATED, {"SEMCACHE_PORT": "70000"}, "port"),
        (SIMULATED, {"SEMCACHE_WORKERS": "0"}, "workers"),
        (SIMULATED, {"SEMCACHE_INDEX": "tree"}, "hnsw, flat"),
        (SIMULATED, {"SEMCACHE_HIDE_SIMILARITY": "perhaps"}, "true or false"),
        (SIMULATED, {"SEMCACHE_MAX_DISTANCE": "nan"}, "max_distance"),
        (SIMULATED, {"SEMCACHE_BODY_TIMEOUT_S": "nan"}, "body_timeout_s"),
        (SIMULATED, {"SEMCACHE_CORS_ORIGINS": "a.example"}, "cors_origins"),
        (SIMULATED, {"OPENAI_API_KEY": "sk\ncanary"}, "no HTTP header"),
        ({**SIMULATED, "host": ""}, {}, "host"),
        ({**SIMULATED, "max_distance": 3.0}, {}, "max_distance"),
    ],
)
def test_nonsense_is_one_sentence(flags: dict[str, Any], env: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(flags, env)
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert "canary" not in message
    assert "pass" not in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "no option prot; did you mean port?"),
        ("xyzzy = 1", "no option xyzzy."),
        ("[cache]\nmax_distanze = 1", "did you mean cache.max_distance?"),
        ("max_distance = 0.1", "under [cache]"),
        ("[cache]\nport = 1", "above [cache]"),
        ("cache = 1", "table"),
        ("upstream_key = 's3cret'", "SEMCACHE_UPSTREAM_KEY"),
        ("upstreams = 's3cret'", "must be a list of tables of name, url"),
        ("[[upstreams]]\nkey = 's3cret'", "unknown field `key`"),
        ("[[upstreams]]\nname = 'a'", "missing required field `url`"),
        ("port = true", "whole number"),
        ("bypass_personal = ['(']", "regular expression"),
        ("bypass_personal = 'x'", "list of regular expressions"),
        ("port = ", "not valid TOML"),
    ],
)
def test_nonsense_in_a_file_names_the_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(SIMULATED, file=written(tmp_path, text))
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml cannot be read"):
        read(SIMULATED, file=tmp_path / "nowhere.toml")


def test_a_slip_in_the_environment_is_said() -> None:
    env = {
        "SEMCACHE_MAX_DISTNCE": "0.1",
        "SEMCACHE_QUITE_ELSE": "1",
        "SEMCACHE_MAX_DISTANCE": "0.1",
        "SEMCACHE_URL": "http://localhost",
        "SEMCACHE_PORT": "tcp://10.0.0.1:80",
        "SEMCACHE_SERVICE_HOST": "10.0.0.1",
        "SEMCACHE_SERVICE_PORT_HTTP": "80",
        "SEMCACHE_PORT_8080_TCP_ADDR": "10.0.0.1",
        "SEMCACHE_REDIS_PORT": "tcp://10.0.0.2:6379",
        "PATH": "/bin",
    }
    assert strange_variables(env) == [
        "There is no option SEMCACHE_MAX_DISTNCE; did you mean SEMCACHE_MAX_DISTANCE?",
        "There is no option SEMCACHE_QUITE_ELSE.",
    ]
