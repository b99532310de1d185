"""What completions and chunks say, out of their form and into it. Pure."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from semcache_async.serve.apis.api import (
    NO_USAGE,
    UNREADABLE,
    Began,
    Call,
    Choice,
    Delta,
    Ended,
    Part,
    Said,
    Usage,
    ended_as,
)
from semcache_async.serve.apis.chat.replay import DONE
from semcache_async.serve.sse import event_of

__all__ = ["ChunkWriter", "completion_of", "deltas_of", "said_in"]


def said_in(completion: Mapping[str, Any]) -> Said | None:
    """None for a completion of a strange shape."""
    choices = completion.get("choices")
    if not isinstance(choices, list):
        return None
    found = [_choice(one) for one in choices]
    if not found or None in found:
        return None
    model = completion.get("model")
    return Said(
        model if isinstance(model, str) else "",
        tuple(one for one in found if one is not None),
        _usage(completion.get("usage")),
    )


def _choice(choice: Any) -> Choice | None:
    if not isinstance(choice, dict):
        return None
    finish = str(choice.get("finish_reason"))
    message = choice.get("message")
    if message is None and "text" in choice:
        text = choice["text"]
        return Choice(finish, text if isinstance(text, str) else None)
    if not isinstance(message, dict):
        return None
    text, refusal = _text(message.get("content")), message.get("refusal")
    if refusal and not text:
        text = _text(refusal)
    return Choice(finish, text, tuple(_calls(message)), refused=bool(refusal))


def _text(content: Any) -> str | None:
    return content if isinstance(content, str) else None


def _calls(message: Mapping[str, Any]) -> Iterator[Call]:
    """One that cannot be read has no name."""
    listed = message.get("tool_calls") or []
    called = message.get("function_call")
    for one in [*(listed if isinstance(listed, list) else [None]), *([called] if called else [])]:
        wrapped = one.get("function", one) if isinstance(one, dict) else None
        function = wrapped if isinstance(wrapped, dict) else {}
        name = function.get("name")
        arguments = function.get("arguments") or ""
        if isinstance(name, str) and isinstance(arguments, str):
            yield Call(name, arguments, str(one.get("id") or ""))
        else:
            yield Call("", "")


def _arguments(given: Any) -> Any:
    """As text; some servers leave them out where there are none, or send what they mean."""
    return msgspec.json.encode(given).decode() if isinstance(given, dict) else given or ""


def _usage(told: Any) -> Usage:
    try:
        return msgspec.convert(told, Usage)
    except msgspec.ValidationError:
        return NO_USAGE


def completion_of(said: Said) -> dict[str, Any]:
    """The completion of a chat that says so."""
    return {
        "id": _new_id(),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": said.model,
        "choices": [_told_choice(at, choice) for at, choice in enumerate(said.choices)],
        "usage": _told(said.usage),
    }


def _told_choice(index: int, choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text}
    if choice.calls:
        message["tool_calls"] = [_called(call) for call in choice.calls]
    return {"index": index, "message": message, "finish_reason": ended_as(choice.finish)}


def _called(call: Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _told(usage: Usage) -> dict[str, int]:
    asked, said = usage.prompt_tokens, usage.completion_tokens
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def deltas_of(chunk: Mapping[str, Any]) -> Sequence[Delta]:
    """What a chunk says of its first choice; nothing where it is of a strange shape."""
    try:
        return list(_deltas(chunk))
    except (AttributeError, TypeError, *UNREADABLE):
        return ()


def _deltas(chunk: Mapping[str, Any]) -> Iterator[Delta]:
    for choice in chunk.get("choices") or ():
        if choice.get("index", 0) != 0:
            continue
        delta = choice.get("delta") or {}
        if delta:
            yield Began(str(chunk.get("model") or ""))
        if text := _text(delta.get("content")) or _text(delta.get("refusal")):
            yield Part(text)
        for at, call in enumerate(delta.get("tool_calls") or ()):
            function = call.get("function") or {}
            yield Part(
                _arguments(function.get("arguments")),
                call.get("index", at),
                function.get("name") or "",
                call.get("id") or "",
            )
        if finish := choice.get("finish_reason"):
            yield Ended(str(finish))
    if chunk.get("usage"):
        yield Ended("", _usage(chunk["usage"]))


class ChunkWriter:
    """A stream of chunks, its usage included in an event of its own."""

    def __init__(self) -> None:
        self._common: dict[str, Any] = {
            "id": _new_id(),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": "",
        }
        self._calls: dict[int, int] = {}
        self._usage = NO_USAGE

    def write(self, deltas: Iterable[Delta]) -> bytes:
        """The chunks that say so."""
        return b"".join(self._write(delta) for delta in deltas)

    def end(self) -> bytes:
        """Usage, where it is known, and ``[DONE]``."""
        if self._usage == NO_USAGE:
            return DONE
        last = {**self._common, "choices": [], "usage": _told(self._usage)}
        return event_of(msgspec.json.encode(last)) + DONE

    def _write(self, delta: Delta) -> bytes:
        if isinstance(delta, Began):
            self._common["model"] = delta.model
            self._usage = delta.usage
            return self._chunk({"role": "assistant", "content": ""})
        if isinstance(delta, Part):
            return self._chunk({"content": delta.text} if delta.call is None else self._call(delta))
        self._usage = Usage(
            delta.usage.prompt_tokens or self._usage.prompt_tokens,
            delta.usage.completion_tokens or self._usage.completion_tokens,
        )
        return self._chunk({}, ended_as(delta.finish)) if delta.finish else b""

    def _call(self, part: Part) -> dict[str, Any]:
        assert part.call is not None
        at = self._calls.setdefault(part.call, len(self._calls))
        if not part.name:
            return {"tool_calls": [{"index": at, "function": {"arguments": part.text}}]}
        call = _called(Call(part.name, part.text, part.id))
        return {"tool_calls": [{"index": at, **call}]}

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return event_of(msgspec.json.encode({**self._common, "choices": [choice]}))


def _new_id() -> str:
    return f"chatcmpl-{random.getrandbits(96):024x}"
