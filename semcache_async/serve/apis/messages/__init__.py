"""Anthropic's messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from semcache_async.serve.apis.api import (
    UNREADABLE,
    Convertible,
    Delta,
    Reader,
    Request,
    Said,
    Usage,
    Writer,
)
from semcache_async.serve.apis.chat import CHAT
from semcache_async.serve.apis.messages.as_chat import as_chat
from semcache_async.serve.apis.messages.canonical import parameters_of
from semcache_async.serve.apis.messages.message import EVENTS, Assembler
from semcache_async.serve.apis.messages.request import read
from semcache_async.serve.apis.messages.saying import (
    EventWriter,
    deltas_of,
    message_of,
    said_in,
    usage_in,
)
from semcache_async.serve.apis.messages.stored import as_events, as_whole

__all__ = ["EVENTS", "MESSAGES"]

_NEUTRAL = {"stop_sequences": "stop", "top_p": "top_p"}
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class _Messages(Convertible):
    name = "messages"
    path = "messages"
    crosses = True
    headers = ("anthropic-version", "anthropic-beta")

    def read(self, body: dict[str, Any]) -> Request:
        return read(body, self)

    def parameters(self, body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        return parameters_of(body)

    def neutral(self, request: Request) -> dict[str, Any] | None:
        asked = dict(parameters_of(request.body))
        asked.pop("max_tokens", None)
        if not asked.keys() <= _NEUTRAL.keys():
            return None
        return {_NEUTRAL[name]: asked[name] for name in sorted(asked)}

    def in_chat(self, request: Request) -> Request | None:
        return CHAT.read(as_chat(request))

    def is_error(self, body: bytes) -> bool:
        try:
            told = _decode(body)
        except UNREADABLE:
            return False
        return told.get("type") == "error" and isinstance(told.get("error"), dict)

    def is_answer(self, value: Mapping[str, Any]) -> bool:
        return value.get("type") == "message" and isinstance(value.get("content"), list)

    def said(self, answer: Mapping[str, Any]) -> Said | None:
        return said_in(answer)

    def wrote(self, said: Said) -> dict[str, Any]:
        return message_of(said)

    def usage_in(self, data: bytes | str) -> Usage:
        return usage_in(data)

    def reissued(self, text: str) -> tuple[bytes, Usage] | None:
        return as_whole(text)

    def replayed(self, text: str, *, include_usage: bool) -> tuple[bytes, Usage] | None:
        return as_events(text)

    def reader(self) -> Reader:
        return Assembler()

    def _deltas(self, told: Mapping[str, Any]) -> Sequence[Delta]:
        return deltas_of(told)

    def writer(self) -> Writer:
        return EventWriter()


MESSAGES = _Messages()
