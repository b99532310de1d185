"""What a request for a response is, and what its scope."""

from __future__ import annotations

from typing import Any

import pytest

from semcache_async.serve.apis import RESPONSES
from semcache_async.serve.apis.api import Forced
from semcache_async.serve.completions.plan import Plan, Planner
from semcache_async.serve.errors import Invalid
from semcache_async.serve.settings import Settings
from tests.serve.completions import helpers as chats

UPSTREAM = "https://llm.example/v1"
ASKED = "How do I pay?"
USER = {"role": "user", "content": ASKED}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "3"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
SAID = {"type": "output_text", "text": "In cash.", "annotations": []}
MARK = "-semcache-0123456789"
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}


def body(given: Any = ASKED, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "input": given, **fields}


def planned(asked: dict[str, Any], **options: Any) -> Plan:
    return Planner(Settings(**options), lambda _: UPSTREAM).plan(RESPONSES.read(asked), "", "")


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    first, second = planned(one), planned(other)
    assert (first.reason, second.reason) == (None, None)
    return (first.prompt, first.scope) == (second.prompt, second.scope)


STRANGE: list[dict[str, Any]] = [
    {"model": None},
    {"input": None},
    {"input": ""},
    {"input": []},
    {"input": 5},
    {"input": {}},
    {"input": ["hi"]},
    {"input": [{}]},
    {"input": [{"type": 5}]},
    {"input": [{"role": 5}]},
    {"input": [{"role": "user", "content": 5}]},
    {"input": [{"role": "user", "content": ["a"]}]},
    {"input": [{"role": "user", "content": [{"text": "a"}]}]},
    {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
    {"input": [{"role": "user", "content": [{"type": "input_text", "text": 1}]}]},
    {"input": [{**RESULT, "output": 5}]},
    {"instructions": 5},
    {"instructions": ["a"]},
    {"temperature": "hot"},
    {"tools": {}},
    {"text": "json"},
    {"text": {"format": "json"}},
]


@pytest.mark.parametrize("fields", STRANGE)
def test_what_is_of_no_known_shape_is_for_the_upstream_to_judge(fields: dict[str, Any]) -> None:
    asked = {**body(), **fields}
    assert RESPONSES.read(asked).body == asked
    assert planned(asked).reason == "shape"


def test_whether_a_stream_is_wanted_has_to_be_known() -> None:
    with pytest.raises(Invalid, match="stream"):
        RESPONSES.read(body(stream="yes"))


@pytest.mark.parametrize(
    ("fields", "reason", "refers"),
    [
        ({"previous_response_id": "resp_1"}, "state", True),
        ({"previous_response_id": "resp_1", "input": 5}, "state", True),
        ({"conversation": {"id": "conv_1"}}, "state", True),
        ({"input": [{"type": "item_reference", "id": "msg_1"}, USER]}, "state", True),
        ({"input": [{"id": "msg_1"}, USER]}, "state", True),
        ({"prompt": {"id": "pmpt_1"}}, "state", False),
        ({"input": [{"type": "computer_call", "id": "cu_1"}, USER]}, "state", False),
        ({"input": [{"type": "file_search_call", "id": "fs_1"}, USER]}, "state", False),
        ({"background": True}, "background", False),
        ({"tools": [{"type": "web_search"}]}, "web_search", False),
        ({"tools": [FUNCTION, {"type": "web_search_preview_2025_03_11"}]}, "web_search", False),
        ({"tools": [{"type": "mcp"}]}, "tools", False),
        ({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, "tools", False),
        ({"tools": [{"type": "file_search"}]}, "tools", False),
        ({"tools": [{"type": "custom", "name": "c"}]}, "tools", False),
        ({"tools": [FUNCTION]}, "tools", False),
        ({"tools": [None]}, "tools", False),
        ({"input": [USER, CALL, RESULT]}, "tool_message", False),
        ({"input": [USER, {"role": "assistant", "content": [SAID]}]}, "last_message", False),
        ({"input": [USER, THOUGHT]}, "last_message", False),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "images", False),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "files", False),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "audio", False),
        ({"input": [{"role": "user", "content": [{"type": "new"}]}]}, "content", False),
        (
            {"input": [{**RESULT, "output": [{"type": "input_image"}]}, USER]},
            "images",
            False,
        ),
        ({"temperature": 1}, "temperature", False),
        ({"input": "  "}, "prompt", False),
    ],
)
def test_what_bypasses(fields: dict[str, Any], reason: str, refers: bool) -> None:
    plan = planned({**body(), **fields})
    assert (plan.reason, plan.request.refers) == (reason, refers)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"tools": [FUNCTION]}, None),
        ({"tools": [{"type": "custom", "name": "c"}]}, None),
        ({"tools": [{"type": "mcp"}]}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "web_search"),
        ({"background": True}, "background"),
    ],
)
def test_no_setting_helps_where_more_than_the_request_counts(
    fields: dict[str, Any], reason: str | None
) -> None:
    assert planned({**body(), **fields}, bypass_tools=False).reason == reason


def test_the_prompt_and_what_is_around_it() -> None:
    items = [
        {"role": "developer", "content": "Be kind."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "message", "role": "assistant", "id": "msg_1", "content": [SAID]},
        {"role": "user", "content": [{"type": "input_text", "text": ASKED}]},
    ]
    plan = planned(body(items, instructions="Be brief.", max_output_tokens=9))
    assert plan.prompt == ASKED
    assert plan.request.limit == 9
    assert planned(body(max_output_tokens=9.0)).request.limit == 9
    assert planned(body(max_output_tokens=0)).request.limit == 0
    assert planned(body(max_output_tokens="9")).reason == "shape"
    assert "Be brief." in plan.scope.system_prompt
    assert "Be kind." in plan.scope.system_prompt
    assert plan.scope.parameters["body.max_output_tokens"] == "9"
    assert plan.scope.parameters["api"] == "responses"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (body(), body([USER])),
        (body(), body([{"type": "message", **USER}])),
        (body(), body([{"role": "user", "content": [{"type": "input_text", "text": ASKED}]}])),
        (body(), body([{**USER, "id": "msg_1", "status": "completed"}])),
        (
            body(instructions="x", store=False),
            body([{"role": "system", "content": "x"}, USER], store=False),
        ),
        (body(), body(instructions=None)),
        (body(), body(instructions="")),
        (
            body(),
            body(
                stream=True,
                stream_options={"include_obfuscation": False},
                user="u",
                metadata={"a": "b"},
                safety_identifier="s",
                prompt_cache_key="k",
                prompt_cache_retention="24h",
                service_tier="auto",
                background=False,
                store=True,
                text={"format": {"type": "text"}, "verbosity": "medium"},
                reasoning={"effort": None, "summary": None},
                truncation="disabled",
                parallel_tool_calls=True,
                tool_choice="auto",
                tools=[],
                top_p=1.0,
                top_logprobs=0,
                previous_response_id=None,
                include=["web_search_call.action.sources"],
            ),
        ),
        (
            body(include=["reasoning.encrypted_content", "message.output_text.logprobs"]),
            body(include=["message.output_text.logprobs", "reasoning.encrypted_content"]),
        ),
        (body([THOUGHT, USER]), body([{**THOUGHT, "id": f"rs_1{MARK}", "status": "done"}, USER])),
        (
            body([USER, {"role": "assistant", "content": "In cash."}, USER]),
            body([USER, {"role": "assistant", "id": f"m{MARK}", "content": [SAID]}, USER]),
        ),
    ],
)
def test_two_ways_to_say_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (body(), body(instructions="x")),
        (body(), body(store=False)),
        (body(instructions="x"), body([{"role": "system", "content": "x"}, USER])),
        (body(), body(max_output_tokens=5)),
        (body(), body(top_p=0.5)),
        (body(), body(truncation="auto")),
        (body(), body(include=["reasoning.encrypted_content"])),
        (body(), body(include=["message.output_text.logprobs"], top_logprobs=2)),
        (body(), body(reasoning={"effort": "low"})),
        (body(), body(text={"verbosity": "low"})),
        (body(), body(text={"format": {"type": "json_object"}})),
        (body(), body(made_up=1)),
        (body(), body(model="n")),
        (body(), body(temperature=0)),
        (body([THOUGHT, USER]), body([USER])),
        (body([THOUGHT, USER]), body([{**THOUGHT, "id": "rs_2"}, USER])),
        (body([THOUGHT, USER]), body([{**THOUGHT, "encrypted_content": "y"}, USER])),
        (body([USER, CALL, RESULT, USER]), body([USER, CALL, {**RESULT, "output": "4"}, USER])),
        (body([USER, CALL, RESULT, USER]), body([USER, {**CALL, "call_id": "d"}, RESULT, USER])),
        (
            body([USER, CALL, {**RESULT, "content": "x"}, USER]),
            body([USER, CALL, {**RESULT, "output": "4", "content": "x"}, USER]),
        ),
        (
            body([USER, {"role": "assistant", "content": "a"}, USER]),
            body([USER, {"role": "assistant", "content": "a", "phase": "commentary"}, USER]),
        ),
    ],
)
def test_what_tells_requests_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert not same(one, other)


@pytest.mark.parametrize(
    ("fields", "forced"),
    [
        ({"tool_choice": {"type": "function", "name": "f"}}, Forced("f", {"type": "object"})),
        ({"tool_choice": "required"}, Forced("f", {"type": "object"})),
        ({"tool_choice": {"type": "function", "name": "g"}}, None),
        ({"tool_choice": {"type": "custom", "name": "f"}}, None),
        ({"tool_choice": "auto"}, None),
        ({"tool_choice": "required", "tools": [FUNCTION, {**FUNCTION, "name": "g"}]}, None),
        ({"tool_choice": "required", "tools": [{"type": "custom", "name": "f"}]}, None),
        (
            {"tool_choice": {"type": "function", "name": "f"}, "tools": [FUNCTION, FUNCTION]},
            None,
        ),
        ({"tool_choice": "required", "tools": [None]}, None),
        ({"tool_choice": {"type": "function", "name": []}}, None),
    ],
)
def test_what_is_forced(fields: dict[str, Any], forced: Forced | None) -> None:
    asked = {**body(tools=[FUNCTION]), **fields}
    assert RESPONSES.read(asked).forced == forced
    plan = planned(asked)
    assert plan.reason == (None if forced else "tools")
    assert ("exact" in plan.scope.parameters) is (forced is not None)


def test_json_and_its_schema() -> None:
    schema = {"type": "object"}
    for wanted, found in (
        ({"type": "json_schema", "name": "x", "schema": schema}, (True, schema)),
        ({"type": "json_object"}, (True, None)),
        ({"type": "text"}, (False, None)),
        ({"type": "grammar"}, (False, None)),
    ):
        request = RESPONSES.read(body(text={"format": wanted}))
        assert (request.wants_json, request.schema) == found


def test_marks_are_taken_off_what_goes_upstream() -> None:
    items = [
        {"type": "item_reference", "id": f"rs_1{MARK}"},
        {**CALL, "id": f"fc_1{MARK}", "call_id": f"call_1{MARK}"},
        {**USER, "id": 5},
        {**USER, "content": f"resp_1{MARK}"},
        None,
    ]
    asked = body(items, previous_response_id=f"resp_1{MARK}{MARK}")
    sent = RESPONSES.read(asked).body
    assert sent["previous_response_id"] == f"resp_1{MARK}"
    assert [item and item.get("id") for item in sent["input"]] == ["rs_1", "fc_1", 5, None, None]
    assert sent["input"][1]["call_id"] == f"call_1{MARK}"
    assert sent["input"][3] == items[3]
    for given in ("resp_1-semcache-0123", f"{MARK}", "resp_1-semcache-0123456789x", 5):
        assert RESPONSES.read(body(previous_response_id=given)).body == body(
            previous_response_id=given
        )


def test_the_cache_object_stays_here() -> None:
    request = RESPONSES.read(body(cache={"ttl": 5}))
    assert (request.cache, request.body) == ({"ttl": 5}, body())


def test_pure_tools() -> None:
    asked = body([USER, CALL, RESULT], tools=[FUNCTION])
    plan = planned(asked, pure_tools=("f",))
    assert (plan.reason, plan.prompt) == (None, ASKED)


def test_plain_text_is_shared_with_chats_where_told() -> None:
    chat = chats.planned(chats.body(), across_apis=True)
    alike: list[dict[str, Any]] = [
        *({}, {"max_output_tokens": 5}, {"store": False}, {"instructions": None}),
    ]
    for fields in alike:
        plan = planned(body(**fields), across_apis=True)
        assert (plan.neutral, plan.scope) == (True, chat.scope)
    assert planned(body(top_p=0.5), across_apis=True).scope == (
        chats.planned(chats.body(top_p=0.5), across_apis=True).scope
    )
    others: list[dict[str, Any]] = [
        {"reasoning": {"effort": "low"}},
        {"truncation": "auto"},
        {"made_up": 1},
    ]
    for fields in others:
        assert not planned(body(**fields), across_apis=True).neutral
