"""OpenAI's older completions, of a text: asked and answered as a chat of one message."""

from __future__ import annotations

from typing import Any

import msgspec

from semcache_async.simulator.apis.api import Api, Call
from semcache_async.simulator.apis.chat import read_chat

__all__ = ["texts_api"]

_NOT_OF_CHATS = ("prompt", "logprobs")


def texts_api() -> Api:
    return Api(path="/v1/completions", read=_read)


def _read(raw: bytes) -> Call:
    chat = read_chat(_as_chat(raw))
    return Call(
        chat.asked,
        lambda answer: _as_text(chat.whole(answer)),
        lambda answer: [_chunk(event) for event in chat.events(answer)],
    )


def _as_chat(raw: bytes) -> bytes:
    """The chat that asks what ``raw`` asks. Raises ``msgspec.DecodeError``."""
    body = msgspec.json.decode(raw, type=dict[str, Any])
    prompt = body.get("prompt", "")
    while isinstance(prompt, list):
        prompt = str(prompt[0]) if prompt else ""
    rest = {name: value for name, value in body.items() if name not in _NOT_OF_CHATS}
    return msgspec.json.encode({"messages": [{"role": "user", "content": prompt}], **rest})


def _as_text(completion: dict[str, Any]) -> dict[str, Any]:
    """A chat's completion as a text's."""
    choices = [
        {
            "index": choice["index"],
            "text": choice["message"]["content"] or "",
            "logprobs": None,
            "finish_reason": choice["finish_reason"],
        }
        for choice in completion["choices"]
    ]
    return {**completion, "object": "text_completion", "choices": choices}


def _chunk(event: bytes) -> bytes:
    data = event.removeprefix(b"data: ").strip()
    if data == b"[DONE]":
        return event
    chunk = msgspec.json.decode(data)
    chunk["object"] = "text_completion"
    for choice in chunk["choices"]:
        choice["text"] = choice.pop("delta").get("content") or ""
    return b"data: %b\n\n" % msgspec.json.encode(chunk)
