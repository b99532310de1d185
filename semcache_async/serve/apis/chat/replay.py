"""A whole completion as the stream that would have made it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from semcache_async.serve.apis.chat.completion import Completion
from semcache_async.serve.apis.chat.cutting import cut_object, cut_text
from semcache_async.serve.sse import event_of

__all__ = ["DONE", "is_text", "replay"]

DONE = event_of(b"[DONE]")
_encode = msgspec.json.encode
_IN_EACH_CHUNK = ("id", "object", "created", "model", "service_tier", "system_fingerprint")
_NOT_ONCE = frozenset((*_IN_EACH_CHUNK, "choices", "usage"))
_NOT_AT_END = frozenset(("index", "message", "logprobs"))


def is_text(choice: dict[str, Any]) -> bool:
    """Is it a text's, rather than a chat's?"""
    return "text" in choice and "message" not in choice


def replay(
    completion: Completion,
    *,
    id: str,  # noqa: A002
    created: int,
    include_usage: bool,
    sizes: Sequence[Sequence[int]] = (),
) -> list[bytes]:
    """The stream that would have made it: for each choice its role, its content, its end; then
    its usage if wanted and known; then ``[DONE]``. ``sizes``: of the pieces in which each choice's
    content came."""
    common = {name: completion[name] for name in _IN_EACH_CHUNK if name in completion}
    of_text = is_text(completion["choices"][0])
    common |= {"id": id, "created": created}
    common["object"] = "text_completion" if of_text else "chat.completion.chunk"
    parts_of = _of_text if of_text else _of_chat
    if include_usage:
        common["usage"] = None
    once = {name: value for name, value in completion.items() if name not in _NOT_ONCE}
    chunks: list[dict[str, Any]] = []
    for at, choice in enumerate(completion["choices"]):
        for part in parts_of(choice, at, sizes[at] if at < len(sizes) else ()):
            name = next(iter(once), None)
            more = {} if name is None else {name: once.pop(name)}
            chunks.append({**common, **more, "choices": [part]})
    if chunks:
        chunks[-1] |= once
    events = [event_of(_encode(chunk)) for chunk in chunks]
    if include_usage and (usage := completion.get("usage")) is not None:
        common["usage"] = usage
        events.append(event_of(_encode({**common, "choices": []})))
    events.append(DONE)
    return events


def _of_chat(choice: dict[str, Any], at: int, sizes: Sequence[int]) -> list[dict[str, Any]]:
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
        deltas += cut_object(before)
    if content:
        deltas += [{"content": piece} for piece in cut_text(content, sizes)]
    index = choice.get("index", at)
    parts = [{"index": index, "delta": delta, "finish_reason": None} for delta in deltas]
    if "logprobs" in choice:
        first_told, *more = _logprobs(choice["logprobs"])
        parts = [part | {"logprobs": None} for part in parts]
        parts[-1]["logprobs"] = first_told
        without = {"index": index, "delta": {}, "finish_reason": None}
        parts += [without | {"logprobs": one} for one in more]
    end = {name: value for name, value in choice.items() if name not in _NOT_AT_END}
    parts.append({"index": index, "delta": {}, **end})
    if "logprobs" in choice:
        parts[-1]["logprobs"] = None
    return parts


def _of_text(choice: dict[str, Any], at: int, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """The same of a text's."""
    index = choice.get("index", at)
    first_told, *more = _logprobs(choice.get("logprobs"))
    said = [(piece, None) for piece in cut_text(choice["text"], sizes)] or [("", None)]
    told = [*said[:-1], (said[-1][0], first_told), *[("", one) for one in more]]
    common = {"index": index, "finish_reason": None}
    parts = [common | {"text": piece, "logprobs": one} for piece, one in told]
    parts.append({**choice, "index": index, "text": "", "logprobs": None})
    return parts


def _logprobs(told: Any) -> list[Any]:
    return list(cut_object(told)) if isinstance(told, dict) else [told]
