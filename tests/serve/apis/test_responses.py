"""What responses say, how their streams add up, and how they are given out again."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from semcache_async.serve.apis import RESPONSES, api_of, content_of
from semcache_async.serve.apis.api import Began, Call, Delta, Ended, Part, Usage
from semcache_async.serve.apis.pieces import with_pieces
from semcache_async.serve.apis.responses.following import ResponseReader
from semcache_async.serve.apis.responses.stored import marked
from semcache_async.serve.sse import EventSplitter, data_of
from tests.serve.responding import (
    called,
    event,
    events_of,
    message,
    response,
    text_part,
    thought,
)

WEB = {"id": "ws_1", "type": "web_search_call", "status": "completed"}
MARK = "-semcache-0123456789"
STRANGE: list[Any] = [None, 5, "x", [], {}, [5], [None], {"a": 1}, True]


def written(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def decoded(stream: bytes) -> list[dict[str, Any]]:
    events = EventSplitter().feed(stream)
    assert b"".join(events) == stream
    return [msgspec.json.decode(data_of(one) or b"") for one in events]


def read(*events: bytes) -> ResponseReader:
    reader = ResponseReader()
    for one in events:
        assert reader.read(one).raw == one
    return reader


# -- what they say


@pytest.mark.parametrize(
    ("told", "finish", "text", "calls", "refused"),
    [
        (response(), "completed", "Like this.", (), False),
        (
            response(thought(), message(text_part("a"), text_part("b")), message(text_part("c"))),
            *("completed", "abc", (), False),
        ),
        (response(called()), "tool_calls", None, (Call("f", '{"a":1}', "call_1"),), False),
        (response(called() | {"name": None}), "tool_calls", None, (Call("", ""),), False),
        (response(WEB, message()), "tool_calls", "Like this.", (Call("", ""),), False),
        (response(message({"type": "refusal", "refusal": "x"})), "completed", None, (), True),
        (
            response(status="incomplete", incomplete_details={"reason": "content_filter"}),
            *("content_filter", "Like this.", (), False),
        ),
        (response(status="incomplete"), "incomplete", "Like this.", (), False),
        (response(status="failed"), "failed", "Like this.", (), False),
        (response(status=None), "None", "Like this.", (), False),
    ],
)
def test_what_a_response_says(
    told: dict[str, Any], finish: str, text: str | None, calls: tuple[Call, ...], refused: bool
) -> None:
    said = RESPONSES.said(told)
    assert said is not None
    assert (said.model, said.usage) == ("m-2026", Usage(7, 3))
    assert said.choices == ((finish, text, calls, refused),)


def test_strange_shapes_say_nothing() -> None:
    for value in STRANGE:
        for told in (
            response(output=value),
            response(message(content=value)),
            response(message({"type": "output_text", "text": value})),
            response({"type": value}),
            response(called(arguments=value)),
            response(usage=value, incomplete_details=value, model=value),
            {"object": "response", "type": value},
        ):
            RESPONSES.said(told)
            text = written(told)
            RESPONSES.usage_in(text)
            for made in (
                RESPONSES.reissued(text),
                RESPONSES.replayed(text, include_usage=False),
                marked(text.encode(), MARK),
            ):
                assert made is None or made
    assert RESPONSES.said(response(output=None)) is None
    assert RESPONSES.said(response(message(content=None))) is None
    assert RESPONSES.said(response(message(text_part(text=5)))) is None  # type: ignore[arg-type]


def test_whose_it_is() -> None:
    assert api_of(response()) is RESPONSES
    assert api_of({"type": "response.created", "response": {}}) is RESPONSES
    assert api_of({"type": "error"}) is api_of({"object": "responses"}) is None
    assert content_of(written(response())) == "Like this."


def test_the_usage_is_in_a_response_and_in_its_last_event() -> None:
    assert RESPONSES.usage_in(written(response())) == Usage(7, 3)
    last = data_of(events_of(response())[-1])
    assert RESPONSES.usage_in(last or b"") == Usage(7, 3)
    for said in (b"", b"5", written(response(usage=None)), b'{"response":{"usage":5}}'):
        assert RESPONSES.usage_in(said) == Usage()


# -- streams


def test_a_stream_adds_up_to_the_response_at_its_end() -> None:
    told = response(message(text_part("One two."), text_part("Three.")), message(text_part("Four")))
    reader = read(*events_of(told))
    assert (reader.complete, reader.ended, reader.answer()) == (True, True, told)
    assert reader.sizes == [[4, 4], [6], [4]]


def test_where_the_end_lacks_the_items_those_before_it_are_taken() -> None:
    told = response(message(), message(text_part("More."), id="msg_2"))
    events = events_of(told)
    nothing: list[Any] = [[], None]
    for output in nothing:
        last = event("response.completed", response={**told, "output": output})
        reader = read(*events[:-1], last)
        assert (reader.complete, reader.answer()) == (True, told)
        assert reader.sizes == [[5, 5], [5]]
    lone = read(events[0], event("response.completed", response={**told, "output": []}))
    assert lone.answer()["output"] == []
    few = ResponseReader(max_bytes=10)
    for one in (*events[:-1], event("response.completed", response={**told, "output": []})):
        few.read(one)
    assert few.answer()["output"] == []


@pytest.mark.parametrize("kind", ["incomplete", "failed"])
def test_other_ends(kind: str) -> None:
    told = response(status=kind)
    reader = read(
        event("response.created", response=told), event(f"response.{kind}", response=told)
    )
    assert (reader.complete, reader.ended, reader.error) == (True, True, None)
    assert reader.answer()["status"] == kind


def test_what_is_no_end() -> None:
    events = events_of(response())
    unknown = event("response.made_up.delta", delta=5)
    for sent in (events[:-1], [b": hi\n\n", unknown, b"event: response.completed\n\n"], []):
        reader = read(*sent)
        assert (reader.complete, reader.ended, reader.error, reader.garbage) == (
            *(False, False),
            *(None, False),
        )
    done = read(*events[:-1], b"data: [DONE]\n\n")
    assert (done.complete, done.ended) == (False, True)
    nothing = read(event("response.completed", response=None))
    assert (nothing.complete, nothing.ended, nothing.sizes) == (False, True, [])


def test_errors_and_garbage() -> None:
    assert read(event("error", message="x", code=None)).error == {
        "type": "error",
        "message": "x",
        "code": None,
    }
    assert read(event("error", error={"message": "x"})).error == {"message": "x"}
    assert read(b'data: {"error":{"message":"x"}}\n\n').error == {"message": "x"}
    assert read(b"data: [1]\n\n").garbage
    assert read(b"data: {\n\n").garbage


def test_whatever_comes_nothing_is_raised() -> None:
    chance = random.Random(0)
    kinds = [msgspec.json.decode(data_of(one) or b"")["type"] for one in events_of(response())]
    for _ in range(2_000):
        reader = ResponseReader()
        for _ in range(chance.randint(1, 6)):
            names = ("response", "item", "output_index", "content_index", "delta", "error", "part")
            told = {name: chance.choice([*STRANGE, 0, response()]) for name in names}
            told = {name: told[name] for name in chance.sample(names, 5)}
            kind = chance.choice([*kinds, "error", None])
            data = msgspec.json.encode({"type": kind, **told})
            reader.read(b"data: %b\n\n" % data)
            RESPONSES.deltas(data)
        if reader.complete:
            assert all(isinstance(sizes, list) for sizes in reader.sizes)
            RESPONSES.said(reader.answer())


# -- given out again


def test_a_replayed_stream_adds_up_to_what_it_was_made_of() -> None:
    told = response(
        thought(content=[{"type": "reasoning_text", "text": "Hm. " * 1_000}], status="completed"),
        message(text_part("One two."), {"type": "refusal", "refusal": "But not three."}),
        called('{"a":"' + "x" * 3_000 + '"}'),
        WEB,
        message({"type": "made_up", "x": 1}, text_part("")),
    )
    text = with_pieces(written(told), [[4, 4], []])
    made = RESPONSES.replayed(text, include_usage=False)
    assert made is not None
    body, usage = made
    assert usage == Usage(7, 3)
    events = decoded(body)
    assert [one["sequence_number"] for one in events] == list(range(len(events)))
    final = events[-1]["response"]
    mark = final["id"].removeprefix("resp_1")
    assert [item["id"].removesuffix(mark) for item in final["output"]] == [
        item["id"] for item in told["output"]
    ]
    assert content_of(written(final)) == content_of(text)
    for at, item in enumerate(final["output"]):
        own = [one for one in events if one.get("output_index") == at]
        assert own[0]["type"] == "response.output_item.added"
        assert own[-1] == {
            "type": "response.output_item.done",
            "output_index": at,
            "item": item,
            "sequence_number": own[-1]["sequence_number"],
        }
        assert {one["item_id"] for one in own[1:-1]} <= {item["id"]}
        for name, parts in (("summary_index", "summary"), ("content_index", "content")):
            for n, part in enumerate(item.get(parts) or ()):
                said = [one for one in own if one.get(name) == n]
                assert said[0]["type"].endswith("_part.added")
                assert said[-1]["type"].endswith("_part.done")
                assert said[-1]["part"] == part
                whole = part.get("text", part.get("refusal"))
                if whole is not None:
                    assert "".join(one.get("delta", "") for one in said) == whole
                    assert whole in (said[-2].get("text"), said[-2].get("refusal"))
    arguments = [one for one in events if one["type"].startswith("response.function_call")]
    assert "".join(one.get("delta", "") for one in arguments) == told["output"][2]["arguments"]
    assert arguments[-1]["arguments"] == told["output"][2]["arguments"]
    assert max(len(one.get("delta", "")) for one in events) <= 1_000


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed"])
def test_a_replayed_stream_ends_as_the_response_did(status: str) -> None:
    made = RESPONSES.replayed(written(response(status=status)), include_usage=False)
    assert made is not None
    assert decoded(made[0])[-1]["type"] == f"response.{status}"


def test_each_time_is_a_new_one() -> None:
    text = written(response())
    ids = set()
    for _ in range(3):
        for made in (
            RESPONSES.reissued(text),
            RESPONSES.replayed(text, include_usage=False),
        ):
            assert made is not None
            whole = made[0].startswith(b"{")
            found = msgspec.json.decode(made[0]) if whole else decoded(made[0])[0]["response"]
            ids.add(found["id"])
    assert len(ids) == 6


def test_what_is_no_response_is_not_given_out() -> None:
    for text in ("", "x", "5", "{}", '{"object":"response"}', '{"object":"chat.completion"}'):
        assert RESPONSES.reissued(text) is None
        assert RESPONSES.replayed(text, include_usage=False) is None
        assert marked(text.encode(), MARK) == text.encode()


def test_ids_and_times_are_left_out_where_the_upstream_has_none() -> None:
    told = response(message(id=None), completed_at=None)
    del told["created_at"]
    made = RESPONSES.reissued(written(told))
    assert made is not None
    found = msgspec.json.decode(made[0])
    assert (found["completed_at"], found["output"][0]["id"]) == (None, None)
    assert "created_at" not in found


# -- as another API's


def test_what_events_say_is_written_as_a_stream_again() -> None:
    told = response(message(text_part("One two.")), called())
    deltas: list[Delta] = [
        Began("m-2026"),
        *(Part("One "), Part("two.")),
        Part("", 1, "f", "call_1"),
        Part('{"a":1}', 1),
        Ended("tool_calls", Usage(7, 3)),
    ]
    writer = RESPONSES.writer()
    body = b"".join(writer.write([delta]) for delta in deltas) + writer.end()
    events = EventSplitter().feed(body)
    assert [delta for one in events for delta in RESPONSES.deltas(data_of(one) or b"")] == deltas
    reader = read(*events)
    assert reader.complete
    assert RESPONSES.said(reader.answer()) == RESPONSES.said(told)
    assert reader.sizes == [[4, 4]]
    assert reader.answer()["status"] == "completed"


@pytest.mark.parametrize(
    ("deltas", "status", "why"),
    [
        ([], "completed", None),
        ([Ended("stop"), Ended("", Usage(7, 3))], "completed", None),
        ([Part("x"), Ended("length")], "incomplete", "max_output_tokens"),
        ([Began("m"), Ended("content_filter")], "incomplete", "content_filter"),
        ([Began("m"), Ended("max_tokens")], "incomplete", "max_output_tokens"),
    ],
)
def test_how_other_streams_end(deltas: list[Delta], status: str, why: str | None) -> None:
    writer = RESPONSES.writer()
    events = decoded(writer.write(deltas) + writer.end())
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == f"response.{status}"
    final = events[-1]["response"]
    assert final["status"] == status
    assert (final["incomplete_details"] or {}).get("reason") == why
    written_again = RESPONSES.said(final)
    assert written_again is not None
    assert RESPONSES.said(RESPONSES.wrote(written_again)) == written_again
