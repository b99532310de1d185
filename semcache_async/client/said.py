"""What a service's error says, whatever form it has: OpenAI's, or one of a dozen others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

__all__ = ["SaidError", "error_in"]

_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
_LONGEST = 1_000
_DEEPEST = 8
_TITLE = re.compile(rb"<title>([^<]*)</title>", re.IGNORECASE)
_TEXTS = ("error", "message", "detail", "errors", "msg", "error_description", "title", "reason")
"""Where the text is, the likeliest first: vLLM and Mistral say ``message``, FastAPI ``detail``,
Cloudflare ``errors``, and Ollama an ``error`` that is a text."""

_READ = (str, list, dict)


class SaidError(msgspec.Struct, frozen=True):
    """An error in OpenAI's form."""

    message: str
    """"" where there is nothing to read."""
    type: str = "upstream_error"
    param: str | None = None
    code: str | int | None = None


def error_in(body: bytes) -> tuple[SaidError, bool]:
    """The error that ``body`` tells of, and whether the body is in OpenAI's form already."""
    try:
        said = msgspec.json.decode(body)
    except _UNREADABLE:
        return SaidError(_plain(body)), False
    found = said
    while isinstance(found, list) and len(found) == 1:  # Google's comes in a list
        found = found[0]
    inner = found.get("error") if isinstance(found, dict) else None
    if isinstance(inner, dict) and inner:
        found = inner
    message = "; ".join(_texts(found))[:_LONGEST].strip()
    if inner is not None and inner is found and said is not found and isinstance(said, dict):
        return SaidError(message), True
    told = found if isinstance(found, dict) else {}
    kind = told.get("type") or told.get("error_type") or told.get("status")
    param, code = told.get("param"), told.get("code")
    return SaidError(
        message,
        kind if isinstance(kind, str) else "upstream_error",
        param if isinstance(param, str) else None,
        code if isinstance(code, str | int) and not isinstance(code, bool) else None,
    ), False


def _texts(said: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(said, str):
        yield said
    elif isinstance(said, list):
        for one in said:
            yield from _texts(one, depth)
    elif isinstance(said, dict) and depth < _DEEPEST:
        name = next((name for name in _TEXTS if isinstance(said.get(name) or 0, _READ)), None)
        if name is None:
            return
        place = said.get("loc")
        where = ".".join(map(str, place)) + ": " if isinstance(place, list) else ""
        for text in _texts(said[name], depth + 1):
            yield where + text


def _plain(body: bytes) -> str:
    """The text of what is no JSON; of a page its title; "" for what is no text."""
    if body.lstrip().startswith(b"<"):
        found = _TITLE.search(body)
        body = found[1] if found else b""
    try:
        text = body.decode().strip()
    except UnicodeDecodeError:
        return ""
    return "" if text[:1] in ("{", "[") else text[:_LONGEST]
