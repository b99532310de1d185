"""What messages and their events say, out of their form and into it. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from semcache_async.serve.apis.api import (
    NO_USAGE,
    UNREADABLE,
    Began,
    Call,
    Choice,
    Delta,
    Ended,
    Part,
    Said,
    Usage,
    ended_as,
)
from semcache_async.serve.sse import event_of

__all__ = ["EventWriter", "deltas_of", "event", "message_of", "new_id", "said_in", "usage_in"]

_WORDS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
"""By chats' words."""


class _Tokens(msgspec.Struct):
    input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens: int | None = None


class _Message(msgspec.Struct):
    usage: _Tokens | None = None


class _Used(msgspec.Struct):
    usage: _Tokens | None = None
    message: _Message | None = None


_used = msgspec.json.Decoder(_Used).decode
_decode = msgspec.json.decode


def event(kind: str, **fields: Any) -> bytes:
    """An event of a message's stream."""
    return event_of(msgspec.json.encode({"type": kind, **fields}), kind)


def new_id(beginning: str = "msg_") -> str:
    return f"{beginning}{random.getrandbits(96):024x}"


def usage_in(data: bytes | str) -> Usage:
    """What a message or an event's data says was used, what its upstream's own cache had of it
    included; nothing where it does not say."""
    try:
        told = _used(data)
    except UNREADABLE:
        return NO_USAGE
    return _usage(told.usage or (told.message or _Message()).usage)


def _usage(told: _Tokens | None) -> Usage:
    if told is None:
        return NO_USAGE
    cached = (told.cache_creation_input_tokens or 0) + (told.cache_read_input_tokens or 0)
    return Usage((told.input_tokens or 0) + cached, told.output_tokens or 0)


def _usage_of(told: Any) -> Usage:
    try:
        return _usage(msgspec.convert(told, _Tokens | None))
    except msgspec.ValidationError:
        return NO_USAGE


def said_in(message: Mapping[str, Any]) -> Said | None:
    """None for a message of a strange shape."""
    blocks = message.get("content")
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        return None
    texts = [block.get("text") for block in blocks if block.get("type") == "text"]
    if not all(isinstance(text, str) for text in texts):
        return None
    finish, model = str(message.get("stop_reason")), message.get("model")
    choice = Choice(
        finish,
        "".join(texts) if texts else None,
        tuple(_call(block) for block in blocks if block.get("type") == "tool_use"),
        refused=finish == "refusal",
    )
    known = model if isinstance(model, str) else ""
    return Said(known, (choice,), _usage_of(message.get("usage")))


def _call(block: Mapping[str, Any]) -> Call:
    """One that cannot be read has no name."""
    name, given = block.get("name"), block.get("input")
    if not isinstance(name, str) or not isinstance(given, dict):
        return Call("", "")
    return Call(name, msgspec.json.encode(given).decode(), str(block.get("id") or ""))


def message_of(said: Said) -> dict[str, Any]:
    """The message that says so; of several choices, the first."""
    choice = said.choices[0]
    content: list[dict[str, Any]] = []
    if choice.text:
        content.append({"type": "text", "text": choice.text})
    content += [{**_tool_use(call.name, call.id), "input": _input(call)} for call in choice.calls]
    return {
        **_head(said.model),
        "content": content,
        "stop_reason": "refusal" if choice.refused else _reason(choice.finish, bool(choice.calls)),
        "stop_sequence": None,
        "usage": _told(said.usage),
    }


def _head(model: str) -> dict[str, Any]:
    return {"id": new_id(), "type": "message", "role": "assistant", "model": model}


def _tool_use(name: str, id_: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": id_ or new_id("toolu_"), "name": name}


def _input(call: Call) -> dict[str, Any]:
    """Of arguments that were cut off, nothing."""
    try:
        given = _decode(call.arguments)
    except UNREADABLE:
        return {}
    return given if isinstance(given, dict) else {}


def _reason(finish: str, calls: bool) -> str:
    """A call that was forced ends, to some, like any answer."""
    word = _WORDS.get(ended_as(finish), "end_turn")
    return "tool_use" if calls and word == "end_turn" else word


def _told(usage: Usage) -> dict[str, int]:
    return {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}


def deltas_of(told: Mapping[str, Any]) -> Sequence[Delta]:
    """What an event says; nothing where it is of a strange shape."""
    try:
        return list(_deltas(told))
    except (AttributeError, KeyError, TypeError):
        return ()


def _deltas(told: Mapping[str, Any]) -> Iterator[Delta]:
    kind = told.get("type")
    if kind == "message_start":
        message = told["message"]
        yield Began(str(message.get("model") or ""), _usage_of(message.get("usage")))
    elif kind == "content_block_start":
        block = told["content_block"]
        if block.get("type") == "tool_use":
            given = msgspec.json.encode(block["input"]).decode() if block.get("input") else ""
            yield Part(given, _index(told), _text(block["name"]), _text(block.get("id") or ""))
        elif block.get("type") == "text" and block.get("text"):
            yield Part(_text(block["text"]))
    elif kind == "content_block_delta":
        delta = told["delta"]
        if delta.get("type") == "text_delta":
            yield Part(_text(delta["text"]))
        elif delta.get("type") == "input_json_delta":
            yield Part(_text(delta["partial_json"]), _index(told))
    elif kind == "message_delta":
        finish = _text(told["delta"].get("stop_reason") or "")
        yield Ended(finish, _usage_of(told.get("usage")))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text")
    return value


def _index(told: Mapping[str, Any]) -> int:
    if not isinstance(index := told["index"], int):
        raise TypeError("index")
    return index


class EventWriter:
    """A message's stream. Its blocks come one after the other: what others mix is sent as it comes
    up to the first call, of that call as it comes too, and the rest at the end."""

    def __init__(self) -> None:
        self._begun = False
        self._usage = NO_USAGE
        self._finish = ""
        self._index = -1
        self._open: int | None = None
        """The call that the open block is; None for a text."""
        self._later: dict[int | None, list[Part]] = {}
        self._called = False

    def write(self, deltas: Iterable[Delta]) -> bytes:
        """The events that say so."""
        return b"".join(self._write(delta) for delta in deltas)

    def end(self) -> bytes:
        """What came out of order, why the message ended, usage, and its end."""
        events = [] if self._begun else [self._begin(Began(""))]
        for parts in self._later.values():
            events.append(self._opened(parts[0]))
            events += [self._delta(part) for part in parts]
        events.append(self._closed())
        reason = _reason(self._finish, self._called) if self._finish or self._called else None
        ended = {"stop_reason": reason, "stop_sequence": None}
        events.append(event("message_delta", delta=ended, usage=_told(self._usage)))
        return b"".join([*events, event("message_stop")])

    def _write(self, delta: Delta) -> bytes:
        if isinstance(delta, Began):
            return b"" if self._begun else self._begin(delta)
        if isinstance(delta, Ended):
            self._finish = delta.finish or self._finish
            self._usage = Usage(
                delta.usage.prompt_tokens or self._usage.prompt_tokens,
                delta.usage.completion_tokens or self._usage.completion_tokens,
            )
            return b""
        begin = b"" if self._begun else self._begin(Began(""))
        if self._index < 0 or (self._open is None and delta.call is not None):
            return begin + self._opened(delta) + self._delta(delta)
        if delta.call != self._open:
            self._later.setdefault(delta.call, []).append(delta)
            return b""
        return begin + self._delta(delta)

    def _begin(self, began: Began) -> bytes:
        self._begun = True
        self._usage = began.usage
        start = {**_head(began.model), "content": [], "stop_reason": None, "stop_sequence": None}
        return event("message_start", message={**start, "usage": _told(began.usage)})

    def _opened(self, part: Part) -> bytes:
        """The event before it, too."""
        closed = self._closed()
        self._index += 1
        self._open = part.call
        block: dict[str, Any] = {"type": "text", "text": ""}
        if part.call is not None:
            self._called = True
            block = {**_tool_use(part.name, part.id), "input": {}}
        return closed + event("content_block_start", index=self._index, content_block=block)

    def _closed(self) -> bytes:
        return b"" if self._index < 0 else event("content_block_stop", index=self._index)

    def _delta(self, part: Part) -> bytes:
        if not part.text:
            return b""
        delta = {"type": "text_delta", "text": part.text}
        if part.call is not None:
            delta = {"type": "input_json_delta", "partial_json": part.text}
        return event("content_block_delta", index=self._index, delta=delta)
