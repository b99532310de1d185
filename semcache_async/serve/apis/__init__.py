"""The APIs in which LLMs are asked, each as one ``Api``; an answer of one as another's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from semcache_async.serve.apis.api import UNREADABLE, Api
from semcache_async.serve.apis.chat import CHAT, TEXT
from semcache_async.serve.apis.chat.replay import is_text
from semcache_async.serve.apis.messages import EVENTS, MESSAGES
from semcache_async.serve.apis.responses import RESPONSES

__all__ = [
    "APIS",
    "CHAT",
    "MESSAGES",
    "RESPONSES",
    "TEXT",
    "api_of",
    "content_of",
    "made_in",
    "readable",
]

APIS: tuple[Api, ...] = (CHAT, TEXT, MESSAGES, RESPONSES)
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def api_of(answer: Mapping[str, Any]) -> Api | None:
    """The API whose answer, or event's data, it is; None where it is none's."""
    choices = answer.get("choices")
    if isinstance(choices, list):
        first = choices[0] if choices else None
        return TEXT if isinstance(first, dict) and is_text(first) else CHAT
    kind = str(answer.get("type"))
    if MESSAGES.is_answer(answer) or kind in EVENTS:
        return MESSAGES
    if RESPONSES.is_answer(answer) or kind.startswith("response."):
        return RESPONSES
    return None


def made_in(text: str | bytes) -> tuple[Api, dict[str, Any]] | None:
    """A whole answer as it was kept, decoded, and the API it is of; None for what is none."""
    try:
        answer = _decode(text)
    except UNREADABLE:
        return None
    api = api_of(answer)
    return None if api is None else (api, answer)


def content_of(text: str | bytes) -> str | None:
    """What a whole answer says, in its first choice; None where that is no text, and for what is
    no answer."""
    known = made_in(text)
    said = known and known[0].said(known[1])
    return said.choices[0].text if said and said.choices else None


def readable(text: str) -> str:
    """What people read of a stored text, an answer of an API or not."""
    return content_of(text) or text
