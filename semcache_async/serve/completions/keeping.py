"""Whether an answer may be kept and given to others who ask the same."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import anyio.to_thread
import msgspec

from semcache_async.serve.bypass import Unkept
from semcache_async.serve.completions.request import ChatRequest
from semcache_async.serve.completions.schemas import fits
from semcache_async.serve.upstream.completion import UNREADABLE, Completion
from semcache_async.serve.upstream.kinds import TEXT

__all__ = ["Keeping"]

_OF_CALLS = frozenset(("tool_calls", "function_call"))


class Keeping:
    """One service's rule: each choice ended by itself and says something that is what was asked
    for, and neither a refusal nor a tool call."""

    def __init__(self, finish_reasons: Collection[str]) -> None:
        """``finish_reasons``: those by which a choice ends by itself, in any case."""
        self._ends = frozenset(map(str.casefold, finish_reasons))

    async def why_not(self, completion: Completion, request: ChatRequest) -> Unkept | None:
        """None for an answer to ``request`` that may be kept."""
        choices = completion.get("choices")
        if not isinstance(choices, list) or not choices:
            return Unkept.SHAPE
        for choice in choices:
            message = choice.get("message") if isinstance(choice, dict) else None
            if message is None and request.kind is TEXT and isinstance(choice, dict):
                message = {"content": choice.get("text")}
            if not isinstance(message, dict):
                return Unkept.SHAPE
            reason = str(choice.get("finish_reason")).casefold()
            ends = self._ends if request.forced is None else self._ends | _OF_CALLS
            if message.get("refusal"):
                return Unkept.REFUSAL
            if reason not in ends:
                return Unkept.TOOL_CALLS if reason in _OF_CALLS else Unkept.FINISH_REASON
            if request.forced is None:
                why = await _of_text(message, request)
            else:
                why = await _of_call(message, request.forced.name, request.forced.schema)
            if why is not None:
                return why
        return None


async def _of_text(message: dict[str, Any], request: ChatRequest) -> Unkept | None:
    if message.get("tool_calls") or message.get("function_call"):
        return Unkept.TOOL_CALLS
    content = message.get("content")
    if not isinstance(content, str) or not content.strip():
        return Unkept.EMPTY
    if not request.wants_json:
        return None
    return await _of_json(content, request.schema)


async def _of_call(message: dict[str, Any], name: str, schema: Any) -> Unkept | None:
    called = message.get("function_call")
    calls = [{"function": called}] if called else message.get("tool_calls")
    if not isinstance(calls, list) or len(calls) != 1:
        return Unkept.TOOL_CALLS
    try:
        function = calls[0]["function"]
        arguments = function["arguments"] if function["name"] == name else None
    except (KeyError, TypeError):
        arguments = None
    if not isinstance(arguments, str):
        return Unkept.TOOL_CALLS
    return await _of_json(arguments, schema)


async def _of_json(text: str, schema: Any) -> Unkept | None:
    try:
        value = msgspec.json.decode(text)
    except UNREADABLE:
        return Unkept.FORMAT
    if not isinstance(schema, dict):
        return None
    return None if await anyio.to_thread.run_sync(fits, value, schema) else Unkept.SCHEMA
