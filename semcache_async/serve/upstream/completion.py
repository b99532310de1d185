"""A completion, of a chat or a text, from a stream's chunks."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import msgspec

from semcache_async.serve.sse import data_of
from semcache_async.serve.upstream.kinds import CHAT, kind_of
from semcache_async.serve.upstream.merging import BadChunkError, Message, merge

__all__ = [
    "UNREADABLE",
    "Assembler",
    "Completion",
    "Frame",
    "content_of",
    "is_whole",
    "readable",
]

Completion: TypeAlias = dict[str, Any]
"""A ``chat.completion`` or ``text_completion`` object as decoded JSON."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode
UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What decoding JSON that others wrote may raise."""


class _Message(msgspec.Struct):
    content: str


class _Said(msgspec.Struct):
    message: _Message | None = None
    text: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Said]


def content_of(text: bytes | str) -> str | None:
    """What a whole completion says, in its first choice; None where that is no text, and for what
    is no completion."""
    try:
        said = msgspec.json.decode(text, type=_Completion).choices[0]
        return said.text if said.message is None else said.message.content
    except (IndexError, *UNREADABLE):
        return None


def readable(text: str) -> str:
    """What people read of a stored text, a completion or not."""
    return content_of(text) or text


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
            elif name == "text" and "delta" not in choice:
                self.message.add({"text": value})
            elif name == "logprobs":
                merge(self.fields, {name: value})
            elif value is None:
                self.fields.setdefault(name, None)
            else:
                self.fields[name] = value

    def whole(self) -> dict[str, Any]:
        message = self.message.whole()
        said = {"text": message["text"]} if self.message.is_text else {"message": message}
        built = {"index": self.index, **said, **self.fields}
        built["index"] = self.index
        return built


def is_whole(event: bytes) -> bool:
    """Is an event whose end is not known to have come one that was not cut?"""
    data = data_of(event)
    if data is None or data == b"[DONE]":
        return True
    try:
        _decode(data)
    except UNREADABLE:
        return False
    return True


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
        self._fields: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}

    def read(self, event: bytes) -> Frame:
        """Take one whole event in."""
        data = data_of(event)
        if data is None or data == b"[DONE]":
            return Frame(event)
        try:
            chunk = _decode(data)
        except UNREADABLE:
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
        """Take one chunk in."""
        if self._broken:
            return
        if chunk.get("error") is not None or chunk.get("object") == "error":
            self.error = chunk.get("error", chunk)
            self._break()
            return
        try:
            for at, choice in enumerate(chunk.get("choices") or ()):
                self._choice(choice.get("index", at)).add(choice)
        except (BadChunkError, AttributeError, TypeError, RecursionError):
            self._break()
            return
        self._add_fields(chunk)

    @property
    def complete(self) -> bool:
        """All of it arrived: every choice's ``finish_reason``."""
        if self._broken or not self._choices:
            return False
        return all(choice.fields.get("finish_reason") for choice in self._choices.values())

    @property
    def sizes(self) -> list[list[int]]:
        """Characters of the pieces in which each choice's content came."""
        return [self._choices[at].message.sizes() for at in sorted(self._choices)]

    def completion(self) -> Completion:
        """The object so far, as the answer would have been without streaming."""
        built = {"id": "", "object": "", "created": 0, "model": "", **self._fields}
        built["choices"] = [self._choices[index].whole() for index in sorted(self._choices)]
        built["object"] = (kind_of(built["choices"][0]) if self._choices else CHAT).whole
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
