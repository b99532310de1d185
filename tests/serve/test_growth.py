"""No request holds the event loop: what is sent is measured before it is looked into, and looking
costs no more than what was sent. Inputs are so large that a cost that grew with their square would
run into the test's time limit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import msgspec
import pytest

from semcache_async import CacheConfig
from semcache_async.serve.apis.chat import CHAT
from semcache_async.serve.bypass import Bypass
from semcache_async.serve.completions import plan as planning
from semcache_async.serve.completions.control import read_control
from semcache_async.serve.completions.plan import Planner
from semcache_async.serve.errors import Invalid
from semcache_async.serve.http.body import parse_object
from semcache_async.serve.http.forms import read_form
from semcache_async.serve.langcache.forms import SetRequest
from semcache_async.serve.settings import Settings
from semcache_async.serve.sse import EventSplitter, data_of
from tests.serve.running import client_of, service_for

MANY = 400_000


@pytest.mark.parametrize(
    "text",
    [
        "a" + " " * MANY + "b",
        " " * MANY + '"',
        "a=" + " " * MANY + "\\",
        'a="' + "\\" * MANY,
        'a="' + "\\x" * MANY,
        "a," * MANY + '"',
        ("a" + " " * 9) * (MANY // 10) + ";",
        "max-age=" + "9" * MANY,
    ],
    ids=range(8),
)
def test_any_cache_control(text: str) -> None:
    with suppress(Invalid):
        read_control({}, {"Cache-Control": text})


@pytest.mark.parametrize("header", ["x-semcache-tags", "x-semcache-locale"])
@pytest.mark.parametrize("text", ["a," * MANY, "a-" * MANY, " " * MANY, "a" * MANY])
def test_any_other_header(header: str, text: str) -> None:
    with suppress(Invalid):
        read_control({}, {header: text})


@pytest.mark.parametrize(
    "name", ["field `" * MANY, "`" * MANY, "field `" * MANY + "\n", " - at `$" * MANY, ">=" * MANY]
)
def test_any_unknown_field(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_form({"prompt": "x", "response": "y", name: 1}, SetRequest)
    assert len(caught.value.message) < 200
    assert len(caught.value.param or "") <= 100


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":"' + b"\\\\" * MANY + b'"}',
        b'{"a":"' + b'\\"' * MANY + b'"}',
        b'{"a":[' + b"[]," * MANY + b"[]]}",
        b'{"a":' + b'{"a":' * MANY,
        b'{"a":' + b"[" * MANY + b"]" * MANY + b"}",
        b'{"' + b"\\u0061" * MANY + b'":1}',
        b'{"a":"\\ud800' + b"\\ud8" * MANY,
        b" " * MANY,
        b'"' + b'\\"' * MANY,
        b'{"a":"' + b'\\"[' * MANY + b"\\",
    ],
    ids=range(10),
)
def test_any_body(raw: bytes) -> None:
    with suppress(Invalid):
        parse_object(raw)


def test_a_key_that_occurs_twice_is_named_only_in_a_small_body() -> None:
    for filling, named in ((1, "a"), (MANY, None)):
        raw = b'{"x":"' + b"x" * filling + b'","a":1,"a":2}'
        with pytest.raises(Invalid) as caught:
            parse_object(raw)
        assert (caught.value.code, caught.value.param) == ("duplicate_key", named)


# -- sizes first


def forbidden(*_: object, **__: object) -> NoReturn:
    raise AssertionError("looked into before its size was")


@pytest.mark.parametrize(
    "prompt", ["x" * 101, "é" * 51, "e" + "\u0301" * 51, " " * 101, "my name is " * 10]
)
def test_a_prompt_over_the_limit_is_not_looked_into(
    prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("check_text", "is_personal", "is_time_bound", "asks_anew"):
        monkeypatch.setattr(planning, name, forbidden)
    settings = Settings(cache=CacheConfig(max_prompt_bytes=100))
    planner = Planner(settings, lambda _: "https://llm.example/v1")
    message = {"role": "user", "content": prompt}
    plan = planner.plan(CHAT.read({"model": "m", "messages": [message]}), "", "")
    assert (plan.reason, plan.prompt) == (Bypass.TOO_LONG, "-")


def test_one_within_the_limit_is() -> None:
    settings = Settings(cache=CacheConfig(max_prompt_bytes=100))
    for prompt in ("x" * 100, "é" * 50):
        message = {"role": "user", "content": prompt}
        plan = Planner(settings, lambda _: "u").plan(
            CHAT.read({"model": "m", "messages": [message]}), "", ""
        )
        assert (plan.reason, plan.prompt) == (None, prompt)


@pytest.mark.anyio
async def test_langcache_asks_nobody_about_a_prompt_over_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        service_for(cache={"max_prompt_bytes": 100}) as service,
        client_of(service) as client,
    ):
        for name in ("store", "lookup_exact", "nearest", "embed"):
            monkeypatch.setattr(service.cache, name, forbidden)
        long = "x" * 101
        for path, body, status in (
            ("entries/search", {"prompt": long}, 200),
            ("conversations/search", {"prompt": "x", "context": [long]}, 200),
            ("entries", {"prompt": long, "response": "y"}, 400),
        ):
            async with client.post(f"/v1/caches/c/{path}", json=body) as answer:
                assert answer.status == status
                told = await answer.json()
            assert status == 400 or told["data"] == []


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize("line", [b"", b":", b"data:", b"x"])
def test_any_stream(end: bytes, line: bytes) -> None:
    splitter = EventSplitter(limit=8 * MANY)
    events = splitter.feed((line + end) * (MANY // 4) + end + end)
    assert events
    for event in events[:2]:
        data_of(event)


def test_a_conversation_of_many_turns() -> None:
    turn: Callable[[int], dict[str, str]] = lambda n: {  # noqa: E731
        "role": ("user", "assistant")[n % 2],
        "content": "x",
    }
    messages = [turn(n) for n in range(MANY // 8 + 1)]
    raw = msgspec.json.encode({"model": "m", "messages": messages})
    plan = Planner(Settings(), lambda _: "u").plan(CHAT.read(parse_object(raw)), "", "")
    assert plan.prompt == "x"
