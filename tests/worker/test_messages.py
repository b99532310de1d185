"""What a message means, in every form that it may have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache_async.worker.events import Event, EventError
from semcache_async.worker.messages import read_message
from semcache_async.worker.rules import Rules, read_rules

EXAMPLE = read_rules(Path(__file__).parents[2] / "docs" / "examples" / "debezium_rules.toml")
RULES = """
[[rules]]
where = {"source.table" = "products"}
tags = ["product:{after.id}", "product:{before.id}"]

[[rules]]
where = {table = ["products", "offers"]}
tags = ["product:{id}"]
"""


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    return read_rules(path)


def read(
    fields: dict[str, str | bytes], rules: Rules | None = None, *more: tuple[str, str]
) -> list[Event]:
    def raw(text: str | bytes) -> bytes:
        return text.encode() if isinstance(text, str) else text

    pairs = [*fields.items(), *more]
    return read_message([(raw(name), raw(text)) for name, text in pairs], rules)


@pytest.mark.parametrize(
    ("fields", "event"),
    [
        ({"tags": "product:42"}, Event(tags=("product:42",))),
        ({"tags": "a,b c"}, Event(tags=("a,b c",))),
        ({"tags": '["a", "b"]', "ids": "x"}, Event(tags=("a", "b"), ids=("x",))),
        ({"namespaces": "docs", "tenants": '[""]'}, Event(namespaces=("docs",), tenants=("",))),
        ({"tags": "", "ids": "x"}, Event(tags=(), ids=("x",))),
        ({"tenants": ""}, Event(tenants=())),
        ({"tags": "a", "tenant": "acme"}, Event(tags=("a",), tenant="acme")),
        ({"tags": "a", "tenant": ""}, Event(tags=("a",), tenant="")),
        ({"tags": "a", "tenant": "[x"}, Event(tags=("a",), tenant="[x")),
        ({"event": '{"tags": ["a"], "tenant": "b"}'}, Event(tags=("a",), tenant="b")),
        ({"tags": "ä€", "dead-reason": "x", "dead-id": b"\xff"}, Event(tags=("ä€",))),
    ],
)
def test_our_own(fields: dict[str, str | bytes], event: Event, rules: Rules) -> None:
    assert read(fields) == read(fields, rules) == [event]


def test_lists_that_occur_twice_add_up_and_nothing_else_does(rules: Rules) -> None:
    twice = [("tags", '["b", "c"]'), ("ids", "x"), ("tags", "")]
    assert read({"tags": "a"}, None, *twice) == [Event(tags=("a", "b", "c"), ids=("x",))]
    for fields, again in (
        ({"tags": "a", "tenant": "b"}, ("tenant", "c")),
        ({"event": "{}"}, ("event", '{"tags": ["a"]}')),
        ({"table": "products", "id": "1"}, ("id", "2")),
    ):
        with pytest.raises(EventError, match="twice"):
            read(dict(fields), rules, again)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"event": "{"}, "not valid JSON"),
        ({"event": "[]"}, "no event"),
        ({"event": "{}", "tags": "a"}, "leave the others out"),
        ({"event": "[" * 100_000}, "not valid JSON"),
        ({"tags": "[a"}, "not valid JSON"),
        ({"tags": "[1]"}, "no event"),
        ({"tags": " "}, "is empty"),
        ({"tenant": "acme"}, "named by tenants"),
        ({"tag": "a"}, "no field 'tag'"),
        ({"tags": "a", "op": "u"}, "no field 'op'"),
        ({"tags": b"\xff"}, "UTF-8"),
        ({"dead-reason": "x"}, "names no tags"),
    ],
)
def test_what_cannot_be_read(fields: dict[str, str | bytes], why: str) -> None:
    with pytest.raises(EventError, match=why):
        read(fields)


CHANGE = {
    "before": {"id": 41, "price": "9.00"},
    "after": {"id": 42, "price": "10.00"},
    "source": {"connector": "postgresql", "schema": "public", "table": "products"},
    "op": "u",
    "ts_ms": 1_700_000_000_000,
}
ENVELOPE = {"schema": {"type": "struct"}, "payload": CHANGE}
KEY = '{"id":42}'


@pytest.mark.parametrize("record", [CHANGE, ENVELOPE, {"payload": CHANGE}])
def test_a_change_feed(record: dict[str, Any], rules: Rules) -> None:
    """As Debezium's Redis sink writes it, extended and compact."""
    text = json.dumps(record)
    for fields in ({"key": KEY, "value": text}, {"value": text}, {KEY: text}):
        assert read({**fields}, rules) == [Event(tags=("product:42", "product:41"))]


def test_flat_records(rules: Rules) -> None:
    assert read({"table": "offers", "id": "7", "x": "y"}, rules) == [Event(tags=("product:7",))]
    assert read({"table": "orders", "id": "7"}, rules) == []
    assert read({"note": "hello"}, rules) == []


@pytest.mark.parametrize("value", ["default", "null", "", json.dumps(ENVELOPE | {"payload": None})])
def test_what_follows_a_deletion_means_nothing(value: str, rules: Rules) -> None:
    assert read({"key": KEY, "value": value}, rules) == read({KEY: value}, rules) == []


@pytest.mark.parametrize("value", ["[]", "7", '"text"', "{", "word"])
def test_records_that_are_none(value: str, rules: Rules) -> None:
    with pytest.raises(EventError, match="JSON"):
        read({"key": KEY, "value": value}, rules)


NAMES = st.sampled_from(["event", "tags", "ids", "tenant", "value", "key", "table", "dead-id", "x"])
TEXTS = st.sampled_from(
    [*('{"tags": ["a"]}', "[]", "[", "default", "products", json.dumps(CHANGE), "a")]
)


FIELDS = st.tuples(NAMES.map(str.encode) | st.binary(), TEXTS.map(str.encode) | st.binary())


@given(st.lists(FIELDS))
def test_whatever_comes_is_read_or_refused(fields: list[tuple[bytes, bytes]]) -> None:
    for rules in (None, EXAMPLE):
        try:
            found = read_message(fields, rules)
        except EventError:
            continue
        assert all(isinstance(event, Event) for event in found)
