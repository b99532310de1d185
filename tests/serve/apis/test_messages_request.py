"""What a request for a message asks of the cache: scope, reasons, and the same as a chat."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache_async.serve.apis import CHAT, MESSAGES
from semcache_async.serve.apis.api import Api, Forced
from semcache_async.serve.completions.plan import Plan, Planner
from semcache_async.serve.errors import Invalid
from semcache_async.serve.settings import Settings

UPSTREAM = "https://llm.example/v1"
MARK = {"cache_control": {"type": "ephemeral"}}
USER = {"role": "user", "content": "How do I pay?"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"name": "weather", "description": "Of a city.", "input_schema": SCHEMA}
OTHER = {"name": "time", "input_schema": {"type": "object"}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf"}}
NOTE = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "N."}}
USE = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "Sunny."}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "s"}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def said(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def body(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 64, "messages": list(messages) or [USER], **fields}


def planned(asked: dict[str, Any], api: Api = MESSAGES, **options: Any) -> Plan:
    return Planner(Settings(**options), lambda _: UPSTREAM).plan(api.read(asked), "", "")


BYPASSING: list[tuple[dict[str, Any], str | None]] = [
    (body(), None),
    (body(system="Be brief."), None),
    (body(system=[text("Be brief.", **MARK)]), None),
    (body(system=[PDF]), "files"),
    (body(user(text("How do I pay?"), text("In Rome?"))), None),
    (body(user(text("What is it?"), IMAGE)), "images"),
    (body(user(text("What is it?"), PDF)), "files"),
    (body(user(text("What is it?"), {"type": "container_upload", "file_id": "f"})), "files"),
    (body(user({"type": "hologram"})), "content"),
    (body(USER, said(THOUGHT, text("Sure.")), USER), None),
    (body(USER, said({"type": "server_tool_use", "id": "x"}), USER), "content"),
    (
        body(
            USER,
            said(text("It is (")),
        ),
        "last_message",
    ),
    (body(USER, said(USE), user(RESULT)), "tool_message"),
    (body(USER, said(USE), user({**RESULT, "content": [IMAGE]}), USER), "images"),
    (body(USER, said(USE), user(RESULT, text("And in Oslo?"))), None),
    (body(user()), "prompt"),
    (body(tools=[TOOL]), "tools"),
    (body(tools=[{}]), "tools"),
    (body(tools=["strange"]), "tools"),
    (body(tools=[TOOL], tool_choice={"type": "tool", "name": "weather"}), None),
    (body(tools=[TOOL], tool_choice={"type": "any"}), None),
    (body(tools=[TOOL, OTHER], tool_choice={"type": "any"}), "tools"),
    (body(tools=[TOOL], tool_choice={"type": "tool", "name": "other"}), "tools"),
    (body(tools=[TOOL], tool_choice={"type": "auto"}), "tools"),
    (body(tools=[{"type": "bash_20250124", "name": "bash"}]), "tools"),
    (body(tools=[{"type": "web_search_20250305", "name": "web_search"}]), "web_search"),
    (body(tools=[{"type": "web_fetch_20250910", "name": "web_fetch"}]), "web_search"),
    (body(tools=[{"type": "code_execution_20250522", "name": "code_execution"}]), "state"),
    (body(mcp_servers=[{"type": "url", "url": "https://x", "name": "x"}]), "state"),
    (body(container="container_1"), "state"),
    (body(mcp_servers=[], container=None), None),
    (body(temperature=1.0), "temperature"),
    (body(temperature=0.2), None),
    (body({**USER, "content": "My name is Ann"}), "personal"),
]


@pytest.mark.parametrize(("asked", "reason"), BYPASSING)
def test_what_bypasses_the_cache(asked: dict[str, Any], reason: str | None) -> None:
    assert planned(asked).reason == reason


STRANGE = [
    *[body(**{name: 5}) for name in ("model", "messages", "system", "tools", "tool_choice")],
    *[body(**{name: "x"}) for name in ("temperature", "metadata", "output_config")],
    body(output_format=[]),
    body(output_config={"format": "json"}),
    body(messages=[]),
    body("How?"),
    body({"role": "user"}),
    body({"role": "user", "content": None}),
    body({"content": "How?"}),
    body(user("How?")),
    body(user({"text": "How?"})),
    body(user({"type": "text"})),
    body(user({"type": ["text"]})),
    body(user({"type": "tool_result"})),
    body(user({**RESULT, "content": 5})),
    body(user({**RESULT, "content": [5]})),
    body(said({**USE, "input": "x"})),
    body(said({**USE, "name": None})),
    body(system=[5]),
]


@pytest.mark.parametrize("asked", STRANGE)
def test_a_strange_shape_goes_upstream_as_it_is(asked: dict[str, Any]) -> None:
    request = MESSAGES.read(asked)
    assert (request.reason, request.body) == ("shape", asked)
    with pytest.raises(Invalid, match="shape"):
        MESSAGES.in_chat(request)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "content", "source", "role", "name", "input", "id"]),
            st.sampled_from(["text", "tool_use", "tool_result", "thinking", "image"]) | inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
FIELDS = [*body(), "system", "tools", "tool_choice", "metadata", "temperature", "stop_sequences"]
FIELDS += ["output_config", "output_format", "container", "cache", "thinking", "top_p"]


@given(st.dictionaries(st.sampled_from(FIELDS), values), st.lists(values, max_size=3))
def test_whatever_is_asked_nothing_raises(fields: dict[str, Any], blocks: list[Any]) -> None:
    for asked in (fields, {**body(user(*blocks), said(*blocks), USER), **fields}):
        request = MESSAGES.read(asked)
        planned(asked, across_apis=True, bypass_images=False, bypass_tools=False)
        list(MESSAGES.parameters(asked))
        with suppress(Invalid):
            MESSAGES.in_chat(request)


# -- scope


def scope(asked: dict[str, Any], **options: Any) -> Any:
    plan = planned(asked, bypass_tools=False, bypass_images=False, **options)
    assert plan.reason is None
    return plan.scope


SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (body(), body(**MARK)),
    (body(), body(metadata={"user_id": "ann"}, service_tier="auto", stream=True)),
    (body(), body(user(text("How do I pay?", **MARK)))),
    (body(), body(user(text("What else?")))),
    (body(), body(system=[], tools=[], stop_sequences=[], top_p=1.0, tool_choice=None)),
    (body(), body(output_config={}, thinking=None)),
    (body(max_tokens=64), body(max_tokens=64.0)),
    (body(system="Be brief."), body(system=[text("Be brief.", **MARK)])),
    (body(tools=[TOOL]), body(tools=[{**TOOL, **MARK, "type": "custom"}])),
    (
        body(tools=[TOOL]),
        body(tools=[TOOL], tool_choice={"type": "auto", "disable_parallel_tool_use": False}),
    ),
    (
        body(output_format={"type": "json_schema", "schema": SCHEMA}),
        body(output_config={"format": {"type": "json_schema", "schema": SCHEMA}}),
    ),
    (
        body(USER, said(text("Sure.", citations=None)), USER),
        body(USER, {"role": "assistant", "content": "Sure."}, USER),
    ),
    (
        body(USER, said(USE), user(RESULT), USER),
        body(USER, said({**USE, **MARK}), user({**RESULT, **MARK}), user(text("How do I pay?"))),
    ),
    (
        body(USER, said(USE), user({**RESULT, "content": [text("Sunny.", **MARK)]}), USER),
        body(USER, said(USE), user(RESULT), USER),
    ),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_request_said_otherwise(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert scope(one) == scope(other)


TURNS = body(USER, said(USE), user(RESULT), USER)
DIFFERENT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    *[
        (body(), body(**fields))
        for fields in (
            {"system": "Be brief."},
            {"max_tokens": 65},
            {"stop_sequences": ["x"]},
            {"top_p": 0.5},
            {"top_k": 5},
            {"temperature": 0.5},
            {"tools": [TOOL]},
            {"thinking": {"type": "enabled", "budget_tokens": 2_048}},
            {"output_config": {"effort": "low"}},
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            {"made_up": 1},
        )
    ],
    (body(user(text("What is it?"), IMAGE)), body(user(text("What is it?"), PDF))),
    (body(system="Be brief."), body(system=[text("Be brief."), text("Be kind.")])),
    (body(tools=[TOOL]), body(tools=[TOOL, OTHER])),
    (body(tools=[TOOL]), body(tools=[TOOL], tool_choice={"type": "none"})),
    (TURNS, body(USER, said({**USE, "id": "t2"}), user(RESULT), USER)),
    (TURNS, body(USER, said({**USE, "input": {"city": "Oslo"}}), user(RESULT), USER)),
    (TURNS, body(USER, said(USE), user({**RESULT, "content": "Rainy."}), USER)),
    (TURNS, body(USER, said(USE), user({**RESULT, "is_error": True}), USER)),
    (TURNS, body(USER, said(USE), user({**RESULT, "tool_use_id": "t2"}), USER)),
    (TURNS, body(USER, said(THOUGHT, USE), user(RESULT), USER)),
    (
        body(USER, said(text("a"), USE, text("b")), user(RESULT), USER),
        body(USER, said(text("a"), text("b"), USE), user(RESULT), USER),
    ),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_requests_that_share_nothing(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert scope(one) != scope(other)


def test_an_ask_of_another_api_is_of_another_scope_unless_it_is_said() -> None:
    asked = {"model": "m", "messages": [USER], "max_tokens": 64, "stop": "x"}
    chat = planned(asked, CHAT)
    assert scope(body(stop_sequences=["x"])) != chat.scope
    chat = planned(asked | {"max_tokens": 32}, CHAT, across_apis=True)
    ours = planned(body(stop_sequences=["x"]), across_apis=True)
    assert (chat.neutral, ours.neutral, ours.scope) == (True, True, chat.scope)
    for more in ({"top_k": 5}, {"thinking": {"type": "adaptive"}}, {"output_config": {"x": 1}}):
        assert not planned(body(**more), across_apis=True).neutral


def test_what_is_forced_and_wanted() -> None:
    request = MESSAGES.read(body(tools=[TOOL, OTHER], tool_choice={"type": "tool", "name": "time"}))
    assert request.forced == Forced("time", {"type": "object"})
    assert request.offered == ("weather", "time")
    for wanted in ("output_format", "output_config"):
        form: dict[str, Any] = {"type": "json_schema", "schema": SCHEMA}
        form = form if wanted == "output_format" else {"format": form}
        request = MESSAGES.read(body(**{wanted: form}, metadata={"user_id": "ann"}))
        assert (request.wants_json, request.schema) == (True, SCHEMA)
        assert (request.limit, request.user) == (64, "ann")
    with pytest.raises(Invalid, match="stream"):
        MESSAGES.read(body(stream="yes"))


# -- the same as a chat


def as_chat(asked: dict[str, Any]) -> dict[str, Any]:
    made = MESSAGES.in_chat(MESSAGES.read(asked))
    assert made is not None
    assert made.api is CHAT
    assert made.reason is None
    return made.body


def test_a_request_as_a_chat() -> None:
    asked = body(
        USER,
        said(THOUGHT, text("Let me see."), USE),
        user(RESULT, text("And"), text("this?"), IMAGE),
        said(text("A dot.")),
        user(text("And this?"), {"type": "image", "source": {"type": "url", "url": "https://x/"}}),
        user(text("See:"), NOTE),
        system=[text("Be brief."), text("Be kind.", **MARK)],
        stop_sequences=["x"],
        temperature=0.5,
        top_p=0.9,
        stream=True,
        metadata={"user_id": "ann"},
        tools=[{**TOOL, **MARK}, {**OTHER, "type": "custom", "strict": True}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
        thinking={"type": "adaptive"},
        service_tier="auto",
        cache={"ttl": 5},
        made_up=1,
        **MARK,
    )
    function = {"name": "weather", "arguments": '{"city":"Rome"}'}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    other = {"type": "image_url", "image_url": {"url": "https://x/"}}
    assert as_chat(asked) == {
        "model": "m",
        "max_tokens": 64,
        "messages": [
            {"role": "system", "content": "Be brief.\nBe kind."},
            USER,
            {
                "role": "assistant",
                "content": "Let me see.",
                "tool_calls": [{"id": "t1", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": "t1", "content": "Sunny."},
            {"role": "user", "content": [text("And"), text("this?"), image]},
            {"role": "assistant", "content": "A dot."},
            {"role": "user", "content": [text("And this?"), other]},
            {"role": "user", "content": "See:\nN."},
        ],
        "stop": ["x"],
        "temperature": 0.5,
        "top_p": 0.9,
        "stream": True,
        "user": "ann",
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "Of a city.",
                    "parameters": SCHEMA,
                },
            },
            {
                "type": "function",
                "function": {"name": "time", "parameters": {"type": "object"}, "strict": True},
            },
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": SCHEMA},
        },
        "made_up": 1,
    }


def test_choices_as_a_chats() -> None:
    for choice, made in (
        ({"type": "auto"}, "auto"),
        ({"type": "none"}, "none"),
        (
            {"type": "tool", "name": "weather"},
            {"type": "function", "function": {"name": "weather"}},
        ),
    ):
        assert as_chat(body(tools=[TOOL], tool_choice=choice))["tool_choice"] == made
    assert "tool_choice" not in as_chat(body(tool_choice={"type": "auto"}))
    assert "tool_choice" not in as_chat(body(tools=[TOOL]))
    assert as_chat(body(USER, said(USE), user(RESULT)))["messages"][1]["content"] is None


@pytest.mark.parametrize(
    ("asked", "param", "named"),
    [
        (body(container="c"), "container", "container"),
        (body(mcp_servers=[{}]), "mcp_servers", "mcp_servers"),
        (body(tools=[TOOL, {"type": "web_search_1"}]), "tools[1].type", "web_search_1"),
        (body(tools=[5]), "tools[0].type", "tool"),
        (body(tools=[TOOL], tool_choice={"type": "most"}), "tool_choice.type", "most"),
        (body(user(PDF)), "messages", "'document' by 'base64'"),
        (body(user({"type": "search_result"})), "messages", "search_result"),
        (
            body(user({"type": "image", "source": {"type": "file", "file_id": "f"}})),
            "messages",
            "'image' by 'file'",
        ),
        (body(USER, said(USE), user({**RESULT, "content": [IMAGE]})), "messages", "no text"),
    ],
)
def test_what_a_chat_cannot_say(asked: dict[str, Any], param: str, named: str) -> None:
    with pytest.raises(Invalid) as caught:
        MESSAGES.in_chat(MESSAGES.read(asked))
    assert (caught.value.param, caught.value.code) == (param, "not_in_chat")
    assert named in caught.value.message
