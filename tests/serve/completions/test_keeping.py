"""Which answers are kept, and why others are not."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semcache_async.serve.apis.chat import CHAT
from semcache_async.serve.bypass import Unkept
from semcache_async.serve.completions.keeping import Keeping
from semcache_async.serve.completions.schemas import fits
from semcache_async.serve.settings import Settings
from tests.serve.completions.helpers import body
from tests.serve.upstreams import answer, asks, completion, scripted, serving, told

pytestmark = pytest.mark.anyio


def ended(content: Any = "Yes.", reason: Any = "stop", **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": content, **message}
    return {"choices": [{"index": 0, "message": said, "finish_reason": reason}]}


async def why_not(made: dict[str, Any], **request: Any) -> Unkept | None:
    return await Keeping(Settings().finish_reasons).why_not(made, CHAT.read(body(**request)))


@pytest.mark.parametrize("reason", ["stop", "STOP", "eos", "eos_token", "end", "end_turn", "EOS"])
async def test_an_answer_that_ended_by_itself_is_kept(reason: str) -> None:
    assert await why_not(ended(reason=reason)) is None


async def test_what_stored_answers_may_lack() -> None:
    kept = {"choices": [{"finish_reason": "stop", "message": {"content": "a", "tool_calls": []}}]}
    assert await why_not(kept) is None


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ({}, "shape"),
        ({"choices": []}, "shape"),
        ({"choices": [7]}, "shape"),
        ({"choices": [{"finish_reason": "stop"}]}, "shape"),
        (ended(reason="length"), "finish_reason"),
        (ended(reason="content_filter"), "finish_reason"),
        (ended(reason=None), "finish_reason"),
        (ended(reason=["stop"]), "finish_reason"),
        (ended(None), "empty"),
        (ended(" \n"), "empty"),
        (ended([{"type": "text", "text": "a"}]), "empty"),
        (ended(refusal="No."), "refusal"),
        (ended(tool_calls=[{"id": "a"}]), "tool_calls"),
        (ended(None, "tool_calls", tool_calls=[{"id": "a"}]), "tool_calls"),
        (ended(function_call={"name": "a"}), "tool_calls"),
    ],
)
async def test_what_is_not_fit_for_others(made: dict[str, Any], why: str) -> None:
    assert await why_not(made) == why


async def test_the_operator_says_how_answers_end() -> None:
    keeping = Keeping(("done",))
    assert await keeping.why_not(ended(reason="Done"), CHAT.read(body())) is None
    assert await keeping.why_not(ended(), CHAT.read(body())) == "finish_reason"


CARD = "It went to 4111 1111 1111 1111."


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_personal_or_cheap_is_delivered_and_not_kept(stream: bool) -> None:
    told_of: list[tuple[dict[str, Any], dict[str, Any], str, str | None]] = [
        ({}, {}, CARD, "personal"),
        ({"cache": {"refuse_personal": False}}, {}, CARD, None),
        ({"min_answer_usd": 0.001}, {}, "Yes.", "cheap"),
        ({"min_answer_usd": 0.00001}, {}, "Yes.", None),
        ({"min_answer_usd": 0.001}, {"usage": None}, "Yes.", None),
        ({"cache": {"min_llm_s": 3_600.0}}, {}, "Yes.", None),
    ]
    for options, fields, text, why in told_of:
        async with (
            scripted(answer(json.dumps(completion(text, **fields)))) as (url, script),
            serving(url, **options) as setup,
        ):
            _, headers, body = await told(setup, asks(stream=stream))
            assert text in body.decode()
            if not stream:
                assert headers.get("x-semcache-not-stored") == why
            await told(setup, asks())
            stored = why is None and "min_llm_s" not in options.get("cache", {})
            assert len(script.requests) == 2 - stored


async def test_the_services_rule_for_prompts_is_its_own() -> None:
    for kept in (True, False):
        async with (
            scripted(answer(json.dumps(completion()))) as (url, script),
            serving(url, bypass_personal=not kept) as setup,
        ):
            for _ in range(2):
                await told(setup, asks("My name is Ann at 10"))
            assert len(script.requests) == 2 - kept


SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "n": {"$ref": "#/$defs/count"}},
    "required": ["answer"],
    "additionalProperties": False,
    "$defs": {"count": {"type": "integer", "minimum": 0}},
}
JSON = {"type": "json_object"}
FITTING = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}


@pytest.mark.parametrize(
    ("content", "asked", "why"),
    [
        ('{"a": 1}', JSON, None),
        ("Sorry, I cannot produce JSON", JSON, "format"),
        ('```json\n{"a": 1}\n```', JSON, "format"),
        ('{"a": ', JSON, "format"),
        ('{"answer": "x", "n": 2}', FITTING, None),
        ('{"answer": "x", "n": -2}', FITTING, "schema"),
        ('{"answer": 1}', FITTING, "schema"),
        ('{"answer": "x", "more": 1}', FITTING, "schema"),
        ("{}", FITTING, "schema"),
        ("Sorry.", FITTING, "format"),
        ("Sorry.", {"type": "text"}, None),
    ],
)
async def test_json_is_kept_that_is_what_was_asked_for(
    content: str, asked: dict[str, Any], why: str | None
) -> None:
    assert await why_not(ended(content), response_format=asked) == why


LOOK = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
FORCED: dict[str, Any] = {"tools": [LOOK], "tool_choice": LOOK}


def called(arguments: Any, name: str = "look") -> dict[str, Any]:
    return {"id": "a", "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("calls", "why"),
    [
        ([called('{"answer": "x"}')], None),
        ([called("{}")], "schema"),
        ([called("{")], "format"),
        ([called({"answer": "x"})], "tool_calls"),
        ([called('{"answer": "x"}', "other")], "tool_calls"),
        ([called('{"answer": "x"}')] * 2, "tool_calls"),
        ([5], "tool_calls"),
        ([], "tool_calls"),
    ],
)
@pytest.mark.parametrize("reason", ["stop", "tool_calls"])
async def test_the_one_function_that_was_forced(
    calls: list[Any], why: str | None, reason: str
) -> None:
    assert await why_not(ended(None, reason, tool_calls=calls), **FORCED) == why
    if why is None:
        assert await why_not(ended(None, "length", tool_calls=calls), **FORCED) == "finish_reason"


async def test_a_forced_function_of_the_older_form() -> None:
    asked = {"functions": [LOOK["function"]], "function_call": {"name": "look"}}
    made = ended(None, function_call={"name": "look", "arguments": '{"answer": "x"}'})
    assert await why_not(made, **asked) is None


# -- schemas, bounded

WORDS = (
    *("$schema", "$ref", "$defs", "$id", "$dynamicRef", "type", "properties", "items", "anyOf"),
    *("allOf", "not", "required", "enum", "const", "minimum", "pattern", "if", "then", "a"),
)


def test_draft_4_is_known_and_what_cannot_be_told_does_not_fit() -> None:
    old = {"$schema": "http://json-schema.org/draft-04/schema#", "items": [{"type": "string"}]}
    assert fits(["a", 1], old)
    assert not fits([1], old)
    assert not fits("a", {"type": 5})
    assert not fits("a", {"$ref": "https://schemas.example/a.json"})
    assert not fits("a", {"$ref": "#"})
    assert not fits({"a": 1}, {"patternProperties": {"(a+)+$": {}}})
    assert not fits("a", {"enum": ["a" * 70_000]})
    assert fits("a" * 50 + "!", {"pattern": "^(a+)+$"})


def test_a_schema_that_sends_us_in_circles_ends() -> None:
    branch = {"items": {"$ref": "#/$defs/a"}}
    deep: list[Any] = [5]
    for _ in range(40):
        deep = [deep]
    wrong = {"$defs": {"a": {"type": "array", "anyOf": [branch, branch]}}, "$ref": "#/$defs/a"}
    assert not fits(deep, wrong)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("a#/$", max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(ANYTHING, st.dictionaries(st.sampled_from(WORDS), ANYTHING, max_size=4))
@settings(max_examples=300, deadline=None)
def test_whatever_is_given_as_a_schema_it_is_yes_or_no(value: Any, schema: dict[str, Any]) -> None:
    assert fits(value, schema) in (True, False)


# -- over HTTP


async def test_it_is_said_and_counted() -> None:
    cut = completion("x")
    cut["choices"][0]["finish_reason"] = "length"
    async with (
        scripted(answer(msgspec.json.encode(cut))) as (url, _),
        serving(url) as setup,
    ):
        _, headers, _ = await told(setup, asks())
        assert headers["x-semcache-not-stored"] == "finish_reason"
        await told(setup, asks(n=2))  # a bypass is not to be kept anyway
        assert setup.service.metrics.own("unkept_answers")["finish_reason"] == 1
        _, headers, _ = await told(setup, asks(n=2))
        assert "x-semcache-not-stored" not in headers


async def test_a_forced_call_is_a_hit_whole_and_streamed() -> None:
    made = completion(None)
    made["choices"][0]["message"]["tool_calls"] = [called('{"answer": "x"}')]
    async with (
        scripted(answer(msgspec.json.encode(made))) as (url, script),
        serving(url) as setup,
    ):
        assert (await told(setup, asks(**FORCED)))[1]["x-semcache-status"] == "generated"
        _, headers, again = await told(setup, asks(**FORCED))
        assert headers["x-semcache-status"] == "exact"
        assert json.loads(again)["choices"] == made["choices"]
        _, headers, streamed = await told(setup, asks(stream=True, **FORCED))
        assert headers["x-semcache-status"] == "exact"
        assert b'"name":"look"' in streamed
        _, headers, _ = await told(setup, asks("money at 10", **FORCED))
        assert headers["x-semcache-status"] == "generated"
        assert len(script.requests) == 2
