"""An option is one row: flag, variable and key of the file come from it and mean the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from semcache_async.cli import app
from semcache_async.errors import ConfigError
from semcache_async.serve.options import Row, flag_of, variable_of
from semcache_async.serve.settings import OPTIONS, Settings, read_settings

SPECIAL = {
    "upstream_url": "https://llm.example/v1",
    "redis_url": "redis://r",
    "embeddings_url": "https://vectors.example/v1",
    "embeddings_dimensions": "256",
    "usd_per_million_tokens_embedded": "0.02",
    "api_keys_file": "keys.toml",
    "cors_origins": "https://a.example,https://b.example",
    "allowed_hosts": "llm.example,*.internal.example",
    "finish_reasons": "stop,done",
    "upstream_headers": "x-title,x-team",
    "regenerate_s": "60.5",
    "upstream_query": "api-version,tier",
    "mask": "Now: .*,id=[0-9]+",
    "bypass_personal": "off",
    "bypass_time_bound": "off",
    "bypass_anew": "off",
    "vector_dtype": "float16",
    "index": "flat",
    "name": "other",
    "guards": "numbers,negation",
    "secret": "s3cret",
    "encryption_keys": f"{'ab' * 32},{'cd' * 32}",
    "max_distance": "0.07",
    "target_precision": "0.9",
    "verified": "0.9",
    "judge_rate": "2.5",
    "stale_ttl_s": "600.5",
    "early_refresh": "1.5",
    "error_ttl_s": "2.5",
    "max_ttl_s": "86400.5",
    "widenable": "locale,model",
    "min_llm_s": "0.2",
    "min_answer_usd": "0.001",
    "tenant_entries": "1000",
    "tenant_writes": "2.5",
    "tenant_flights": "7",
    "tenant_verdicts": "0.5",
    "compress_over_bytes": "4096",
}
TABLES = {
    "upstreams": (
        '[{"name": "a", "url": "https://a.example/v1", "models": ["a-*"], "apis": ["chat"]}]',
        '[{name = "a", url = "https://a.example/v1", models = ["a-*"], apis = ["chat"]}]',
    ),
    "models": (
        '[{"model": "other", "locales": ["zh*"], "llms": ["gpt-*"], "max_distance": 0.05}]',
        '[{model = "other", locales = ["zh*"], llms = ["gpt-*"], max_distance = 0.05}]',
    ),
    "ttl_rules": (
        '[{"tags": ["price:*"], "words": ["opening hours"], "ttl_s": 900}]',
        '[{tags = ["price:*"], words = ["opening hours"], ttl_s = 900}]',
    ),
}
"""As JSON and as TOML."""
LISTS = (
    *("cors_origins", "allowed_hosts", "guards", "encryption_keys", "finish_reasons", "mask"),
    *("upstream_headers", "upstream_query", "widenable"),
)
LLM = {"SEMCACHE_UPSTREAM_URL": "https://llm.example/v1"}
SECRET = {"SEMCACHE_SECRET": "s3cret"}
FLAGS = [row for row in OPTIONS.values() if row.option is not None]
SWITCHES = [row.name for row in FLAGS if row.kind is bool]


def sample(row: Row) -> str:
    """Another value than the default, as text."""
    if row.name in TABLES:
        return TABLES[row.name][0]
    if row.name in SPECIAL:
        return SPECIAL[row.name]
    if row.kind is bool:
        return str(not row.default).lower()
    if row.kind is int:
        return str(row.default + 1 if row.name != "local_answers" else 7)
    if row.kind is float:
        return str(row.default / 2)
    return "other"


def in_toml(row: Row, text: str) -> str:
    if row.kind in (bool, int, float, int | None, float | None):
        return text
    if row.name in ("bypass_personal", "bypass_time_bound", "bypass_anew"):
        return "false"
    if row.name in TABLES:
        return TABLES[row.name][1]
    if row.name in LISTS:
        return str(text.split(","))
    return f'"{text}"'


def needed(name: str, said: bool = True) -> dict[str, str]:
    """What goes with an option."""
    env = {} if name == "simulate_llm" and said else LLM
    if name == "embeddings_url":
        return {**env, "SEMCACHE_EMBEDDINGS_MODEL": "m"}
    if name == "embeddings_model":
        return {**env, "SEMCACHE_EMBEDDINGS_URL": "https://vectors.example/v1"}
    if name == "sliding_ttl":
        return {**env, "SEMCACHE_MAX_TTL_S": "86400"}
    return {**env, **SECRET} if name == "pass_keys" else env


def value_of(settings: Settings, name: str) -> Any:
    return getattr(settings if hasattr(settings, name) else settings.cache, name)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What ``semcache serve`` would serve with."""
    told: list[Settings] = []

    async def serve(settings: Settings) -> None:
        told.append(settings)

    for name in OPTIONS:
        monkeypatch.delenv(variable_of(name), raising=False)
    monkeypatch.setattr("semcache_async.serve.process.supervisor.serve", serve)
    monkeypatch.setattr("semcache_async.serve.process.logs.log_to_stderr", lambda: None)
    return told


def run(served: list[Settings], *arguments: str, **env: str) -> Settings:
    result = CliRunner().invoke(app, ["serve", *arguments], env=env, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return served.pop()


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_way_to_say_it_means_the_same(
    name: str, served: list[Settings], tmp_path: Path
) -> None:
    row = OPTIONS[name]
    text = sample(row)
    env = needed(name)
    path = tmp_path / "semcache.toml"
    table = "" if hasattr(Settings(), name) else "[cache]\n"
    path.write_text(f"{table}{name} = {in_toml(row, text)}\n")
    told = [
        read_settings({}, env={**env, variable_of(name): text}),
        read_settings({name: text}, env=env),
        read_settings({}, env={} if name == "upstream_url" else env, file=path),
    ]
    if row.option is not None:
        switch = flag_of(name) if text == "true" else f"--no-{flag_of(name)[2:]}"
        flag = [switch] if row.kind is bool else [flag_of(name), text]
        told.append(run(served, *flag, **env))
    assert all(settings == told[0] for settings in told)
    assert value_of(told[0], name) != row.default
    assert value_of(told[0], name) != value_of(Settings(), name)


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("said", [True, False])
def test_a_switch_that_is_not_given_overrules_nothing(
    name: str, said: bool, served: list[Settings], tmp_path: Path
) -> None:
    path = tmp_path / "semcache.toml"
    table = "" if hasattr(Settings(), name) else "[cache]\n"
    path.write_text(f"{table}{name} = {str(said).lower()}\n")
    env = needed(name, said)
    assert value_of(run(served, "--config", str(path), **env), name) is said
    variable = {variable_of(name): str(said).lower()}
    assert value_of(run(served, **env, **variable), name) is said
    other = ["--simulate-llm"] if name == "simulate_llm" else [f"--{name.replace('_', '-')}"]
    if not said:
        assert value_of(run(served, *other, **needed(name, said), **variable), name) is True
    elif name != "simulate_llm":
        off = f"--no-{name.replace('_', '-')}"
        assert value_of(run(served, off, **env, **variable), name) is False


@pytest.mark.parametrize(
    "row", [row for row in FLAGS if row.option and row.option.low is not None], ids=lambda r: r.name
)
def test_what_is_out_of_range_is_refused_wherever_it_is_said(row: Row) -> None:
    assert row.option is not None
    assert row.option.low is not None
    assert row.option.high is not None
    for value in (row.option.low - 1, row.option.high * 2 + 1):
        number = int(value) if row.kind is int else value
        with pytest.raises(ConfigError, match=row.name):
            read_settings({}, env={**LLM, variable_of(row.name): str(number)})


def test_every_own_option_has_a_flag_and_says_what_it_means() -> None:
    own = set(Settings.__dataclass_fields__) - {"cache", "upstream_key", "upstream_keys"}
    own -= {"embeddings_key"}
    assert own <= {row.name for row in FLAGS}
    for row in FLAGS:
        assert row.option is not None
        assert row.option.help.strip().endswith(".")
        assert row.option.group
    assert not {"secret", "encryption_keys"} & {row.name for row in FLAGS}
    assert all(get_args(row.kind) or isinstance(row.kind, type) for row in FLAGS)
