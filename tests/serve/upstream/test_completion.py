"""Completions from streams, and streams from completions."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache_async.serve.apis.api import Frame
from semcache_async.serve.apis.chat.completion import Assembler
from semcache_async.serve.apis.chat.cutting import cut_text
from semcache_async.serve.apis.chat.replay import DONE, replay
from semcache_async.serve.sse import EventSplitter, data_of, event_of

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
words = st.text("abc", min_size=1, max_size=3).map("x_".__add__)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
unknown = st.dictionaries(words, values, max_size=2)
calls = st.builds(
    lambda id_, name, arguments: {
        "id": id_,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    },
    *(words, words, text),
)
messages = st.builds(
    lambda content, optional, more: {"role": "assistant", "content": content, **optional, **more},
    st.none() | text,
    st.fixed_dictionaries(
        {},
        optional={
            "refusal": st.none() | text,
            "reasoning_content": text,
            "tool_calls": st.lists(calls, min_size=1, max_size=3),
            "annotations": st.lists(unknown, max_size=2),
        },
    ),
    unknown,
)
token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
choices = st.builds(
    lambda message, finish_reason, optional: {
        "message": message,
        "finish_reason": finish_reason,
        **optional,
    },
    messages,
    st.sampled_from(["stop", "length", "tool_calls"]),
    st.fixed_dictionaries(
        {},
        optional={
            "logprobs": st.none() | st.just({"content": [token, token], "refusal": None}),
            "stop_reason": st.none() | st.integers() | text,
            "content_filter_results": unknown,
        },
    ),
)
usage = {"prompt_tokens": 3, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1}}
completions = st.builds(
    lambda several, optional, more: {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [{"index": at, **choice} for at, choice in enumerate(several)],
        **optional,
        **more,
    },
    st.lists(choices, min_size=1, max_size=3),
    st.fixed_dictionaries(
        {},
        optional={
            "usage": st.just(usage),
            "system_fingerprint": st.none() | text,
            "service_tier": st.just("default"),
        },
    ),
    unknown,
)


def completion(content: Any = "Yes.", reason: str = "stop", **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": content, **message}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": reason}],
        "usage": usage,
    }


def chunk(delta: dict[str, Any], reason: str | None = None, index: int = 0) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": reason}
    return {"id": "1", "object": "chat.completion.chunk", "created": 7, "choices": [choice]}


def read(stream: bytes) -> Assembler:
    splitter, assembler = EventSplitter(), Assembler()
    for event in [*splitter.feed(stream), *splitter.end()]:
        assert assembler.read(event).raw == event
    return assembler


def streamed(*chunks: dict[str, Any]) -> Assembler:
    return read(b"".join(event_of(json.dumps(one).encode()) for one in chunks) + DONE)


@given(completions)
def test_a_replayed_completion_is_the_same_completion(whole: dict[str, Any]) -> None:
    events = replay(whole, id="chatcmpl-1", created=7, include_usage=True)
    assembler = read(b"".join(events))
    assert assembler.answer() == whole
    assert assembler.complete


@given(completions, st.booleans())
def test_a_replay_is_correct_in_form(whole: dict[str, Any], include_usage: bool) -> None:
    *events, done = replay(whole, id="new", created=9, include_usage=include_usage)
    assert done == b"data: [DONE]\n\n"
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events]
    assert all(event.endswith(b"\n\n") and event.count(b"\n") == 2 for event in events)
    for one in chunks:
        assert (one["id"], one["created"], one["model"]) == ("new", 9, "m")
        assert one["object"] == "chat.completion.chunk"
        assert ("usage" in one) is include_usage
    told = [one for one in chunks if one["choices"] == []]
    assert [one["usage"] for one in told] == [usage] * (include_usage and "usage" in whole)
    assert not told or chunks[-1] is told[0]
    for choice in whole["choices"]:
        own = [
            part for one in chunks for part in one["choices"] if part["index"] == choice["index"]
        ]
        assert own[0]["delta"]["role"] == "assistant"
        assert [part["finish_reason"] for part in own[:-1]] == [None] * (len(own) - 1)
        assert own[-1]["finish_reason"] == choice["finish_reason"]
        assert own[-1]["delta"] == {}


LONG = "\0\u20ac" * 50_000
LONG_TOKENS = [{**token, "token": "\u20ac", "bytes": [226, 130, 172]}] * 4_000


@pytest.mark.parametrize(
    "whole",
    [
        completion(LONG, reasoning_content=LONG),
        completion("a", reasoning=LONG, made_up={"deep": {"text": LONG}, "id": "x"}),
        completion(None, tool_calls=[{"id": "a", "type": "function", "function": {"name": "f"}}]),
        completion(
            None,
            tool_calls=[
                {"id": at, "type": "function", "function": {"name": "f", "arguments": LONG}}
                for at in "ab"
            ],
        ),
        completion("a", annotations=[{"url": "u" * 50}] * 2_000),
        completion("a", audio={"id": "x", "data": "A" * 100_000}),
    ],
)
def test_whatever_is_long_comes_in_short_lines(whole: dict[str, Any]) -> None:
    for tokens in None, LONG_TOKENS:
        whole["choices"][0]["logprobs"] = tokens and {"content": tokens, "refusal": None}
        events = replay(whole, id="chatcmpl-1", created=7, include_usage=True)
        assert max(map(len, events)) < 2**14
        assert read(b"".join(events)).answer() == whole


def test_a_long_element_of_a_list_comes_as_several_of_its_kind() -> None:
    thought = {"type": "reasoning.text", "index": 0, "text": LONG}
    events = replay(
        completion("a", reasoning_details=[thought]), id="1", created=7, include_usage=False
    )
    assert max(map(len, events)) < 2**14
    (choice,) = read(b"".join(events)).answer()["choices"]
    parts = choice["message"]["reasoning_details"]
    assert "".join(part["text"] for part in parts) == LONG
    assert {(part["type"], part["index"]) for part in parts} == {("reasoning.text", 0)}


def test_fields_of_the_whole_come_once_and_apart() -> None:
    fields = {name: [name * 2_000] for name in "abcdef"}
    events = replay(completion() | fields, id="1", created=7, include_usage=False)
    assert max(map(len, events[:2])) < 2**14
    found = read(b"".join(events)).answer()
    assert {name: found[name] for name in fields} == fields


@given(st.text(max_size=60), st.lists(st.integers(0, 20), max_size=8))
def test_content_comes_in_the_pieces_it_had(said: str, sizes: list[int]) -> None:
    pieces = list(cut_text(said, sizes))
    assert "".join(pieces) == said
    assert [len(piece) for piece in pieces][:-1] == [size for size in sizes if size][
        : max(0, len(pieces) - 1)
    ]


RECORDED = b"".join(
    [
        b"\xef\xbb\xbf: connected\n\n",
        *(
            event_of(json.dumps(one, ensure_ascii=False).encode())
            for one in (
                chunk({"role": "assistant", "content": "", "refusal": None}),
                chunk({"reasoning_content": "Hm, "}),
                chunk({"reasoning_content": "ok."}),
                chunk({"content": "Grüße"}),
                chunk({"content": " 👋\n\n"}),
                chunk({"content": "bye"}),
                chunk({}, "stop"),
                {"id": "1", "created": 7, "choices": [], "usage": usage},
            )
        ),
        DONE,
    ]
)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_cut_before_its_last_word_is_never_complete(line_end: bytes) -> None:
    stream = RECORDED.replace(b"\n", line_end)
    said = stream.index(b'"stop"') + len(b'"stop"}]}' + 2 * line_end)
    # half the last CRLF is a CR, which ends the event as well
    for length in range(said - (line_end == b"\r\n")):
        assembler = read(stream[:length])
        assert not assembler.complete
        assembler.answer()
    assert read(stream[:said]).complete
    assert read(stream).complete


def test_a_recorded_stream() -> None:
    assert read(RECORDED).answer() == {
        "id": "1",
        "object": "chat.completion",
        "created": 7,
        "model": "",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Grüße 👋\n\nbye",
                    "refusal": None,
                    "reasoning_content": "Hm, ok.",
                },
                "finish_reason": "stop",
            }
        ],
        "usage": usage,
    }


def test_tool_calls_grow_by_index() -> None:
    def call(index: int, arguments: str, **more: Any) -> dict[str, Any]:
        function = {"arguments": arguments, **more.pop("function", {})}
        return {"tool_calls": [{"index": index, "function": function, **more}]}

    first = {"id": "a", "type": "function", "function": {"name": "look"}}
    second = {"id": "b", "type": "function", "function": {"name": "find"}}
    assembler = streamed(
        chunk({"role": "assistant", "content": None, "tool_calls": None}),
        chunk(call(0, "", **first)),
        chunk(call(1, "{", **second)),
        chunk(call(0, '{"q":')),
        chunk(call(0, "1}", **first)),  # some servers repeat these
        chunk(call(1, "}")),
        chunk({"role": "assistant"}, "tool_calls"),
    )
    assert assembler.complete
    assert assembler.answer()["choices"][0]["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "look", "arguments": '{"q":1}'}},
            {"id": "b", "type": "function", "function": {"name": "find", "arguments": "{}"}},
        ],
    }


def test_a_choice_without_an_index_is_known_by_its_place() -> None:
    one, two = chunk({"content": "A"}), chunk({"content": "a"}, "stop")
    del one["choices"][0]["index"], two["choices"][0]["index"]
    assembler = streamed(one, two)
    assert assembler.answer()["choices"][0]["message"]["content"] == "Aa"
    assert assembler.complete


def test_choices_may_come_in_turns() -> None:
    assembler = streamed(
        chunk({"content": "B"}, index=1),
        chunk({"content": "A"}, index=0),
        chunk({"content": "b"}, "stop", index=1),
        chunk({"content": "a"}, "stop", index=0),
    )
    said = [choice["message"]["content"] for choice in assembler.answer()["choices"]]
    assert said == ["Aa", "Bb"]
    assert assembler.complete


def test_one_choice_without_an_end_is_not_complete() -> None:
    assert not streamed(chunk({"content": "a"}, "stop"), chunk({"content": "b"}, index=1)).complete


def test_log_probabilities_are_joined() -> None:
    one = chunk({"content": "a"})
    one["choices"][0]["logprobs"] = {"content": [token], "refusal": None}
    ended = chunk({}, "stop")
    ended["choices"][0]["logprobs"] = None
    found = streamed(one, one, ended).answer()["choices"][0]["logprobs"]
    assert found == {"content": [token, token], "refusal": None}


def test_padding_is_dropped_and_the_rest_kept() -> None:
    one, two = chunk({"content": "a"}), chunk({}, "stop")
    one |= {"obfuscation": "x7", "usage": None, "service_tier": None, "citations": ["u"]}
    two |= {"obfuscation": "y", "usage": None, "service_tier": "default"}
    found = streamed(one, two).answer()
    assert (found["service_tier"], found["citations"]) == ("default", ["u"])
    assert found.keys().isdisjoint({"obfuscation", "usage"})


@pytest.mark.parametrize(
    "strange",
    [
        b"data: <html>\n\n",
        b"data: 7\n\n",
        b'data: {"choices":7}\n\n',
        b'data: {"choices":{"a":1}}\n\n',
        b'data: {"choices":[7]}\n\n',
        b'data: {"choices":[{"index":"0","delta":{"content":"a"}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":"a"}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":["a"]}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[7]}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":"0"}]}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":"\xff"}}]}\n\n',
        b"data: " + b'{"a":' * 100_000 + b"\n\n",
        b'data: {"error":{"message":"overloaded"}}\n\n',
    ],
)
def test_a_strange_chunk_is_passed_on_and_never_kept(strange: bytes) -> None:
    good = event_of(json.dumps(chunk({"content": "a"}, "stop")).encode())
    assert read(good + DONE).complete
    assembler = read(good + strange + good + DONE)
    assert not assembler.complete
    assert assembler.garbage == (not _is_object(data_of(strange) or b""))
    assembler.answer()


def _is_object(data: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(data), dict)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False


def test_the_streams_own_error_is_told() -> None:
    assert streamed({"error": {"message": "overloaded"}}).error == {"message": "overloaded"}


def test_more_than_the_limit_is_passed_on_and_not_kept() -> None:
    assembler = Assembler(max_bytes=1_000)
    event = event_of(json.dumps(chunk({"content": "a" * 50}, "stop")).encode())
    assert [assembler.read(event) for _ in range(20)] == [Frame(event)] * 20
    assembler.read(DONE)
    assert not assembler.complete


def test_the_usage_event_is_told_apart() -> None:
    events = replay(completion(), id="1", created=7, include_usage=True)
    assembler = Assembler()
    assert [assembler.read(event).is_usage for event in events] == [False] * 3 + [True, False]
    for other in (b'{"choices":[],"prompt_filter_results":[]}', b'{"choices":[],"usage":null}'):
        assert not assembler.read(event_of(other)).is_usage
