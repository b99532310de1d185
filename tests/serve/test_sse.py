"""Streams cut into events."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache_async.serve.sse import EventSplitter, EventTooLargeError, data_of, event_of

pieces = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b"\n\n", b"\r\n\r\n", b"data: x", b"data:", b": alive", b"a", b"\xef"]
)
streams = st.lists(pieces | st.binary(max_size=3), max_size=30).map(b"".join)


def events_of(stream: bytes, cuts: list[int] = []) -> tuple[list[bytes], bytes]:  # noqa: B006
    splitter = EventSplitter()
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    events = []
    for start, end in pairwise(edges):
        events += splitter.feed(stream[start:end])
    events += splitter.end()
    return events, splitter.rest


@given(streams, st.lists(st.integers(0, 60), max_size=10))
def test_how_a_stream_is_cut_makes_no_difference(stream: bytes, cuts: list[int]) -> None:
    events, rest = events_of(stream, cuts)
    assert (events, rest) == events_of(stream)
    assert (events, rest) == events_of(stream, list(range(len(stream))))
    assert b"".join(events) + rest == stream


@given(st.lists(st.lists(st.sampled_from([b"data: x", b"id: 1", b": c", b"data"]), max_size=3)))
def test_the_line_end_makes_no_difference(events: list[list[bytes]]) -> None:
    expected = [data_of(b"".join(line + b"\n" for line in event) + b"\n") for event in events]
    for end in (b"\n", b"\r\n", b"\r"):
        stream = b"".join(b"".join(line + end for line in event) + end for event in events)
        found, rest = events_of(stream)
        assert [data_of(event) for event in found] == expected
        assert rest == b""


@pytest.mark.parametrize(
    ("stream", "events", "rest"),
    [
        (b"", [], b""),
        (b"data: a\n\ndata: b\n\n", [b"data: a\n\n", b"data: b\n\n"], b""),
        (b"data: a\r\n\r\ndata: b", [b"data: a\r\n\r\n"], b"data: b"),
        (b"data: a\n\r\n", [b"data: a\n\r\n"], b""),
        (b"data: a\r\r\ndata: b\r\r", [b"data: a\r\r\n", b"data: b\r\r"], b""),
        (b"\n\n: alive\n\n", [b"\n", b"\n", b": alive\n\n"], b""),
        (b"data: a\n", [], b"data: a\n"),
        (b"data: a\r", [], b"data: a\r"),
    ],
)
def test_where_events_end(stream: bytes, events: list[bytes], rest: bytes) -> None:
    assert events_of(stream) == (events, rest)


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (event_of(b"{}"), b"{}"),
        (b"data:{}\r\n\r\n", b"{}"),
        (b"data:  two\r\r", b" two"),
        (b"data: a\rdata: b\n\n", b"a\nb"),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"data\n\n", b""),
        (b"\xef\xbb\xbfdata: a\n\n", b"a"),
        (b": alive\ndata: a\nid: 1\n\n", b"a"),
        (b": alive\n\n", None),
        (b"database: a\n\n", None),
        (b"\n", None),
    ],
)
def test_the_data_of_an_event(event: bytes, data: bytes | None) -> None:
    assert data_of(event) == data


def test_an_event_is_given_out_as_soon_as_it_ends() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b"data: a\r\n\r\n") == [b"data: a\r\n\r\n"]
    assert splitter.feed(b"data: b\r\r") == []
    assert splitter.feed(b"d") == [b"data: b\r\r"]


@given(st.lists(st.integers(0, 60), max_size=10))
def test_the_limit(cuts: list[int]) -> None:
    stream = b"data: 34\n\ndata: 34\n\ndata: 345\n\ndata: 34\n\n"
    splitter = EventSplitter(limit=10)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    events = []

    def feed_all() -> None:
        for start, end in pairwise(edges):
            events.extend(splitter.feed(stream[start:end]))
        splitter.end()

    with pytest.raises(EventTooLargeError):
        feed_all()
    assert events == [b"data: 34\n\n"] * 2
