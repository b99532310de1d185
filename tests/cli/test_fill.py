"""``semcache import``: what a file's lines become, and what is said of bad ones."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from typer.testing import CliRunner, Result

from semcache_async import Answer, CacheConfig, Scope, SemanticCache, Source
from semcache_async.cli import app
from semcache_async.shell import run
from semcache_async.testing import AngleEmbedder
from tests.serve.running import live

Import = Callable[..., Result]
PATIENT: dict[str, Any] = {"store_timeout_s": 60.0, "lookup_budget_s": 60.0}


@pytest.fixture
def import_file(
    redis_url: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Import:
    """Imports these lines, objects or as they are."""
    monkeypatch.setattr(
        "semcache_async.embed.loading.load_embedder", lambda *_, **__: AngleEmbedder()
    )
    monkeypatch.setenv("SEMCACHE_STORE_TIMEOUT_S", "60")
    monkeypatch.setenv("SEMCACHE_REDIS_URL", redis_url)
    monkeypatch.setenv("SEMCACHE_NAME", name)
    monkeypatch.chdir(tmp_path)

    def invoke(lines: list[Any], *options: str) -> Result:
        written = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        Path("faq.jsonl").write_text("\n".join(written), encoding="utf-8")
        result = CliRunner().invoke(app, ["import", "faq.jsonl", *options])
        assert not result.exception or isinstance(result.exception, SystemExit), result.exception
        return result

    return invoke


@pytest.fixture
def ask(redis_url: str, name: str) -> Callable[..., Answer | None]:
    """Looks a prompt up, in a cache of its own."""

    def look(prompt: str, **scope: Any) -> Answer | None:
        async def once() -> Answer | None:
            config = CacheConfig(name=name, **PATIENT)
            async with SemanticCache.open(
                redis_url, config=config, embedder=AngleEmbedder()
            ) as cache:
                return await cache.lookup(prompt, scope=Scope(**scope))

        return run(once)

    return look


def test_answers_are_found_by_both_tiers_in_the_scope_of_flag_and_line(
    import_file: Import, ask: Callable[..., Answer | None]
) -> None:
    lines: list[Any] = [
        {"question": "returns at 10", "answer": "By post.", "locale": "en"},
        "",
        {"prompt": "hours at 90", "answer": "Nine to five.", "tenant": "acme"},
    ]
    done = import_file(lines, "--tenant", "acme")
    assert (done.exit_code, done.stdout) == (0, "2 stored, 0 skipped.\n")
    near = ask("sending back at 11", tenant="acme", locale="en")
    assert near is not None
    assert (near.text, near.source) == ("By post.", Source.SEMANTIC)
    exact = ask("hours at 90", tenant="acme")
    assert exact is not None
    assert (exact.text, exact.source) == ("Nine to five.", Source.EXACT)
    assert ask("hours at 90") is None
    assert ask("returns at 10", tenant="acme") is None


def test_the_lines_in_the_docs(import_file: Import, ask: Callable[..., Answer | None]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    lines = page.partition("## Fill it from a file")[2].split("```json\n")[1].split("\n```")[0]
    assert import_file([lines], "--tenant", "acme").stdout == "2 stored, 0 skipped.\n"
    assert ask("Wie gebe ich etwas zurück?", tenant="acme", locale="de") is not None


def test_every_field_of_a_scope_may_be_in_a_line(
    import_file: Import, ask: Callable[..., Answer | None]
) -> None:
    scope = {
        "tenant": "acme",
        "locale": "en",
        "model": "m",
        "system_prompt": "Be brief.",
        "temperature": 0.5,
        "parameters": {"api": "langcache", "cache": "faq", "seed": 1, "top_p": 0.5, "n": None},
        "corpus_version": "7",
        "namespace": "docs",
        "attributes": {"team": "a"},
    }
    assert {*scope, "epoch"} == set(Scope.__struct_fields__)
    import_file([{"prompt": "at 10", "answer": "It.", **scope}])
    assert ask("at 10", **scope) is not None
    for field in scope.keys() - {"attributes"}:
        assert ask("at 10", **{key: scope[key] for key in scope.keys() - {field}}) is None


def test_a_service_gives_them_by_langcaches_api(
    import_file: Import, redis_url: str, name: str
) -> None:
    parameters = {"api": "langcache", "cache": "faq"}
    import_file([{"prompt": "returns at 10", "answer": "By post.", "parameters": parameters}])
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(
            live(redis_url, name, cache={"index": "hnsw"})
        ) as running,
    ):
        request = urllib.request.Request(
            f"{running.url}/v1/caches/faq/entries/search",
            data=b'{"prompt": "sending back at 11"}',
            headers={"Content-Type": "application/json", "Authorization": "Bearer any"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            found = json.load(response)
    assert [hit["response"] for hit in found["data"]] == ["By post."]


def test_more_lines_than_go_together_and_the_last_of_two(
    import_file: Import, ask: Callable[..., Answer | None]
) -> None:
    lines = [{"prompt": f"line {n} at {n}", "answer": f"{n}"} for n in range(150)]
    lines += [{"prompt": "line 149 at 149", "answer": "newer"}]
    assert import_file(lines).stdout == "151 stored, 0 skipped.\n"
    for prompt, text in (("line 0 at 0", "0"), ("line 149 at 149", "newer")):
        found = ask(prompt)
        assert found is not None
        assert found.text == text


BAD = [
    ('{"prompt": "at 1"', "truncated"),
    ({"prompt": "at 1"}, "`answer`"),
    ({"answer": "It."}, "Needs a prompt"),
    ({"prompt": "at 1", "question": "at 1", "answer": "It."}, "not both"),
    ({"prompt": " ", "answer": "It."}, "prompt is empty"),
    ({"prompt": "at 1", "answer": ""}, "answer is empty"),
    ({"prompt": "at 1", "answer": "It.", "tennant": "acme"}, "tennant"),
    ({"prompt": "at 1", "answer": "It.", "tenant": "other"}, "'other', and not 'acme'"),
    ({"prompt": "at 1", "answer": "It.", "tags": "faq"}, "$.tags"),
    ({"prompt": "at 1", "answer": "It.", "tags": [" "]}, "tag is empty"),
    ({"prompt": "at 1", "answer": "It.", "ttl_s": 0}, "ttl_s"),
    ({"prompt": "at 1", "answer": "It.", "parameters": {"stop": ["x"]}}, "Scope.parameters"),
    ({"prompt": "x" * 262_145, "answer": "It."}, "max_prompt_bytes"),
    ({"prompt": "at 1", "answer": "x" * 1_048_577}, "max_answer_bytes"),
]


@pytest.mark.parametrize(("line", "what"), BAD)
def test_a_bad_line_is_named_and_nothing_is_stored(
    import_file: Import, ask: Callable[..., Answer | None], line: Any, what: str
) -> None:
    done = import_file([{"prompt": "at 90", "answer": "Good."}, line], "--tenant", "acme")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("faq.jsonl, line 2: ")
    assert what in done.stderr
    assert "Nothing was stored" in done.stderr
    assert ask("at 90", tenant="acme") is None


def test_bad_lines_are_left_out_and_named_where_that_is_asked_for(
    import_file: Import, ask: Callable[..., Answer | None]
) -> None:
    lines = [line for line, _ in BAD]
    good = {"prompt": "at 90", "answer": "Good."}
    done = import_file([good, *lines], "--tenant", "acme", "--skip-bad")
    assert (done.exit_code, done.stdout) == (0, f"1 stored, {len(BAD)} skipped.\n")
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == [
        f"faq.jsonl, line {n}" for n in range(2, len(BAD) + 2)
    ]
    assert ask("at 90", tenant="acme") is not None
    assert import_file(lines, "--skip-bad", "--tenant", "acme").stdout.startswith("0 stored, ")


CHAT: dict[str, Any] = {
    "id": "log-1",
    "model": "gpt-x",
    "temperature": 0.5,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "returns at 10"}]},
    ],
    "response": {
        "object": "chat.completion",
        "model": "gpt-x-0613",
        "choices": [
            {"finish_reason": "stop", "message": {"role": "assistant", "content": "By post."}}
        ],
    },
}


def _chat(where: str, value: Any) -> dict[str, Any]:
    """A chat with one thing otherwise."""
    chat: dict[str, Any] = json.loads(json.dumps(CHAT))
    *path, last = where.split(".")
    place: Any = chat
    for step in path:
        place = place[int(step)] if isinstance(place, list) else place[step]
    place[last] = value
    return chat


def test_a_log_of_chats(import_file: Import, ask: Callable[..., Answer | None]) -> None:
    lines = [CHAT, {"messages": [{"role": "user", "content": "at 90"}], "response": "Nine."}]
    assert import_file(lines).stdout == "2 stored, 0 skipped.\n"
    found = ask("returns at 10", model="gpt-x", temperature=0.5, system_prompt="Be brief.")
    assert found is not None
    assert found.text == "By post."
    assert ask("returns at 10", model="gpt-x") is None
    assert ask("at 90") is not None


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (_chat("messages", []), "more than one question"),
        (_chat("messages", [*CHAT["messages"], *CHAT["messages"]]), "more than one question"),
        (_chat("messages.0.role", "assistant"), "more than one question"),
        (_chat("messages.1.content", [{"type": "image_url"}]), "more than a text"),
        (_chat("response.choices.0.finish_reason", "length"), "not one whole answer"),
        (_chat("response.choices", []), "not one whole answer"),
        (_chat("response.choices.0.message.tool_calls", [{}]), "more than a text"),
        (_chat("response.choices.0.message.content", None), "more than a text"),
        (_chat("response", {"error": {}}), "choices"),
        ([CHAT], "no object"),
    ],
    ids=str,
)
def test_chats_that_are_no_answer_to_one_question(
    import_file: Import, line: Any, what: str
) -> None:
    done = import_file([line])
    assert (done.exit_code, what in done.stderr) == (1, True), done.stderr


def test_lines_of_another_form(import_file: Import, ask: Callable[..., Answer | None]) -> None:
    line = {"request": {"turns": ["hello", "at 10"], "model": "m"}, "reply": {"text": "It."}}
    where = ("--prompt-field", "request.turns.-1", "--answer-field", "reply.text")
    assert import_file([line], *where).stdout == "1 stored, 0 skipped.\n"
    assert ask("at 10") is not None
    done = import_file([{"reply": {"text": "It."}}], *where)
    assert "There is no request.turns.-1." in done.stderr
    done = import_file([{"request": {"turns": [7]}, "reply": {"text": "It."}}], *where)
    assert "$.prompt" in done.stderr
    assert import_file([line], *where[:2]).exit_code == 2


CSV = """\ufeffquestion,answer,tags,ttl_s,locale
returns at 10,"By post,\nwithin 30 days.",faq; post,500,en
at 90,Nine.,,,
"""


def test_a_table(import_file: Import, ask: Callable[..., Answer | None]) -> None:
    import_file([])
    Path("faq.csv").write_text(CSV, encoding="utf-8")
    done = CliRunner().invoke(app, ["import", "faq.csv", "--tenant", "acme"])
    assert done.stdout == "2 stored, 0 skipped.\n"
    found = ask("returns at 10", tenant="acme", locale="en")
    assert found is not None
    assert found.text == "By post,\nwithin 30 days."
    assert ask("at 90", tenant="acme") is not None
    Path("bad.csv").write_text("question,answer\nat 1,It.,more\nat 2\n", encoding="utf-8")
    done = CliRunner().invoke(app, ["import", "bad.csv", "--skip-bad"])
    assert done.stdout == "0 stored, 2 skipped.\n"
    assert done.stderr.splitlines()[1].startswith("bad.csv, line 3: ")
    Path("bad.csv").write_bytes(b"question,answer\n\xff,It.\n")
    done = CliRunner().invoke(app, ["import", "bad.csv"])
    assert "no CSV in UTF-8" in done.stderr


def test_tags_and_times_to_live(import_file: Import, redis_url: str, name: str) -> None:
    lines = [
        {"prompt": "short at 10", "answer": "1", "ttl_s": 1_000, "tags": ["a"]},
        {"prompt": "long at 90", "answer": "2"},
    ]
    import_file(lines, "--tag", "faq", "--ttl-s", "5000")

    async def browse() -> dict[str, tuple[tuple[str, ...], float]]:
        config = CacheConfig(name=name, **PATIENT)
        async with SemanticCache.open(redis_url, config=config, embedder=AngleEmbedder()) as cache:
            entries = await cache.browse()
            return {one.text: (one.tags, one.exact_until - one.created_at) for one in entries}

    kept = run(browse)
    assert {text: tags for text, (tags, _) in kept.items()} == {"1": ("a", "faq"), "2": ("faq",)}
    assert 890 <= kept["1"][1] <= 1_001
    assert 4_490 <= kept["2"][1] <= 5_001


def test_a_cache_that_refuses_says_how_many_it_has(
    import_file: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMCACHE_TENANT_WRITES", "0.001")  # one at once
    done = import_file([{"prompt": f"at {n}", "answer": "It."} for n in range(3)])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("1 stored, then: ")
    assert "tenant_writes" in done.stderr


def test_a_file_that_is_not_there_is_one_sentence(import_file: Import) -> None:
    import_file([])
    Path("faq.jsonl").unlink()
    done = CliRunner().invoke(app, ["import", "faq.jsonl"])
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert "faq.jsonl cannot be read" in done.stderr
