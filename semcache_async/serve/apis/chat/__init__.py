"""OpenAI's completions: of chats, and the older ones of texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from semcache_async.serve.apis.api import (
    Api,
    Convertible,
    Delta,
    Reader,
    Request,
    Said,
    Usage,
    Writer,
)
from semcache_async.serve.apis.chat.canonical import parameters_of
from semcache_async.serve.apis.chat.completion import Assembler
from semcache_async.serve.apis.chat.request import read_chat, read_text
from semcache_async.serve.apis.chat.saying import ChunkWriter, completion_of, deltas_of, said_in
from semcache_async.serve.apis.chat.stored import as_events, as_whole, usage_in

__all__ = ["CHAT", "TEXT"]

_NEUTRAL = frozenset(("max_tokens", "max_completion_tokens", "stop", "top_p"))


class _Completions(Api):
    asks_usage = True
    _id: str
    """How ids begin."""

    def parameters(self, body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        return parameters_of(body)

    def is_answer(self, value: Mapping[str, Any]) -> bool:
        return isinstance(value.get("choices"), list) and not value.get("error")

    def said(self, answer: Mapping[str, Any]) -> Said | None:
        return said_in(answer)

    def usage_in(self, data: bytes | str) -> Usage:
        return usage_in(data)

    def reissued(self, text: str) -> tuple[bytes, Usage] | None:
        return as_whole(text, self._id)

    def replayed(self, text: str, *, include_usage: bool) -> tuple[bytes, Usage] | None:
        return as_events(text, self._id, include_usage=include_usage)

    def reader(self) -> Reader:
        return Assembler()


class _Chat(_Completions, Convertible):
    name = "chat"
    path = "chat/completions"
    _id = "chatcmpl-"

    def read(self, body: dict[str, Any]) -> Request:
        return read_chat(body, self)

    def neutral(self, request: Request) -> dict[str, Any] | None:
        asked = dict(parameters_of(request.body))
        if not asked.keys() <= _NEUTRAL:
            return None
        return {name: asked[name] for name in ("stop", "top_p") if name in asked}

    def wrote(self, said: Said) -> dict[str, Any]:
        return completion_of(said)

    def _deltas(self, told: Mapping[str, Any]) -> Sequence[Delta]:
        return deltas_of(told)

    def writer(self) -> Writer:
        return ChunkWriter()


class _Text(_Completions):
    name = "completions"
    path = "completions"
    _id = "cmpl-"

    def read(self, body: dict[str, Any]) -> Request:
        return read_text(body, self)

    def parameters(self, body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        return ((name, value) for name, value in parameters_of(body) if name != "prompt")


CHAT = _Chat()
TEXT = _Text()
