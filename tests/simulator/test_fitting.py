"""Answers that fit a schema."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from semcache_async.simulator.answer import answer_to
from semcache_async.simulator.apis.chat import ChatBody, completion_of
from semcache_async.simulator.faults import NO_FAULTS
from semcache_async.simulator.fitting import fitting

TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                "parent": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["name"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        True,
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a", "b"]},
        {"properties": {"a": {"enum": ["x", 1]}, "b": {"const": None}}},
        {"type": ["null", "integer"], "minimum": 3, "maximum": 4},
        {"type": "integer", "exclusiveMinimum": 3, "multipleOf": 5},
        {"type": "integer", "maximum": -7},
        {"type": "number", "minimum": 0.2, "maximum": 0.4},
        {"type": "string", "minLength": 90, "maxLength": 95},
        {"type": "string", "format": "date-time"},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 3, "maxItems": 4},
        {"type": "array", "prefixItems": [{"type": "null"}, {"type": "string"}], "items": False},
        {"type": "array", "maxItems": 0},
        {"anyOf": [{"type": "null"}, {"type": "object", "required": ["a"]}]},
        {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        {
            "allOf": [
                {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"properties": {"b": {"type": "string"}}, "required": ["b"]},
            ]
        },
        TREE,
    ],
)
def test_it_fits(schema: Any) -> None:
    made = fitting(schema, "Answer to: x")
    assert not list(
        Draft202012Validator(
            schema, format_checker=Draft202012Validator.FORMAT_CHECKER
        ).iter_errors(made)
    )


def test_a_schema_in_circles_ends() -> None:
    loop = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
    assert fitting(loop, "x") == "x"
    endless = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}
    json.dumps(fitting(endless, "x"))


def made(**fields: Any) -> dict[str, Any]:
    body = ChatBody(model="m", messages=[{"role": "user", "content": "a"}], **fields)
    whole = completion_of(body, answer_to(body.asked(), NO_FAULTS, 3))
    choice: dict[str, Any] = whole["choices"][0]
    return choice


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    },
}
TIME = {"type": "function", "function": {"name": "time"}}


@pytest.mark.parametrize(
    ("choice", "called", "reason"),
    [
        ("required", "weather", "tool_calls"),
        (WEATHER, "weather", "stop"),
        (TIME, "time", "stop"),
        ("auto", None, "stop"),
        (None, None, "stop"),
    ],
)
def test_tools_that_have_to_be_called(choice: Any, called: str | None, reason: str) -> None:
    found = made(tools=[WEATHER, TIME], tool_choice=choice)
    calls = found["message"].get("tool_calls", [])
    assert [call["function"]["name"] for call in calls] == [called] * (called is not None)
    assert found["finish_reason"] == reason
    for call in calls:
        arguments = json.loads(call["function"]["arguments"])
        assert arguments.keys() == {"place"} if called == "weather" else not arguments


def test_json_of_the_form_that_is_asked_for() -> None:
    asked = {"type": "json_schema", "json_schema": {"name": "a", "schema": TREE}}
    said = json.loads(made(response_format=asked)["message"]["content"])
    assert Draft202012Validator(TREE).is_valid(said)
