"""What a message of a stream means: one of our own events, or a record that rules map.

Debezium Server's Redis sink writes a change as fields ``key`` and ``value`` (its format
``extended``), or as one field whose name is the key (``compact``); either with or without an
envelope of schema and payload.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from semcache_async.worker.events import Event, EventError, read_event
from semcache_async.worker.rules import Rules

__all__ = ["NOTE", "read_message"]

NOTE = b"dead-"
"""So begin fields that a worker adds to what it puts aside: back in a stream, they count for
nothing."""

_EVENT = "event"
_LISTS = {"tags", "namespaces", "tenants", "ids"}
_OWN = {_EVENT, "tenant", *_LISTS}
_VALUE = "value"
_TOMBSTONES = {"default", "null", ""}
"""What Debezium writes for a change without a value: it follows a deletion that was told."""


def read_message(fields: Iterable[tuple[bytes, bytes]], rules: Rules | None) -> list[Event]:
    """None where it means nothing here. Raises ``EventError``."""
    try:
        pairs = [
            (name.decode(), text.decode()) for name, text in fields if not name.startswith(NOTE)
        ]
    except UnicodeDecodeError:
        raise EventError("A field is not valid UTF-8.") from None
    texts = dict(pairs)
    strange = texts.keys() - _OWN
    if not strange:
        return [_own(pairs)]
    if rules is None:
        raise EventError(f"There is no field {min(strange)[:100]!r}; records take rules.")
    if len(texts) < len(pairs):
        raise EventError("A field of the record occurs twice.")
    record = _record(texts)
    return [] if record is None else rules.events(record)


def _own(pairs: list[tuple[str, str]]) -> Event:
    """Lists that occur more than once add up."""
    said: dict[str, Any] = {}
    for name, text in pairs:
        if name in _LISTS:
            said[name] = said.get(name, []) + _list(text)
        elif name in said:
            raise EventError(f"The field {name} occurs twice.")
        else:
            said[name] = text
    if _EVENT in said:
        if len(said) > 1:
            raise EventError("The field event says it all; leave the others out.")
        return read_event(_json(said[_EVENT]))
    return read_event(said)


def _list(text: str) -> list[Any]:
    """A JSON list, where it begins like one; else text that is one value; none where it is
    empty."""
    if text.startswith("["):
        listed: list[Any] = _json(text)
        return listed
    return [text] if text else []


def _record(texts: dict[str, str]) -> Mapping[str, Any] | None:
    """None for a tombstone."""
    if _VALUE in texts:
        text = texts[_VALUE]
    elif len(texts) == 1:
        (text,) = texts.values()
    else:
        return texts
    if text in _TOMBSTONES:
        return None
    if _VALUE not in texts and not text.startswith("{"):
        return texts
    record = _json(text)
    if not isinstance(record, dict):
        raise EventError("The record is no JSON object.")
    payload = record.get("payload")
    return (
        payload if isinstance(payload, dict) and record.keys() <= {"schema", "payload"} else record
    )


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise EventError(f"This is not valid JSON: {error}.") from None
