"""What a chat request is, what it asks of the cache, and what the cache is asked."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from semcache_async.serve.completions.control import NO_WISHES, Control, read_control
from semcache_async.serve.completions.plan import Plan, Planner
from semcache_async.serve.completions.request import read_chat
from semcache_async.serve.errors import Invalid
from semcache_async.serve.http.body import parse_object
from semcache_async.serve.settings import Settings
from semcache_async.types import Scope

UPSTREAM = "https://llm.example/v1"
USER = {"role": "user", "content": "How do I pay?"}
DATA_URL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def body(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages) or [USER], **fields}


def planned(asked: dict[str, Any], tenant: str = "", locale: str = "", **options: Any) -> Plan:
    request = read_chat(asked)
    namespace = read_control(request.cache, {}).namespace
    return Planner(Settings(**options), UPSTREAM).plan(request, tenant, locale, namespace)


# -- shape


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


# -- wishes


@pytest.mark.parametrize(
    ("cache", "headers", "expected"),
    [
        ({}, {}, NO_WISHES),
        ({}, {"Accept": "*/*"}, NO_WISHES),
        ({"no-cache": True}, {}, Control(read=False)),
        ({"no-store": True}, {}, Control(write=False)),
        ({"no-store": False, "no-cache": None}, {}, Control()),
        ({"ttl": 60}, {}, Control(ttl_s=60.0)),
        ({"ttl": 0.5, "s-maxage": 7.5}, {}, Control(ttl_s=0.5, max_age_s=7.5)),
        ({"s-maxage": 0}, {}, Control(read=False)),
        ({"namespace": "shop"}, {}, Control(namespace="shop")),
        ({}, {"cache-control": "no-cache"}, Control(read=False)),
        ({}, {"Cache-Control": "No-Store , max-age=60"}, Control(write=False, max_age_s=60.0)),
        ({}, {"Cache-Control": 'max-age="60"'}, Control(max_age_s=60.0)),
        ({}, {"Cache-Control": "max-age=0"}, Control(read=False)),
        ({}, {"Cache-Control": "max-age=" + "9" * 400}, Control(max_age_s=315_360_000.0)),
        ({}, {"Cache-Control": "only-if-cached, foo=bar,,"}, Control(only_if_cached=True)),
        ({"s-maxage": 5}, {"Cache-Control": "max-age=9"}, Control(max_age_s=5.0)),
        ({}, {"x-semcache-max-distance": "0.02"}, Control(max_distance=0.02)),
        ({}, {"X-Semcache-Similarity-Threshold": "0.75"}, Control(max_distance=0.25)),
        (
            {},
            {"x-semcache-max-distance": "0.5", "x-semcache-similarity-threshold": "0.75"},
            Control(max_distance=0.25),
        ),
        ({}, {"x-semcache-locale": "de-CH"}, Control(locale="de-CH")),
        ({}, {"x-semcache-tags": "a, b:1,a,"}, Control(tags=("a", "b:1"))),
    ],
)
def test_wishes(cache: dict[str, Any], headers: dict[str, str], expected: Control) -> None:
    assert read_control(cache, CIMultiDict(headers)) == expected


@pytest.mark.parametrize(
    ("cache", "field"),
    [
        ({"no-cache": 1}, "cache.no-cache"),
        ({"no-store": "true"}, "cache.no-store"),
        ({"ttl": 0}, "cache.ttl"),
        ({"ttl": -1}, "cache.ttl"),
        ({"ttl": float("nan")}, "cache.ttl"),
        ({"ttl": float("inf")}, "cache.ttl"),
        ({"ttl": 1e12}, "cache.ttl"),
        ({"ttl": 2**63}, "cache.ttl"),
        ({"ttl": True}, "cache.ttl"),
        ({"ttl": "60"}, "cache.ttl"),
        ({"s-maxage": -1}, "cache.s-maxage"),
        ({"namespace": 5}, "cache.namespace"),
        ({"namespace": "x" * 257}, "cache.namespace"),
        ({"use": True}, "cache.use"),
        ({"\x00": True}, "cache...."),
    ],
)
def test_wishes_in_the_body_that_make_no_sense(cache: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_control(cache, {})
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Cache-Control", "max-age"),
        ("Cache-Control", "max-age=-1"),
        ("Cache-Control", "max-age=1e3"),
        ("Cache-Control", "max-age=\u0661"),
        ("Cache-Control", "a b"),
        ("Cache-Control", "=5"),
        ("x-semcache-max-distance", "nan"),
        ("x-semcache-max-distance", "inf"),
        ("x-semcache-max-distance", "-0.1"),
        ("x-semcache-max-distance", "2.1"),
        ("x-semcache-max-distance", ""),
        ("x-semcache-max-distance", "0" * 33),
        ("x-semcache-similarity-threshold", "1.5"),
        ("x-semcache-similarity-threshold", "high"),
        ("x-semcache-locale", "de CH"),
        ("x-semcache-locale", "x" * 17),
        ("x-semcache-tags", ",".join(map(str, range(33)))),
        ("x-semcache-tags", "x" * 257),
        ("x-semcache-tags", "\udcff"),
    ],
)
def test_wishes_in_headers_that_make_no_sense(header: str, value: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_control({}, CIMultiDict({header: value}))
    assert caught.value.param == header


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_cache_control_is_read_or_refused(text: str) -> None:
    with suppress(Invalid):
        read_control({}, {"Cache-Control": text})


# -- policy


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (body(), None),
        (body(tools=[{"type": "function"}]), "tools"),
        (body(functions=[{"name": "f"}]), "tools"),
        (body(tools=[]), None),
        (body(n=2), "n"),
        (body(n=1), None),
        (body(web_search_options={}), "web_search"),
        (body(modalities=["text", "audio"]), "audio"),
        (body(audio={"voice": "a"}), "audio"),
        (body(modalities=["text"]), None),
        (body({**USER, "content": [{"type": "text", "text": "What is it?"}, DATA_URL]}), "images"),
        (
            body({**USER, "content": [DATA_URL]}, {"role": "assistant", "content": "x"}, USER),
            "images",
        ),
        (body({**USER, "content": [{"type": "input_audio"}]}), "audio"),
        (body({**USER, "content": [{"type": "file"}]}), "files"),
        (body({**USER, "content": [{"type": "hologram"}]}), "content"),
        (body({**USER, "content": [{"type": "text", "text": "How?"}]}), None),
        (body(USER, {"role": "assistant", "content": "x"}), "last_message"),
        (body(USER, {"role": "system", "content": "x"}), "last_message"),
        (body({"role": "system", "content": "x"}), "last_message"),
        (body(USER, {"role": "tool", "content": "x"}), "tool_message"),
        (body(temperature=1.0), None),
        (body(temperature=1.01), "temperature"),
        (body(temperature=2**63), "temperature"),
        (body({**USER, "content": ""}), "prompt"),
        (body({**USER, "content": " \n"}), "prompt"),
        (body({**USER, "content": "a\x00b"}), "prompt"),
        (body({**USER, "content": "My name is Ann"}), "personal"),
        (body({**USER, "content": "What's the weather in Rome?"}), "time_bound"),
    ],
)
def test_what_bypasses_the_cache(asked: dict[str, Any], reason: str | None) -> None:
    plan = planned(asked)
    assert plan.reason == reason
    assert plan.prompt == ("-" if reason else plan.prompt)


def test_the_policy_is_a_setting() -> None:
    assert planned(body(tools=[{"type": "function"}]), bypass_tools=False).reason is None
    assert planned(body(n=2), bypass_n=False).reason is None
    assert planned(body(temperature=0.3), max_temperature=0.2).reason == "temperature"
    ann = body({**USER, "content": "My name is Ann"})
    assert planned(ann, bypass_personal=False).reason is None
    assert planned(ann, bypass_personal=("bob",)).reason is None
    assert planned(ann, bypass_time_bound=("ANN",), bypass_personal=False).reason == "time_bound"
    image = body({**USER, "content": [{"type": "text", "text": "What is it?"}, DATA_URL]})
    other = body({**USER, "content": [{"type": "text", "text": "What is it?"}, {"type": "file"}]})
    plans = [planned(asked, bypass_images=False) for asked in (image, other)]
    assert [(plan.reason, plan.prompt) for plan in plans] == [(None, "What is it?")] * 2
    assert plans[0].scope != plans[1].scope


# -- scope


def scope(asked: dict[str, Any], **given: Any) -> Scope:
    plan = planned(asked, **given)
    assert plan.reason is None
    return plan.scope


SYSTEM = {"role": "system", "content": "Be brief."}
SAID = {"role": "assistant", "content": "Sure."}


OTHERS = [
    body(model="m2"),
    body(temperature=0.5),
    body(top_p=0.5),
    body(seed=1),
    body(max_tokens=5),
    body(stop="x"),
    body(stop=["x"]),
    body(response_format={"type": "json_object"}),
    body(logprobs=True),
    body(reasoning_effort="low"),
    body(tools=[], tool_choice="none"),
    body(made_up_field={"a": 1}),
    body(api="langcache"),
    body(turns="x"),
    body(SYSTEM, USER),
    body({**SYSTEM, "role": "developer"}, USER),
    body({**SYSTEM, "name": "x"}, USER),
    body(SYSTEM, SYSTEM, USER),
    body(USER, SAID, USER),
    body(USER, {**SAID, "content": "No."}, USER),
    body(USER, {**SAID, "name": "x"}, USER),
    body(USER, SAID, SYSTEM, USER),
    body({**USER, "name": "ann"}),
    body({**USER, "made_up": 1}),
    body({**USER, "content": [{"type": "text", "text": "How do I pay?", "x": 1}]}),
    body(cache={"namespace": "a"}),
    body(cache={"namespace": "b"}),
]


@pytest.mark.parametrize("other", OTHERS)
def test_what_changes_the_answer_changes_the_scope(other: dict[str, Any]) -> None:
    assert scope(other) != scope(body())
    assert planned(other).prompt == "How do I pay?"


def test_all_those_scopes_differ() -> None:
    scopes = [scope(other) for other in OTHERS]
    assert len(set(scopes)) == len(scopes)


@pytest.mark.parametrize(
    "same",
    [
        body(stream=True, stream_options={"include_usage": True}),
        body(user="ann"),
        body(metadata={"a": "b"}),
        body(store=True),
        body(safety_identifier="x"),
        body(prompt_cache_key="x"),
        body(service_tier="flex"),
        body(cache={"ttl": 5}),
        body({**USER, "content": [{"type": "text", "text": "How do I pay?"}]}),
        body({**USER, "content": "something else"}),
        body({**USER, "name": None}),
    ],
)
def test_what_does_not_change_the_answer(same: dict[str, Any]) -> None:
    assert scope(same) == scope(body())


def test_who_asks_and_where_is_scope() -> None:
    assert scope(body(), tenant="a").tenant == "a"
    assert scope(body(), locale="de") != scope(body())
    assert scope(body(), corpus_version="2").corpus_version == "2"


def test_order_of_keys_is_none_of_the_scope() -> None:
    one = body(response_format={"a": 1, "b": 2}, top_p=1)
    two = {"top_p": 1, **body(response_format={"b": 2, "a": 1})}
    assert scope(one) == scope(two)


def test_a_plan_is_remembered_by_its_bytes_and_asker() -> None:
    planner = Planner(Settings(), UPSTREAM)
    raw = msgspec.json.encode(body())
    plan = planner.plan(read_chat(parse_object(raw)), "a", "")
    assert planner.recall(raw, "a", "") is None
    planner.remember(raw, "a", "", plan)
    assert planner.recall(raw, "a", "") is plan
    assert planner.recall(raw, "b", "") is None
    assert planner.recall(raw, "a", "de") is None
    assert planner.recall(raw + b" ", "a", "") is None
    big = b" " * 5_000
    planner.remember(big, "a", "", plan)
    assert planner.recall(big, "a", "") is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "model",
        "messages",
        "stream",
        "stream_options",
        "n",
        "temperature",
        "stop",
        "tools",
        "cache",
        "modalities",
        "response_format",
        "audio",
        "user",
        "top_p",
        "made_up",
    ]
)
MESSAGE = st.dictionaries(
    st.sampled_from(["role", "content", "name", "x"]),
    st.sampled_from(["user", "system", "tool", "assistant", None, 5])
    | st.lists(
        st.dictionaries(
            st.sampled_from(["type", "text"]),
            st.sampled_from(["text", "image_url", 5, None]),
            max_size=2,
        ),
        max_size=2,
    )
    | JSON,
    max_size=4,
)


@given(st.dictionaries(FIELDS, JSON, max_size=6), st.lists(MESSAGE, max_size=3))
@settings(max_examples=500, deadline=None)
def test_any_object_is_planned_or_refused(
    fields: dict[str, Any], messages: list[dict[str, Any]]
) -> None:
    asked = {"model": "m", "messages": messages, **fields}
    with suppress(Invalid):
        planned(parse_object(msgspec.json.encode(asked)))
