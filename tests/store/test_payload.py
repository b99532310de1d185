"""The one reader of Redis replies: what it takes, what it refuses, what it calls a miss."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache_async.errors import StoreError
from semcache_async.store.entries.payload import (
    Payload,
    read_entry,
    read_neighbours,
    read_page,
    write_payload,
)
from semcache_async.store.keys import ScopeDigest
from semcache_async.types import Entry

SCOPE = ScopeDigest("aa", (), b"")


def payload(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "scope": b"\xaa",
        "prompt": "p",
        "text": "t",
        "created_at": 1.0,
        "exact_until": 50.0,
        "semantic_until": 100.0,
        "attributes": {"plan": "pro"},
    }
    return write_payload(Payload(**(fields | changes)))


def reply(*rows: dict[bytes, Any] | None, warning: tuple[bytes, ...] = ()) -> dict[bytes, Any]:
    results = [{b"id": b"prefix:%d" % n, b"extra_attributes": row} for n, row in enumerate(rows)]
    return {b"total_results": len(rows), b"results": results, b"warning": list(warning)}


def read(found: object, attributes: dict[str, str] | None = None, now: float = 10.0) -> list[str]:
    neighbours = read_neighbours(found, b"prefix:", SCOPE, attributes or {}, now).neighbours
    return [f"{neighbour.entry.id}@{neighbour.distance:g}" for neighbour in neighbours]


def test_nearest_first_whatever_the_order() -> None:
    rows = [{b"d": d, b"entry": payload()} for d in (b"0.3", b"0.1", b"-0.0000001", b"2.0000001")]
    assert read(reply(*rows)) == ["2@0", "1@0.1", "0@0.3", "3@2"]


@pytest.mark.parametrize(
    "row",
    [
        {},
        {b"d": b"0.1"},
        {b"entry": payload()},
        {b"d": b"nan", b"entry": payload()},
        {b"d": b"inf", b"entry": payload()},
        {b"d": b"near", b"entry": payload()},
        {b"d": None, b"entry": payload()},
        {b"d": b"0.1", b"entry": payload(scope=b"\xbb")},
        {b"d": b"0.1", b"entry": payload(semantic_until=10.0)},
        {b"d": b"0.1", b"entry": payload(attributes={})},
        {b"d": b"0.1", b"entry": b"{}"},
        {b"d": b"0.1", b"entry": None},
    ],
)
def test_what_may_not_be_served_is_passed_over(row: dict[bytes, Any]) -> None:
    good = {b"d": b"0.2", b"entry": payload()}
    assert read(reply(row, good), {"plan": "pro"}) == ["1@0.2"]


@pytest.mark.parametrize(
    ("rows", "wanted", "asked", "hiding"),
    [
        ("live live live", 3, 3, False),
        ("live live", 3, 3, False),
        ("live live dead", 3, 3, True),
        ("dead dead dead", 3, 3, True),
        ("gone gone gone", 3, 3, True),
        ("old old live", 3, 3, True),
        ("live dead", 3, 3, False),
        ("live live live dead", 3, 4, False),
        ("live live dead dead", 3, 4, True),
        ("", 3, 3, False),
    ],
)
def test_whether_dead_ones_may_hide_more(rows: str, wanted: int, asked: int, hiding: bool) -> None:
    kinds: dict[str, Any] = {
        "live": {b"d": b"0.1", b"entry": payload(created_at=5.0)},
        "old": {b"d": b"0.1", b"entry": payload(created_at=1.0)},
        "dead": {b"d": b"0.1", b"entry": payload(semantic_until=9.0)},
        "gone": None,
    }
    found = read_neighbours(
        *(reply(*[kinds[kind] for kind in rows.split()]), b"prefix:", SCOPE, {}, 10.0),
        created_after=2.0,
        wanted=wanted,
        asked=asked,
    )
    assert found.hiding is hiding


def test_partial_results_are_an_error_not_a_miss() -> None:
    with pytest.raises(StoreError, match="partial results"):
        read(reply(warning=(b"Timeout limit was reached",)))


@pytest.mark.parametrize("strange", [None, b"OK", 1, [], [0], {}, {b"total_results": 0}])
def test_a_reply_of_another_form_is_an_error(strange: object) -> None:
    with pytest.raises(StoreError, match="RESP3"):
        read(strange)
    for page in (strange, [strange, 0]):
        with pytest.raises(StoreError, match="RESP3"):
            read_page(page)


@pytest.mark.parametrize(("now", "alive"), [(49.9, True), (50.0, False)])
def test_the_exact_tiers_own_end(now: float, alive: bool) -> None:
    assert (read_entry(payload(), "id", SCOPE, now) is not None) is alive


@given(st.binary() | st.text().map(str.encode) | st.none())
def test_no_payload_breaks_the_reader(raw: bytes | None) -> None:
    assert read_entry(raw, "id", SCOPE, 10.0) is None


@given(st.floats())
def test_distances_stay_in_range(distance: float) -> None:
    row = {b"d": repr(distance).encode(), b"entry": payload()}
    for neighbour in read_neighbours(reply(row), b"prefix:", SCOPE, {}, 10.0).neighbours:
        assert 0.0 <= neighbour.distance <= 2.0
        assert math.isfinite(distance)


def test_what_an_earlier_version_wrote_is_read() -> None:
    said = (
        b'{"scope":"aa","prompt":"p","text":"t","created_at":1.5,"exact_until":50.0,'
        b'"semantic_until":100.25,"tags":["x"],"attributes":{"plan":"pro"}}'
    )
    entry = read_entry(said, "id", SCOPE, 10.0)
    assert entry == Entry("id", "p", "t", 1.5, 50.0, ("x",), {"plan": "pro"}, 100.25)
    assert read_entry(said, "id", ScopeDigest("bb", (), b""), 10.0) is None
    assert read(reply({b"d": b"0.1", b"entry": said}), {"plan": "pro"}) == ["0@0.1"]


def test_a_payload_says_no_more_than_it_has_to() -> None:
    short = payload(attributes={})
    assert len(short) == 1 + 3 + 2 + 2 + 3
    entry = read_entry(short, "id", SCOPE, 10.0)
    assert entry == Entry("id", "p", "t", 1.0, 50.0, semantic_until=100.0)
