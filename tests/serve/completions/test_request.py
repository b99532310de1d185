"""What a chat request is."""

from __future__ import annotations

from typing import Any

import pytest

from semcache_async.serve.apis.api import Forced
from semcache_async.serve.apis.chat import CHAT
from semcache_async.serve.errors import Invalid
from tests.serve.completions.helpers import USER, body, planned

STRANGE: list[dict[str, Any]] = [
    {"model": None},
    {"model": 5},
    {"model": " "},
    {"messages": None},
    {"messages": "hi"},
    {"messages": {}},
    {"messages": []},
    {"messages": ["hi"]},
    {"messages": [USER, None]},
    {"messages": [{"content": "x"}]},
    {"messages": [{"role": 1}]},
    {"messages": [{**USER, "content": 5}]},
    {"messages": [{**USER, "content": ["a"]}]},
    {"messages": [{**USER, "content": [{"text": "a"}]}]},
    {"messages": [{**USER, "content": [{"type": 1}]}]},
    {"messages": [{**USER, "content": [{"type": "text"}]}]},
    {"messages": [{**USER, "content": [{"type": "text", "text": 1}]}]},
    {"temperature": "hot"},
    {"temperature": True},
    {"temperature": ""},
    {"tools": {}},
    {"n": "two"},
    {"tools": {"a": 1}},
    {"functions": "f"},
    {"modalities": 5},
    {"response_format": "json"},
]


@pytest.mark.parametrize("fields", STRANGE)
def test_what_is_of_no_known_shape_is_for_the_upstream_to_judge(fields: dict[str, Any]) -> None:
    asked = {**body(), **fields}
    assert CHAT.read(asked).body == asked
    assert planned(asked).reason == "shape"


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "king", "content": "x"}, USER]},
        {"messages": [{"role": "system", "content": None}, USER]},
        {"messages": [{"role": "system"}, {"role": "assistant", "content": []}, USER]},
        {"messages": [{"role": "tool", "content": None}, USER]},
        {"messages": [{**USER, "name": 5}]},
        {"max_tokens": 100.0},
        {"n": 1.0},
        {"seed": 0.5},
        {"user": 12345},
        {"stop": 5},
        {"tools": []},
        {"stream_options": {"include_usage": True}},
        {"stream": True, "stream_options": {"include_usage": 1}},
        {"cache": True},
        {"logprobs": 5},
    ],
)
def test_what_is_not_ours_to_judge_is_cached_as_any_other(fields: dict[str, Any]) -> None:
    asked = {**body(), **fields}
    assert CHAT.read(asked).body == asked
    assert planned(asked).reason is None


@pytest.mark.parametrize("stream", ["yes", 1, [True]])
def test_whether_a_stream_is_wanted_has_to_be_clear(stream: Any) -> None:
    with pytest.raises(Invalid, match="'stream': expected a boolean") as caught:
        CHAT.read(body(stream=stream))
    assert (caught.value.param, caught.value.code) == ("stream", "invalid_type")


def test_unknown_fields_pass_and_cache_stays_here() -> None:
    asked = body(cache={"no-cache": True}, whatever={"a": [1]}, top_p=None)
    request = CHAT.read(asked)
    assert request.body == body(whatever={"a": [1]}, top_p=None)
    assert request.cache == {"no-cache": True}
    assert not request.stream


def test_null_is_the_same_as_nothing() -> None:
    request = CHAT.read(body(stream=None, stream_options=None, n=None, cache=None, tools=None))
    assert (request.stream, request.include_usage, request.cache) == (False, False, {})
    assert planned(body(stop=None, seed=None)).scope == planned(body()).scope


SCHEMA = {"type": "object"}
WEATHER = {"name": "weather", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": WEATHER}, {"type": "function", "function": {"name": "b"}}]


@pytest.mark.parametrize(
    ("fields", "forced"),
    [
        ({"tools": TOOLS, "tool_choice": TOOLS[0]}, Forced("weather", SCHEMA)),
        ({"tools": TOOLS[:1], "tool_choice": "required"}, Forced("weather", SCHEMA)),
        ({"tools": TOOLS[:1], "tool_choice": "any"}, Forced("weather", SCHEMA)),
        ({"functions": [WEATHER], "function_call": {"name": "weather"}}, Forced("weather", SCHEMA)),
        ({"tools": TOOLS, "tool_choice": TOOLS[1]}, Forced("b", None)),
        ({"tools": TOOLS, "tool_choice": "required"}, None),
        ({"tools": TOOLS[:1], "tool_choice": "auto"}, None),
        ({"tools": TOOLS[:1]}, None),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "c"}}}, None),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, None),
        ({"tools": [5, {"function": 5}], "tool_choice": {"function": "x"}}, None),
    ],
)
def test_the_one_function_that_is_forced(fields: dict[str, Any], forced: Forced | None) -> None:
    assert CHAT.read(body(**fields)).forced == forced


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (None, (False, None)),
        ({"type": "text"}, (False, None)),
        ({"type": "json_object"}, (True, None)),
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}, (True, SCHEMA)),
        ({"type": "json_schema", "json_schema": {"name": "a"}}, (True, None)),
        ({"type": "json_object", "schema": SCHEMA}, (True, SCHEMA)),
        ({"type": "json", "value": SCHEMA}, (True, SCHEMA)),
    ],
)
def test_the_json_that_is_wanted(asked: Any, wanted: tuple[bool, Any]) -> None:
    request = CHAT.read(body(response_format=asked))
    assert (request.wants_json, request.schema) == wanted
