"""What the cache is asked: prompt, scope, and whether it may help at all."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semcache_async.serve.apis.chat import CHAT
from semcache_async.serve.bypass import Bypass
from semcache_async.serve.completions.plan import Planner
from semcache_async.serve.errors import Invalid
from semcache_async.serve.http.body import parse_object
from semcache_async.serve.settings import Settings
from semcache_async.types import Scope
from tests.serve.completions.helpers import DATA_URL, UPSTREAM, USER, body, planned

# -- policy


BYPASSING: list[tuple[dict[str, Any], str | None]] = [
    (body(), None),
    (body(model=5), "shape"),
    (body(tools=[{"function": {"name": "f"}}], tool_choice="required"), None),
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
    (body(USER, {"role": "system", "content": "x"}), None),
    (body(USER, {"role": "assistant", "content": "x"}, {"role": "system"}), "last_message"),
    (body({"role": "system", "content": "x"}), "last_message"),
    (body(USER, {"role": "tool", "content": "x"}), "tool_message"),
    (body(temperature=0.9), None),
    (body(temperature=1.0), "temperature"),
    (body(temperature=1), "temperature"),
    (body(temperature=2**63), "temperature"),
    (body({**USER, "content": ""}), "prompt"),
    (body({**USER, "content": " \n"}), "prompt"),
    (body({**USER, "content": "a\x00b"}), "prompt"),
    (body({**USER, "content": "My name is Ann"}), "personal"),
    (body({**USER, "content": "What's the weather in Rome?"}), "time_bound"),
    (body({**USER, "content": "Tell me a joke"}), "anew"),
]


@pytest.mark.parametrize(("asked", "reason"), BYPASSING)
def test_what_bypasses_the_cache(asked: dict[str, Any], reason: str | None) -> None:
    plan = planned(asked)
    assert plan.reason == reason
    assert plan.prompt == ("-" if reason else plan.prompt)


def test_every_reason_says_what_it_means_and_is_met_somewhere() -> None:
    met = {reason for _, reason in BYPASSING if reason}
    met |= {Bypass.STATE, Bypass.BACKGROUND}  # of responses
    assert met | {Bypass.REQUEST, Bypass.TOO_LONG} == set(Bypass)
    assert all(reason.meaning.endswith(".") for reason in Bypass)


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
TEXT = {"type": "text", "text": "How do I pay?"}
SAID = {"role": "assistant", "content": "Sure."}


OTHERS = [
    body(model="m2"),
    body(temperature=0.5),
    body(top_p=0.5),
    body(seed=1),
    body(max_tokens=5),
    body(stop=["x"]),
    body(response_format={"type": "json_object"}),
    body(logprobs=True),
    body(reasoning_effort="low"),
    body(tools=[], tool_choice="required"),
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
    body(USER, SYSTEM),
    body(SYSTEM, USER, SYSTEM),
    body(tools=[{"function": {"name": "f"}}], tool_choice="required"),
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
        body({**USER, "name": None, "tool_calls": []}),
        body(top_p=1),
        body(top_p=1.0, n=1, stop=[], tools=[], tool_choice="auto", logit_bias={}),
        body(tools=[], tool_choice="none"),
        body(response_format={"type": "text"}, logprobs=False, parallel_tool_calls=True),
        body(presence_penalty=0, frequency_penalty=0.0, functions=[], modalities=["text"]),
        body(cache_prompt=True, keep_alive="5m"),
        body({**USER, "content": [{**TEXT, "cache_control": {"type": "ephemeral"}}]}),
    ],
)
def test_what_does_not_change_the_answer(same: dict[str, Any]) -> None:
    assert scope(same) == scope(body())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (body(stop="x"), body(stop=["x"])),
        (body(max_tokens=100), body(max_tokens=100.0)),
        (body(temperature=0), body(temperature=0.0)),
        (body(SYSTEM, USER), body({**SYSTEM, "content": [{**TEXT, "text": "Be brief."}]}, USER)),
        (body(SYSTEM, USER), body({**SYSTEM, "name": None}, USER)),
        (
            body(USER, SAID, USER),
            body({**USER, "content": [TEXT]}, {**SAID, "refusal": None, "annotations": []}, USER),
        ),
    ],
)
def test_two_ways_to_say_the_same_are_one_scope(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert scope(one) == scope(other)


def test_a_forced_function_is_answered_for_one_wording_alone() -> None:
    forced = {"tools": [{"function": {"name": "f"}}], "tool_choice": "required"}
    pay = scope(body(**forced))
    assert pay == scope(body(**forced))
    assert pay != scope(body({**USER, "content": "How do I pay"}, **forced))


def test_what_the_operator_masks_counts_for_nothing() -> None:
    def told(at: str) -> dict[str, Any]:
        question = f"Current Date: {at}\nHow do I pay?"
        return body({**SYSTEM, "content": f"Be brief. Now: {at}"}, {**USER, "content": question})

    mask = (r"Now: \S+", r"(?i)current date: \S+\n")
    plans = [planned(told(at), mask=mask) for at in ("2026-11-25", "2026-11-26")]
    assert [plan.reason for plan in plans] == [None, None]
    assert [plan.prompt for plan in plans] == ["How do I pay?"] * 2
    assert plans[0].scope == plans[1].scope
    assert plans[0].request.body == told("2026-11-25")
    plain = [planned(told(at)) for at in ("2026-11-25", "2026-11-26")]
    assert [plan.reason for plan in plain] == ["time_bound"] * 2


def test_the_upstream_is_scope() -> None:
    assert scope(body()).parameters["upstream"] == UPSTREAM
    request = CHAT.read(body())
    other = Planner(Settings(), lambda _: "simulated").plan(request, "", "").scope
    assert other != Planner(Settings(), lambda _: UPSTREAM).plan(request, "", "").scope


def test_who_asks_and_where_is_scope() -> None:
    assert scope(body(), tenant="a").tenant == "a"
    assert scope(body(), locale="de") != scope(body())
    assert scope(body(), corpus_version="2").corpus_version == "2"


def test_order_of_keys_is_none_of_the_scope() -> None:
    one = body(response_format={"a": 1, "b": 2}, top_p=1)
    two = {"top_p": 1, **body(response_format={"b": 2, "a": 1})}
    assert scope(one) == scope(two)


def test_a_plan_is_remembered_by_its_bytes_and_asker() -> None:
    planner = Planner(Settings(), lambda _: UPSTREAM)
    raw = msgspec.json.encode(body())
    plan = planner.plan(CHAT.read(parse_object(raw)), "a", "")
    asker = ("a", "", "")
    assert planner.recall(raw, *asker) is None
    planner.remember(plan, raw, *asker)
    assert planner.recall(raw, *asker) is plan
    assert planner.recall(raw, "b", "", "") is None
    assert planner.recall(raw, "a", "de", "") is None
    assert planner.recall(raw, "a", "", "x") is None
    assert planner.recall(raw + b" ", *asker) is None
    big = b" " * 5_000
    planner.remember(plan, big, *asker)
    assert planner.recall(big, *asker) is None


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
