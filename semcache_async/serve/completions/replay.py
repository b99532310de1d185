"""A whole completion as the stream that would have made it."""

from __future__ import annotations

from typing import Any

import msgspec

from semcache_async.serve.sse import event_of
from semcache_async.serve.upstream.completion import Completion

__all__ = ["DONE", "replay"]

DONE = event_of(b"[DONE]")
_encode = msgspec.json.encode
_IN_EACH_CHUNK = ("id", "object", "created", "model", "service_tier", "system_fingerprint")
_NOT_ONCE = frozenset((*_IN_EACH_CHUNK, "choices", "usage"))
_NOT_AT_END = frozenset(("index", "message", "logprobs"))
_LONGEST_PIECE = 4_096


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
