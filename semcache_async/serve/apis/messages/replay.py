"""A whole message as the stream that would have made it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from semcache_async.serve.apis.chat.cutting import cut_text
from semcache_async.serve.apis.messages.saying import event

__all__ = ["replay"]

_AT_END = ("stop_reason", "stop_sequence", "stop_details", "container")
_BESIDE_END = ("context_management",)


def replay(message: dict[str, Any], sizes: Sequence[Sequence[int]] = ()) -> Iterator[bytes]:
    """Its events. ``sizes``: of the pieces in which each block's text came."""
    usage = message.get("usage") or {}
    first = {name: value for name, value in message.items() if name not in _BESIDE_END}
    first |= {"content": [], "stop_reason": None, "stop_sequence": None}
    first |= {name: None for name in _AT_END if name in message}
    yield event("message_start", message={**first, "usage": {**usage, "output_tokens": 0}})
    for at, block in enumerate(message["content"]):
        began, deltas = _parts(block, sizes[at] if at < len(sizes) else ())
        yield event("content_block_start", index=at, content_block=began)
        for delta in deltas:
            yield event("content_block_delta", index=at, delta=delta)
        yield event("content_block_stop", index=at)
    ended = {name: message[name] for name in _AT_END if name in message}
    beside = {name: message[name] for name in _BESIDE_END if name in message}
    yield event("message_delta", delta=ended, usage={"output_tokens": 0, **usage}, **beside)
    yield event("message_stop")


def _parts(
    block: dict[str, Any], sizes: Sequence[int]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block as it begins, and what is added to it."""
    kind = block["type"]
    if kind == "text":
        citations = block.get("citations")
        began = {**block, "text": ""}
        if citations:
            began["citations"] = []
        said = [{"type": "text_delta", "text": piece} for piece in cut_text(block["text"], sizes)]
        return began, [*said, *[_cited(one) for one in citations or ()]]
    if kind == "thinking":
        pieces = cut_text(block["thinking"], sizes)
        thought = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
        if signature := block.get("signature"):
            thought.append({"type": "signature_delta", "signature": signature})
        return {**block, "thinking": "", "signature": ""}, thought
    if kind == "tool_use":
        given = msgspec.json.encode(block["input"]).decode()
        parts = [{"type": "input_json_delta", "partial_json": one} for one in cut_text(given)]
        return {**block, "input": {}}, parts
    return block, []


def _cited(citation: Any) -> dict[str, Any]:
    return {"type": "citations_delta", "citation": citation}
