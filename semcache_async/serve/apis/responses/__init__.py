"""OpenAI's responses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from semcache_async.serve.apis.api import (
    Convertible,
    Delta,
    Reader,
    Request,
    Said,
    Usage,
    Writer,
)
from semcache_async.serve.apis.responses.canonical import parameters_of
from semcache_async.serve.apis.responses.events import EventWriter
from semcache_async.serve.apis.responses.following import ResponseReader
from semcache_async.serve.apis.responses.request import read_response
from semcache_async.serve.apis.responses.saying import (
    deltas_of,
    response_of,
    said_in,
    usage_in,
)
from semcache_async.serve.apis.responses.stored import as_events, as_whole

__all__ = ["RESPONSES"]

_NEUTRAL = frozenset(("max_output_tokens", "store", "top_p", "instructed"))


class _Responses(Convertible):
    name = "responses"
    path = "responses"

    def read(self, body: dict[str, Any]) -> Request:
        return read_response(body, self)

    def parameters(self, body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        return parameters_of(body)

    def neutral(self, request: Request) -> dict[str, Any] | None:
        asked = dict(parameters_of(request.body))
        if not asked.keys() <= _NEUTRAL:
            return None
        return {name: asked[name] for name in ("top_p",) if name in asked}

    def is_answer(self, value: Mapping[str, Any]) -> bool:
        return value.get("object") == "response"

    def said(self, answer: Mapping[str, Any]) -> Said | None:
        return said_in(answer)

    def wrote(self, said: Said) -> dict[str, Any]:
        return response_of(said)

    def usage_in(self, data: bytes | str) -> Usage:
        return usage_in(data)

    def reissued(self, text: str) -> tuple[bytes, Usage] | None:
        return as_whole(text)

    def replayed(self, text: str, *, include_usage: bool) -> tuple[bytes, Usage] | None:
        return as_events(text)

    def reader(self) -> Reader:
        return ResponseReader()

    def _deltas(self, told: Mapping[str, Any]) -> Sequence[Delta]:
        return deltas_of(told)

    def writer(self) -> Writer:
        return EventWriter()


RESPONSES = _Responses()
