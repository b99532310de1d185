"""What a chat request is."""

from __future__ import annotations

from typing import Any

import pytest

from semcache_async.serve.completions.request import read_chat
from semcache_async.serve.errors import Invalid
from tests.serve.completions.helpers import USER, body, planned


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"model": None}, "model", "missing_required_parameter"),
        ({"model": 5}, "model", "invalid_type"),
        ({"model": " "}, "model", "invalid_value"),
        ({"messages": None}, "messages", "missing_required_parameter"),
        ({"messages": "hi"}, "messages", "invalid_type"),
        ({"messages": {}}, "messages", "invalid_type"),
        ({"messages": []}, "messages", "empty_array"),
        ({"messages": ["hi"]}, "messages[0]", "invalid_type"),
        ({"messages": [USER, None]}, "messages[1]", "invalid_type"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "missing_required_parameter"),
        ({"messages": [{"role": 1}]}, "messages[0].role", "invalid_type"),
        ({"messages": [{"role": "king"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        ({"messages": [{**USER, "content": 5}]}, "messages[0].content", "invalid_type"),
        ({"messages": [{**USER, "content": []}]}, "messages[0].content", "empty_array"),
        ({"messages": [{**USER, "name": 5}]}, "messages[0].name", "invalid_type"),
        ({"messages": [{**USER, "content": ["a"]}]}, "messages[0].content[0]", "invalid_type"),
        (
            {"messages": [{**USER, "content": [{"text": "a"}]}]},
            "messages[0].content[0].type",
            "missing_required_parameter",
        ),
        (
            {"messages": [{**USER, "content": [{"type": 1}]}]},
            "messages[0].content[0].type",
            "invalid_type",
        ),
        (
            {"messages": [{**USER, "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
            "missing_required_parameter",
        ),
        (
            {"messages": [{**USER, "content": [{"type": "text", "text": 1}]}]},
            "messages[0].content[0].text",
            "invalid_type",
        ),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"stream": 1}, "stream", "invalid_type"),
        ({"stream": True, "stream_options": []}, "stream_options", "invalid_type"),
        (
            {"stream": True, "stream_options": {"include_usage": 1}},
            "stream_options.include_usage",
            "invalid_type",
        ),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"temperature": True}, "temperature", "invalid_type"),
        ({"n": 1.5}, "n", "invalid_type"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"stop": 5}, "stop", "invalid_type"),
        ({"stop": ["a", 5]}, "stop[1]", "invalid_type"),
        ({"tools": {}}, "tools", "invalid_type"),
        ({"tools": [5]}, "tools[0]", "invalid_type"),
        ({"modalities": [5]}, "modalities[0]", "invalid_type"),
        ({"cache": True}, "cache", "invalid_type"),
        ({"user": {}}, "user", "invalid_type"),
    ],
)
def test_what_is_no_chat_request(fields: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_chat({**body(), **fields})
    assert (caught.value.param, caught.value.code) == (param, code)
    assert param in caught.value.message


def test_the_wording_is_openais() -> None:
    with pytest.raises(Invalid) as caught:
        read_chat(body() | {"messages": "hi"})
    assert caught.value.message == (
        "Invalid type for 'messages': expected an array of objects, but got a string instead."
    )


def test_unknown_fields_pass_and_cache_stays_here() -> None:
    asked = body(cache={"no-cache": True}, whatever={"a": [1]}, top_p=None)
    request = read_chat(asked)
    assert request.body == body(whatever={"a": [1]}, top_p=None)
    assert request.cache == {"no-cache": True}
    assert not request.stream


def test_null_is_the_same_as_nothing() -> None:
    request = read_chat(body(stream=None, stream_options=None, n=None, cache=None, tools=None))
    assert (request.stream, request.include_usage, request.cache) == (False, False, {})
    assert planned(body(stop=None, seed=None)).scope == planned(body()).scope


def test_roles_that_may_have_no_content() -> None:
    call: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": []}
    asked = body(USER, call, {"role": "tool", "content": "x", "tool_call_id": "1"}, USER)
    assert read_chat(asked).body == asked
