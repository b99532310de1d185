"""A ``chat.completion`` object from a stream's chunks, and a stream from the object."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import msgspec

from semcache_async.serve.merging import BadChunkError, Message, merge
from semcache_async.serve.sse import data_of, event_of

__all__ = [
    "DONE",
    "Assembler",
    "Completion",
    "Frame",
    "is_keepable",
    "parsed",
    "refreshed",
    "replay",
]

Completion: TypeAlias = dict[str, Any]
"""A ``chat.completion`` object as decoded JSON."""

DONE = b"data: [DONE]\n\n"
_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)


class Frame(NamedTuple):
    """One event of a stream of chunks, as received."""

    raw: bytes
    is_usage: bool = False
    """The one event that only those get who asked for ``include_usage``."""


class _Choice:
    """One choice so far."""

    __slots__ = ("fields", "index", "message")

    def __init__(self, index: int) -> None:
        self.index = index
        self.message = Message()
        self.fields: dict[str, Any] = {}

    def add(self, choice: dict[str, Any]) -> None:
        for name, value in choice.items():
            if name == "delta":
                if value is not None:
                    self.message.add(value)
            elif name == "logprobs":
                merge(self.fields, {name: value})
            elif value is None:
                self.fields.setdefault(name, None)
            else:
                self.fields[name] = value

    def whole(self) -> dict[str, Any]:
        built = {"index": self.index, "message": self.message.whole(), **self.fields}
        built["index"] = self.index
        return built


class Assembler:
    """Reads one stream's events in order. Never raises: a stream it cannot follow, or one with
    more than ``max_bytes`` of data, is just never ``complete``."""

    def __init__(self, max_bytes: int = 8 * 1024 * 1024) -> None:
        self.error: Any = None
        """The stream's own error object, if it sent one."""
        self.garbage = False
        """An event's data was no JSON object."""
        self._left = max_bytes
        self._broken = False
        self._done = False
        self._fields: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}

    def read(self, event: bytes) -> Frame:
        """Take one whole event in."""
        data = data_of(event)
        if data is None:
            return Frame(event)
        if data == b"[DONE]":
            self._done = True
            return Frame(event)
        try:
            chunk = _decode(data)
        except _UNREADABLE:
            self.garbage = True
            self._break()
            return Frame(event)
        self._left -= len(data)
        if self._left < 0:
            self._break()
        else:
            self.add(chunk)
        return Frame(event, chunk.get("choices") == [] and chunk.get("usage") is not None)

    def add(self, chunk: dict[str, Any]) -> None:
        """Take one ``chat.completion.chunk`` in."""
        if self._broken:
            return
        if chunk.get("error") is not None:
            self.error = chunk["error"]
            self._break()
            return
        try:
            for choice in chunk.get("choices") or ():
                self._choice(choice["index"]).add(choice)
        except (BadChunkError, AttributeError, KeyError, TypeError, RecursionError):
            self._break()
            return
        self._add_fields(chunk)

    @property
    def complete(self) -> bool:
        """All of it arrived: ``[DONE]``, and every choice's ``finish_reason``."""
        return (
            self._done
            and not self._broken
            and bool(self._choices)
            and all(choice.fields.get("finish_reason") for choice in self._choices.values())
        )

    @property
    def keepable(self) -> bool:
        """Fit to be given to others: complete, and ``is_keepable``."""
        return self.complete and is_keepable(self.completion())

    def completion(self) -> Completion:
        """The object so far, as the answer would have been without streaming."""
        built = {"id": "", "object": "chat.completion", "created": 0, "model": "", **self._fields}
        built["object"] = "chat.completion"
        built["choices"] = [self._choices[index].whole() for index in sorted(self._choices)]
        return built

    def _choice(self, index: int) -> _Choice:
        if type(index) is not int:
            raise BadChunkError("index")
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice(index)
        return choice

    def _add_fields(self, chunk: dict[str, Any]) -> None:
        fields = self._fields
        for name, value in chunk.items():
            if name in ("choices", "obfuscation") or (name == "usage" and value is None):
                continue  # obfuscation is random padding
            if value is None or name in ("id", "created", "model"):
                fields.setdefault(name, value)
            else:
                fields[name] = value

    def _break(self) -> None:
        self._broken = True
        self._choices.clear()


def is_keepable(completion: Completion) -> bool:
    """May it be stored and given to others: each choice ended by itself (``stop``) and says
    something, which is neither a refusal nor a tool call."""
    choices = completion.get("choices")
    if not isinstance(choices, list) or not choices:
        return False
    return all(isinstance(choice, dict) and _says_something(choice) for choice in choices)


def _says_something(choice: dict[str, Any]) -> bool:
    message = choice.get("message")
    if choice.get("finish_reason") != "stop" or not isinstance(message, dict):
        return False
    if any(message.get(name) for name in ("refusal", "tool_calls", "function_call")):
        return False
    content = message.get("content")
    return isinstance(content, str) and bool(content.strip())


def parsed(stored: str | bytes) -> Completion | None:
    """A stored completion; None for anything that is not fit to be given out."""
    try:
        completion = _decode(stored)
    except _UNREADABLE:
        return None
    return completion if is_keepable(completion) else None


def refreshed(completion: Completion, *, id: str, created: int) -> Completion:  # noqa: A002
    """The same answer given again."""
    return {**completion, "id": id, "created": created}


def replay(
    completion: Completion,
    *,
    id: str,  # noqa: A002
    created: int,
    include_usage: bool,
) -> list[bytes]:
    """The stream that would have made it: for each choice its role, its content, its end; then
    its usage if wanted and known; then ``[DONE]``."""
    common = {name: completion[name] for name in _IN_EACH_CHUNK if name in completion}
    common |= {"id": id, "object": "chat.completion.chunk", "created": created}
    if include_usage:
        common["usage"] = None
    head = b"data: %b," % _encode(common)[:-1]
    once = {name: value for name, value in completion.items() if name not in _NOT_ONCE}
    first = b"data: %b," % _encode({**common, **once})[:-1] if once else head
    events: list[bytes] = []
    for at, choice in enumerate(completion["choices"]):
        for part in _parts(choice, at):
            events.append(b'%b"choices":[%b]}\n\n' % (head if events else first, _encode(part)))
    if include_usage and (usage := completion.get("usage")) is not None:
        common["usage"] = usage
        events.append(event_of(_encode({**common, "choices": []})))
    events.append(DONE)
    return events


_IN_EACH_CHUNK = ("id", "object", "created", "model", "service_tier", "system_fingerprint")
_NOT_ONCE = frozenset((*_IN_EACH_CHUNK, "choices", "usage"))


def _parts(choice: dict[str, Any], at: int) -> list[dict[str, Any]]:
    """One choice as the choices of successive chunks."""
    message: dict[str, Any] = choice["message"]
    content = message.get("content")
    first: dict[str, Any] = {"role": message.get("role", "assistant")}
    before: dict[str, Any] = {}
    for name, value in message.items():
        if value is None:
            first[name] = None
        elif name == "tool_calls" and isinstance(value, list):
            before[name] = [{"index": at, **call} for at, call in enumerate(value)]
        elif name not in ("role", "content"):
            before[name] = value
    deltas: list[dict[str, Any]] = [first]
    if isinstance(content, str):
        first["content"] = ""
    if before:
        thoughts = before.get("reasoning_content")
        if isinstance(thoughts, str) and len(thoughts) > _LONGEST_PIECE:
            del before["reasoning_content"]
            deltas += _pieces("reasoning_content", thoughts)
    if before:
        deltas.append(before)
    if content:
        deltas += _pieces("content", content)
    index = choice.get("index", at)
    end = {name: value for name, value in choice.items() if name not in _NOT_AT_END}
    parts = [{"index": index, "delta": delta, "finish_reason": None} for delta in deltas]
    parts.append({"index": index, "delta": {}, **end})
    if "logprobs" in choice:
        for part in parts:
            part["logprobs"] = None
        parts[-2]["logprobs"] = choice["logprobs"]
    return parts


def _pieces(name: str, text: str) -> list[dict[str, Any]]:
    """``text`` as deltas. Short ones: there are clients that read lines of 64 KiB at most."""
    if len(text) <= _LONGEST_PIECE:
        return [{name: text}]
    starts = range(0, len(text), _LONGEST_PIECE)
    return [{name: text[at : at + _LONGEST_PIECE]} for at in starts]


_LONGEST_PIECE = 4_096
_NOT_AT_END = frozenset(("index", "message", "logprobs"))
