"""``semcache migrate``, and what ``semcache export`` writes and ``import`` takes back."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from semcache_async import Answer, CacheConfig, Entry, Scope, SemanticCache, Source
from semcache_async.cli import app
from semcache_async.shell import run
from semcache_async.testing import AngleEmbedder

Command = Callable[..., Result]
SCOPED: dict[str, Any] = {
    "tenant": "acme",
    "locale": "en",
    "system_prompt": "Be brief.",
    "temperature": 0.5,
    "attributes": {"team": "a"},
}


class OtherEmbedder(AngleEmbedder):
    """Another model."""

    fingerprint = "angle-2"


@pytest.fixture
def semcache(redis_url: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command."""
    monkeypatch.setattr(
        "semcache_async.embed.loading.load_embedder", lambda *_, **__: OtherEmbedder()
    )
    monkeypatch.setenv("SEMCACHE_STORE_TIMEOUT_S", "60")
    monkeypatch.setenv("SEMCACHE_REDIS_URL", redis_url)
    monkeypatch.setenv("SEMCACHE_NAME", name)
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str) -> Result:
        result = CliRunner().invoke(app, [*arguments])
        assert not result.exception or isinstance(result.exception, SystemExit), result.exception
        return result

    return invoke


@pytest.fixture
def cached(redis_url: str, name: str) -> Callable[..., Any]:
    """Does something with a cache."""

    def do(
        work: Callable[[SemanticCache], Any],
        embedder: type[AngleEmbedder] = AngleEmbedder,
        **options: Any,
    ) -> Any:
        async def once() -> Any:
            chosen: dict[str, Any] = {
                "name": name,
                "store_timeout_s": 60.0,
                "lookup_budget_s": 60.0,
            } | options
            config = CacheConfig(**chosen)
            async with SemanticCache.open(redis_url, config=config, embedder=embedder()) as cache:
                return await work(cache)

        return run(once)

    return do


async def store(cache: SemanticCache) -> None:
    await cache.store("returns at 10", "By post.", scope=Scope(**SCOPED), tags=("t", "u"))
    await cache.store("hours at 90", "Nine to five.")
    await cache.store("cheap at 50", "Gone soon.", scope=Scope(namespace="n"), ttl_s=500)


def test_migrate(semcache: Command, cached: Callable[..., Any]) -> None:
    assert "nothing to move" in semcache("migrate").stdout
    cached(store)
    dry = semcache("migrate", "--dry-run").stdout
    assert dry.startswith("3 entries of ")
    assert " to move, 0 there already, 0 that cannot be read." in dry
    assert semcache("migrate", "--rate", "1000").stdout == "3 moved.\n"
    dry = semcache("migrate", "--dry-run").stdout
    assert dry.startswith("0 entries of ")
    assert "3 there already" in dry

    async def near(cache: SemanticCache) -> Answer | None:
        return await cache.lookup("sending back at 11", scope=Scope(**SCOPED))

    assert cached(near, OtherEmbedder).source is Source.SEMANTIC
    fingerprint = dry.split()[3]
    dropped = semcache("migrate", "--from", fingerprint, "--drop-old").stdout
    assert dropped == f"0 moved. The index of {fingerprint} is dropped.\n"
    refused = semcache("migrate", "--from", fingerprint)
    assert (refused.exit_code, "there are none" in refused.stderr) == (1, True)


@pytest.mark.parametrize("layout", [{}, {"PARTITIONS": "3"}, {"INDEX_PER_TENANT": "true"}], ids=str)
def test_an_export_comes_back_as_it_was(
    semcache: Command,
    cached: Callable[..., Any],
    name: str,
    layout: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {key.lower(): int(value) if value == "3" else True for key, value in layout.items()}
    cached(store)
    exported = semcache("export")
    assert exported.stderr == "3 exported.\n"
    lines = [json.loads(line) for line in exported.stdout.splitlines()]
    (scoped,) = [line for line in lines if line["answer"] == "By post."]
    assert scoped["tags"] == ["t", "u"]
    assert scoped["attributes"] == {"team": "a"}
    assert 3_000 < scoped["exact_ttl_s"] < 3_601 < scoped["semantic_ttl_s"]
    (versioned,) = [line for line in lines if line["answer"] == "Gone soon."]
    assert versioned["digests"]["owner"] != versioned["digests"]["scope"]
    assert semcache("export", "all.jsonl").stdout == ""
    assert Path("all.jsonl").stat().st_mode & 0o077 == 0
    assert not Path("all.jsonl.part").exists()
    other = f"{name}-other"
    for key, value in layout.items():
        monkeypatch.setenv(f"SEMCACHE_{key}", value)
    done = semcache("import", "all.jsonl", "--name", other)
    assert (done.exit_code, done.stdout) == (0, "3 stored, 0 skipped.\n")

    async def entries(cache: SemanticCache) -> dict[str, Entry]:
        return {entry.id: entry for entry in await cache.browse()}

    before, after = cached(entries), cached(entries, OtherEmbedder, name=other, **options)
    assert before.keys() == after.keys()
    for entry_id, was in before.items():
        now = after[entry_id]
        assert (now.prompt, now.text, now.tags) == (was.prompt, was.text, was.tags)
        assert (now.attributes, now.created_at) == (was.attributes, was.created_at)
        assert abs(now.exact_until - was.exact_until) < 60

    async def check(cache: SemanticCache) -> None:
        near = await cache.lookup("sending back at 11", scope=Scope(**SCOPED))
        assert near is not None
        assert (near.text, near.source) == ("By post.", Source.SEMANTIC)
        exact = await cache.lookup("hours at 90")
        assert exact is not None
        assert exact.source is Source.EXACT
        assert await cache.lookup("returns at 10", scope=Scope(tenant="acme")) is None
        assert await cache.invalidate(tags=("t",)) == 1
        assert await cache.invalidate(tenant="acme") == 0

    cached(check, OtherEmbedder, name=other, **options)


@pytest.mark.parametrize("model", [OtherEmbedder, AngleEmbedder])
def test_an_import_of_an_export_undoes_nothing(
    semcache: Command, cached: Callable[..., Any], model: type[AngleEmbedder]
) -> None:
    async def purge(cache: SemanticCache) -> None:
        await cache.invalidate(tags=("t",))
        await cache.store("hours at 90", "Newer.")

    cached(store, model)
    semcache("export", "all.jsonl")
    cached(purge, model)
    done = semcache("import", "all.jsonl")
    assert done.stdout.startswith("0 stored, 0 skipped. 3 left out: ")
    texts = cached(lambda cache: cache.browse(), model)
    assert {entry.text for entry in texts} == {"Newer.", "Gone soon."}


@pytest.mark.parametrize(
    ("change", "flags", "what"),
    [
        ({}, ["--tenant", "acme"], "give none for all"),
        ({}, ["--tag", "faq"], "give none for all"),
        ({"prompt": "another at 10"}, [], "another secret"),
        ({"attributes": {"team": "b"}}, [], "another secret"),
        (
            {"digests": {"id": "0" * 32, "scope": "1" * 32, "tenant": "2" * 32}},
            [],
            "another secret",
        ),
        ({"digests": {"id": "0" * 32, "scope": "*", "tenant": "2" * 32}}, [], "$.digests.scope"),
        ({"exact_ttl_s": -1.0}, [], "$.exact_ttl_s"),
        ({"answer": " "}, [], "answer is empty"),
        ({"more": 1}, [], "more"),
    ],
    ids=str,
)
def test_a_line_that_was_changed_is_refused(
    semcache: Command, cached: Callable[..., Any], change: Any, flags: list[str], what: str
) -> None:
    cached(store, OtherEmbedder)
    exported = map(json.loads, semcache("export").stdout.splitlines())
    (line,) = [one for one in exported if one["answer"] == "By post."]
    Path("changed.jsonl").write_text(json.dumps(line | change))
    done = semcache("import", "changed.jsonl", *flags)
    assert (done.exit_code, done.stdout) == (1, "")
    assert what in done.stderr


def test_a_cache_with_another_secret_takes_none(
    semcache: Command, cached: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(store)
    semcache("export", "all.jsonl")
    monkeypatch.setenv("SEMCACHE_SECRET", "x" * 32)
    done = semcache("import", "all.jsonl", "--skip-bad")
    assert done.stdout == "0 stored, 3 skipped.\n"


def test_sealed_ones_are_opened_by_those_who_have_the_keys(
    semcache: Command, cached: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    keys = [b64encode(bytes([n]) * 32).decode() for n in range(2)]
    cached(store, encryption_keys=(keys[0],))
    closed = semcache("export")
    assert (closed.stdout, closed.stderr) == ("", "0 exported. 3 cannot be read.\n")
    monkeypatch.setenv("SEMCACHE_ENCRYPTION_KEYS", keys[0])
    assert semcache("export", "all.jsonl").stderr == "3 exported.\n"
    monkeypatch.setenv("SEMCACHE_ENCRYPTION_KEYS", keys[1])
    assert semcache("import", "all.jsonl", "--name", f"{name}-other").stdout.startswith("3 stored")
    found = cached(
        lambda cache: cache.lookup("hours at 90"),
        OtherEmbedder,
        name=f"{name}-other",
        encryption_keys=(keys[1],),
    )
    assert found.text == "Nine to five."


def test_which_index_is_exported(semcache: Command, cached: Callable[..., Any]) -> None:
    none = semcache("export", "all.jsonl")
    assert (none.exit_code, "there are none" in none.stderr) == (1, True)
    assert not Path("all.jsonl").exists()
    cached(store)
    cached(lambda cache: cache.store("at 1", "New."), OtherEmbedder)
    several = semcache("export")
    assert (several.exit_code, "(1 entries)" in several.stderr) == (1, True)
    fingerprint = several.stderr.split(" (1 entries)")[0].split()[-1]
    assert [
        json.loads(line)["answer"]
        for line in semcache("export", "--from", fingerprint).stdout.splitlines()
    ] == ["New."]


def test_a_file_that_cannot_be_written_is_one_sentence(
    semcache: Command, cached: Callable[..., Any]
) -> None:
    cached(store)
    done = semcache("export", "no/such/folder.jsonl")
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert "cannot be written" in done.stderr
