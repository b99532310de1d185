"""Messages from streams, streams from messages, and both from what others say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from semcache_async.serve.apis import CHAT, MESSAGES, api_of, content_of, made_in
from semcache_async.serve.apis.api import NO_USAGE, Began, Call, Choice, Ended, Part, Said, Usage
from semcache_async.serve.apis.crossing import Crossing, given_in, told_in
from semcache_async.serve.apis.messages.message import Assembler
from semcache_async.serve.apis.messages.saying import event
from semcache_async.serve.apis.pieces import with_pieces
from semcache_async.serve.sse import EventSplitter, data_of, event_of

EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
USED = {"input_tokens": 7, "cache_read_input_tokens": 2, "output_tokens": 3}


def message(*content: Any, **fields: Any) -> dict[str, Any]:
    return {
        "model": "m-2026",
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USED,
        **fields,
    }


def text(said: str = "Like this.", **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def use(given: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": "toolu_1", "name": "f", "input": given or {}, **more}


def read(stream: bytes | Iterable[bytes]) -> Assembler:
    splitter, assembler = EventSplitter(), Assembler()
    for one in splitter.feed(stream if isinstance(stream, bytes) else b"".join(stream)):
        assert assembler.read(one).raw == one
    assert not splitter.rest
    return assembler


def accumulated(stream: bytes) -> dict[str, Any]:
    """As Anthropic's own SDK adds it up."""
    whole: Any = None
    buffers: dict[int, bytes] = {}
    for one in EventSplitter().feed(stream):
        name, data = one.split(b"\n")[0], data_of(one)
        told = EVENT.validate_json(data or b"")
        assert name == b"event: " + told.type.encode()
        if told.type != "message_stop":
            whole = accumulate_event(event=told, current_snapshot=whole, json_bufs=buffers)
    made: dict[str, Any] = whole.to_dict()
    return made


def replayed(whole: dict[str, Any], sizes: Any = ()) -> bytes:
    stored = with_pieces(msgspec.json.encode(whole).decode(), sizes)
    made = MESSAGES.replayed(stored, include_usage=False)
    assert made is not None
    assert made[1] == MESSAGES.usage_in(stored)
    return made[0]


def without_id(whole: dict[str, Any]) -> dict[str, Any]:
    assert whole["id"].startswith("msg_")
    return {name: value for name, value in whole.items() if name != "id"}


CITATION = {
    "type": "char_location",
    "cited_text": "x",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
}
SEARCH = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}}
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
blocks = st.one_of(
    st.builds(text, words),
    st.builds(text, words, citations=st.lists(st.just(CITATION), min_size=1, max_size=2)),
    st.builds(lambda said: {"type": "thinking", "thinking": said, "signature": "s=="}, words),
    st.just({"type": "redacted_thinking", "data": "xyz"}),
    st.builds(use, st.dictionaries(words, st.integers(-(2**53), 2**53) | words, max_size=3)),
    st.just(SEARCH),
)
messages = st.builds(
    lambda content, more: message(*content, **more),
    st.lists(blocks, max_size=4),
    st.sampled_from(
        [{}, {"stop_reason": "tool_use"}, {"stop_reason": "stop_sequence", "stop_sequence": "x"}]
    ),
)


@given(messages)
def test_a_replayed_message_is_the_same_message(whole: dict[str, Any]) -> None:
    stream = replayed(whole)
    assembler = read(stream)
    assert assembler.complete
    assert assembler.ended
    assert without_id(assembler.answer()) == without_id(whole)
    added_up = accumulated(stream)
    assert added_up.pop("stop_details") is None
    assert without_id(added_up) == without_id(whole)


def test_a_hit_whole_is_all_but_its_id() -> None:
    stored = '{"id":"msg_1","type":"message","x":1.50,"content":[{"type":"text","text":"a"}],'
    stored += '"usage":{"input_tokens":7,"cache_creation_input_tokens":1,"output_tokens":3}}'
    made, again = MESSAGES.reissued(stored), MESSAGES.reissued(stored)
    assert made is not None
    assert again is not None
    assert made[1] == Usage(8, 3)
    assert made[0][35:] == again[0][35:] == stored[12:].encode()
    assert made[0][:35] != again[0][:35]
    assert msgspec.json.decode(made[0])["id"].startswith("msg_")


def test_texts_come_in_the_pieces_in_which_they_came() -> None:
    sizes = [[2], [5, 5], [], [1, 2]]
    thought = {"type": "thinking", "thinking": "Hm", "signature": "s"}
    whole = message(thought, text("Like this."), use({"a": 1}), text("abc"))
    stream = replayed(whole, sizes)
    assert read(stream).sizes == sizes
    assert read(stream).answer()["content"] == whole["content"]
    assert b"semcache_pieces" not in stream


def test_no_event_is_long() -> None:
    long = "\x00\u20ac" * 20_000
    thought = {"type": "thinking", "thinking": long, "signature": "s"}
    whole = message(thought, text(long), use({"a": long}))
    stream = replayed(whole, [[40_000], [40_000]])
    assert max(map(len, EventSplitter().feed(stream))) < 16_384
    assert read(stream).answer()["content"] == whole["content"]


def test_what_ends_with_the_message_is_told_at_its_end() -> None:
    whole = message(
        text(),
        stop_details={"type": "refusal"},
        container={"id": "c", "expires_at": "2026-01-01T00:00:00Z"},
        context_management={"applied_edits": []},
    )
    stream = replayed(whole)
    events = [msgspec.json.decode(data_of(one) or b"") for one in EventSplitter().feed(stream)]
    assert events[0]["message"]["usage"]["output_tokens"] == 0
    assert events[0]["message"]["stop_details"] is None
    assert events[-2]["delta"].keys() == {
        *("stop_reason", "stop_sequence", "stop_details", "container")
    }
    assert without_id(read(stream).answer()) == without_id(whole)


# -- reading


START = event("message_start", message=message(stop_reason=None))
OPEN = event("content_block_start", index=0, content_block=text(""))
SAID = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Like this."})
CLOSE = event("content_block_stop", index=0)
ENDED = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5})
STOP = event("message_stop")
PING = event("ping")
WHOLE = [START, PING, OPEN, SAID, CLOSE, ENDED, STOP]


@pytest.mark.parametrize(
    "events",
    [
        WHOLE,
        WHOLE[:-1],
        [START, b": hello\n\n", OPEN, SAID, ENDED],
        [*WHOLE[:-1], b"data: [DONE]\n\n"],
        [START, event("made_up", x=1), *WHOLE[2:]],
        [START, event("content_block_start", index=0, content_block=text("Like ")), *[
            event("content_block_delta", index=0, delta={"type": "text_delta", "text": "this."})
        ], ENDED],
        [one.replace(b"event: ", b": ") for one in WHOLE],
    ],
)  # fmt: skip
def test_a_stream_that_is_whole(events: list[bytes]) -> None:
    assembler = read(events)
    assert assembler.complete
    assert assembler.error is None
    assert not assembler.garbage
    answer = assembler.answer()
    assert answer["content"] == [text()]
    assert (answer["stop_reason"], answer["usage"]) == ("end_turn", {**USED, "output_tokens": 5})
    assert assembler.ended == (events[-1] in (STOP, b"data: [DONE]\n\n", WHOLE[-1][7:])) or (
        events[-1].endswith(b'{"type":"message_stop"}\n\n')
    )


def delta(kind: str, index: Any = 0, **fields: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **fields})


TOOL = event("content_block_start", index=0, content_block=use())


@pytest.mark.parametrize(
    "events",
    [
        [],
        [PING],
        WHOLE[:-2],
        [*WHOLE[1:]],
        [STOP],
        [ENDED, STOP],
        [START, SAID, *WHOLE[4:]],
        [START, OPEN, OPEN, *WHOLE[3:]],
        [START, OPEN, delta("hologram_delta"), *WHOLE[3:]],
        [START, OPEN, delta("text_delta"), *WHOLE[3:]],
        [START, OPEN, delta("text_delta", text=5), *WHOLE[3:]],
        [START, OPEN, delta("text_delta", index="0", text="x"), *WHOLE[3:]],
        [START, TOOL, delta("input_json_delta", partial_json='{"a":'), *WHOLE[4:]],
        [START, event("content_block_start", index=0, content_block=[]), *WHOLE[3:]],
        [START, event("content_block_start", index=0, content_block=text(None)), *WHOLE[3:]],  # type: ignore[arg-type]
        [event("message_start", message=5), *WHOLE[1:]],
        [event("message_start", message={"usage": "x"}), *WHOLE[1:]],
        [*WHOLE[:5], event("message_delta", delta=5), STOP],
        [*WHOLE[:6], SAID, STOP],
    ],
)
def test_a_stream_that_does_not_add_up(events: list[bytes]) -> None:
    assembler = read(events)
    assert not assembler.complete
    assert assembler.error is None
    assert assembler.ended == (STOP in events)


def test_errors_and_garbage_in_a_stream() -> None:
    overloaded = {"type": "overloaded_error", "message": "Overloaded"}
    for told in (event("error", error=overloaded), b'data: {"error": {"message": "no"}}\n\n'):
        assembler = read([*WHOLE[:4], told])
        assert assembler.error
        assert not assembler.complete
    for bad in (b"data: {nonsense\n\n", b"data: [1]\n\n", b"data: \xff\n\n"):
        assert read([START, bad]).garbage
    large = Assembler(max_bytes=100)
    for one in WHOLE:
        large.read(one)
    assert not large.complete


def test_usage_as_servers_tell_it() -> None:
    late = event("message_delta", delta={"stop_reason": "end_turn"}, usage=USED)
    none = event("message_delta", delta={"stop_reason": "end_turn"})
    zero = event("message_start", message=message(usage={"input_tokens": 0, "output_tokens": 0}))
    bare = event("message_start", message={"role": "assistant"})
    for events, usage in (
        ([zero, OPEN, SAID, late], USED),
        ([START, OPEN, SAID, none], USED),
        ([bare, OPEN, SAID, none], {}),
    ):
        assembler = read(events)
        assert assembler.complete
        assert assembler.answer()["usage"] == usage
    assert MESSAGES.usage_in(data_of(START) or b"") == Usage(9, 3)
    assert MESSAGES.usage_in(data_of(late) or b"") == Usage(9, 3)
    assert MESSAGES.usage_in(data_of(zero) or b"") == NO_USAGE
    for strange in (b"", b"[]", b'{"usage": 5}', b'{"message": "x"}', b'{"usage": {"x": 1}}'):
        assert MESSAGES.usage_in(strange) == NO_USAGE


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "content", "input", "name", "index", "usage", "id"]),
            st.sampled_from(["text", "tool_use", "message", "text_delta"]) | inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
KINDS = st.sampled_from(
    [
        *("message_start", "message_delta", "message_stop", "content_block_start", "ping"),
        *("content_block_delta", "content_block_stop"),
    ]
)
told = st.fixed_dictionaries(
    {"type": KINDS},
    optional={
        "index": st.integers(0, 2) | values,
        "delta": st.fixed_dictionaries(
            {"type": st.sampled_from(["text_delta", "input_json_delta", "thinking_delta"])},
            optional={"text": values, "partial_json": values, "stop_reason": values},
        )
        | values,
        "message": values,
        "content_block": values,
        "usage": values,
    },
)


@given(st.lists(told, max_size=8), values)
def test_whatever_comes_nothing_raises(events: list[dict[str, Any]], whole: Any) -> None:
    assembler = Assembler()
    crossing = Crossing(MESSAGES, CHAT)
    for one in events:
        data = msgspec.json.encode(one)
        frame = assembler.read(b"data: %b\n\n" % data)
        crossing.cross(frame)
        MESSAGES.usage_in(data)
        told_in(frame.raw)
    assert isinstance(assembler.complete, bool)
    assert isinstance(assembler.sizes, list)
    if assembler.complete:
        answer = assembler.answer()
        MESSAGES.said(answer)
        kept = msgspec.json.encode(answer).decode()
        MESSAGES.replayed(with_pieces(kept, assembler.sizes), include_usage=False)
    for stored in ({"type": "message", "content": whole}, {"content": whole}):
        MESSAGES.said(stored)
        kept = msgspec.json.encode(stored).decode()
        MESSAGES.reissued(kept)
        MESSAGES.replayed(kept, include_usage=False)
        given_in(kept, CHAT)
        content_of(kept)


# -- what is said


def test_what_a_message_says() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    said = MESSAGES.said(message(thought, text("Like "), text("this."), use({"a": [1]})))
    calls = (Call("f", '{"a":[1]}', "toolu_1"),)
    assert said == Said("m-2026", (Choice("end_turn", "Like this.", calls),), Usage(9, 3))
    assert MESSAGES.said(message(thought)).choices[0].text is None  # type: ignore[union-attr]
    refused = MESSAGES.said(message(text(), stop_reason="refusal"))
    assert refused is not None
    assert refused.choices[0].refused
    for strange in ({}, {"content": "x"}, {"content": ["x"]}, {"content": [{"type": "text"}]}):
        assert MESSAGES.said(strange) is None
    broken = MESSAGES.said(message({"type": "tool_use", "input": 5}))
    assert broken is not None
    assert broken.choices[0].calls == (Call("", ""),)


@pytest.mark.parametrize(
    ("choice", "content", "reason"),
    [
        (Choice("stop", "a"), [text("a")], "end_turn"),
        (Choice("eos", "a"), [text("a")], "end_turn"),
        (Choice("length", "a"), [text("a")], "max_tokens"),
        (Choice("content_filter", "a"), [text("a")], "refusal"),
        (Choice("stop", None, refused=True), [], "refusal"),
        (Choice("stop", ""), [], "end_turn"),
        (Choice("tool_calls", None, (Call("f", '{"a":1}', "c1"),)), [use({"a": 1})], "tool_use"),
        (Choice("stop", "b", (Call("f", "{}", "c1"),)), [text("b"), use()], "tool_use"),
        (Choice("length", None, (Call("f", '{"a":', "c1"),)), [use()], "max_tokens"),
        (Choice("completed", "a"), [text("a")], "end_turn"),
    ],
)
def test_a_message_that_says_so(choice: Choice, content: list[Any], reason: str) -> None:
    made = MESSAGES.wrote(Said("m", (choice,), Usage(7, 3)))
    Message.model_validate(made)
    for block in content:
        if block["type"] == "tool_use":
            block["id"] = "c1"
    assert (made["content"], made["stop_reason"], made["model"]) == (content, reason, "m")
    assert made["usage"] == {"input_tokens": 7, "output_tokens": 3}
    assert made["id"].startswith("msg_")
    assert made_in(msgspec.json.encode(made)) == (MESSAGES, made)


def test_whose_it_is() -> None:
    assert api_of(message(text())) is MESSAGES
    assert told_in(START) is told_in(STOP) is MESSAGES
    assert told_in(PING) is None
    assert api_of({"type": "message"}) is None
    assert api_of({"type": ["message"]}) is None


# -- streams of others


def written(*deltas: Any) -> bytes:
    writer = MESSAGES.writer()
    return b"".join([*(writer.write([one]) for one in deltas), writer.end()])


def test_a_stream_of_what_others_say() -> None:
    stream = written(
        Began("m"),
        Part("Let me "),
        Part("see."),
        Part("", 0, "f", "c1"),
        Part('{"a":', 0),
        Part("1}", 0),
        Part("", 1, "g", ""),
        Part("{}", 1),
        Ended("tool_calls"),
        Ended("", Usage(7, 3)),
    )
    made = accumulated(stream)
    second = made["content"][2].pop("id")
    assert second.startswith("toolu_")
    assert made["content"] == [
        text("Let me see."),
        {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "name": "g", "input": {}},
    ]
    assert (made["stop_reason"], made["model"]) == ("tool_use", "m")
    assert made["usage"] == {"input_tokens": 7, "output_tokens": 3}
    assembler = read(stream)
    assert assembler.complete
    assert without_id(assembler.answer())["stop_reason"] == "tool_use"
    kinds = [one.split(b"\n")[0][7:].decode() for one in EventSplitter().feed(stream)]
    assert kinds[:4] == ["message_start", "content_block_start", *["content_block_delta"] * 2]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 3


@given(st.lists(st.tuples(st.sampled_from([None, 0, 1, 2]), words), max_size=12))
def test_what_others_mix_comes_in_blocks(parts: list[tuple[int | None, str]]) -> None:
    begun: set[int] = set()
    deltas: list[Part] = []
    for call, said in parts:
        if call is not None and call not in begun:
            begun.add(call)
            deltas.append(Part("", call, f"f{call}", f"c{call}"))
            deltas.append(Part("{", call))
            deltas.append(Part("}", call))
        deltas.append(Part(said if call is None else "", call))
    made = read(written(*deltas, Ended("stop"))).answer()
    texts = "".join(block["text"] for block in made["content"] if block["type"] == "text")
    assert texts == "".join(said for call, said in parts if call is None)
    called = [block["name"] for block in made["content"] if block["type"] == "tool_use"]
    assert sorted(called) == sorted(f"f{call}" for call in begun)
    assert made["stop_reason"] == ("tool_use" if begun else "end_turn")


def test_a_stream_that_says_nothing() -> None:
    made = read(written())
    assert made.complete
    assert made.answer()["content"] == []
    assert made.answer()["stop_reason"] is None


@given(messages)
def test_a_message_as_a_chat_and_back(whole: dict[str, Any]) -> None:
    told, crossing = MESSAGES.said(whole), Crossing(MESSAGES, CHAT)
    assert told is not None
    splitter, reader = EventSplitter(), CHAT.reader()
    frames = splitter.feed(replayed(whole))
    crossed = [crossing.cross(MESSAGES.reader().read(one)).raw for one in frames]
    for one in EventSplitter().feed(b"".join([*crossed, *[frame.raw for frame in crossing.end()]])):
        reader.read(one)
    assert reader.complete
    back = CHAT.said(reader.answer())
    assert back is not None
    (ours,), (theirs,) = told.choices, back.choices
    assert (theirs.text or "") == (ours.text or "")
    assert theirs.calls == ours.calls
    assert back.usage == told.usage


def test_what_was_said_before_in_short() -> None:
    began = {"type": "compaction", "content": None, "encrypted_content": None}
    short = {"content": "In short.", "encrypted_content": "x"}
    stream = [
        START,
        event("content_block_start", index=0, content_block=began),
        event("content_block_delta", index=0, delta={"type": "compaction_delta", **short}),
        CLOSE,
        ENDED,
        STOP,
    ]
    whole = read(stream).answer()
    assert whole["content"] == [{"type": "compaction", **short}]
    assert read(replayed(whole)).answer()["content"] == whole["content"]


def chunk(**delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return event_of(msgspec.json.encode({"model": "m-2026", "choices": [choice]}))


def calls(name: str, id_: str, arguments: Any, **more: Any) -> bytes:
    function = {"name": name, "arguments": arguments}
    return chunk(tool_calls=[{"id": id_, "type": "function", "function": function, **more}])


@pytest.mark.parametrize(
    "chunks",
    [
        [calls("f", "c1", '{"a":1}'), calls("f", "c2", '{"a":2}')],
        [calls("f", "c1", '{"a":1}', index=0), calls("f", "c2", '{"a":2}', index=0)],
        [calls("f", "c1", {"a": 1}, index=0), calls("f", "c2", {"a": 2}, index=1)],
        [
            calls("f", "c1", None, index=0),
            calls("f", "c1", '{"a":', index=0),
            calls("", "c0", "1}", index=0),
            calls("f", "c2", '{"a":2}', index=5),
        ],
    ],
)
def test_calls_as_servers_of_chats_number_them(chunks: list[bytes]) -> None:
    crossing = Crossing(CHAT, MESSAGES)
    crossed = [crossing.cross(CHAT.reader().read(one)).raw for one in chunks]
    whole = read(b"".join([*crossed, *[frame.raw for frame in crossing.end()]])).answer()
    assert whole["content"] == [use({"a": 1}, id="c1"), use({"a": 2}, id="c2")]
    assert whole["model"] == "m-2026"


def test_a_call_without_arguments_keeps_its_name() -> None:
    function = {"name": "f", "arguments": None}
    message = {"role": "assistant", "tool_calls": [{"id": "c1", "function": function}]}
    told = CHAT.said({"choices": [{"message": message, "finish_reason": "tool_calls"}]})
    assert told is not None
    assert told.choices[0].calls == (Call("f", "", "c1"),)
