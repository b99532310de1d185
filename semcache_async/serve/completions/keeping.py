"""Whether an answer may be kept and given to others who ask the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Self

import anyio.to_thread
import msgspec

from semcache_async.serve.apis.api import UNREADABLE, Call, Choice, Request, Usage
from semcache_async.serve.bypass import Unkept
from semcache_async.serve.completions.schemas import fits
from semcache_async.serve.completions.tools import PureTools
from semcache_async.serve.settings import Settings
from semcache_async.text.cacheable import has_numbers_of_somebody

__all__ = ["Keeping", "Worth"]

_OF_CALLS = frozenset(("tool_calls", "function_call", "tool_use"))


class Worth(NamedTuple):
    """What an answer must have cost to be kept, and the prices of a million tokens."""

    usd: float
    usd_in: float
    usd_out: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        prices = settings.usd_per_million_tokens_in, settings.usd_per_million_tokens_out
        return cls(settings.min_answer_usd, *prices)

    def is_over(self, usage: Usage) -> bool:
        """Did it cost less, as far as it says what it used?"""
        cost = usage.prompt_tokens * self.usd_in + usage.completion_tokens * self.usd_out
        return 0 < cost < self.usd * 1e6


class Keeping:
    """One service's rule: each choice ended by itself and says something that is what was asked
    for, and neither a refusal, a tool call nor somebody's numbers; a pure tool's call may be kept.
    """

    def __init__(
        self,
        finish_reasons: Collection[str],
        pure_tools: Collection[str] = (),
        *,
        refuse_personal: bool = False,
        worth: Worth | None = None,
    ) -> None:
        """``finish_reasons``: those by which a choice ends by itself, in any case; ``pure_tools``:
        patterns of their names."""
        self._refuse_personal = refuse_personal
        self._worth = worth
        self._ends = frozenset(map(str.casefold, finish_reasons))
        self._pure = PureTools(pure_tools)

    async def why_not(self, answer: Mapping[str, Any], request: Request) -> Unkept | None:
        """None for an answer to ``request``, in its API, that may be kept."""
        said = request.api.said(answer)
        if said is None or not said.choices:
            return Unkept.SHAPE
        if self._worth is not None and self._worth.is_over(said.usage):
            return Unkept.CHEAP
        calling = request.forced is not None or self._pure.all_of(request.offered)
        ends = self._ends | _OF_CALLS if calling else self._ends
        for choice in said.choices:
            reason = choice.finish.casefold()
            if choice.refused:
                return Unkept.REFUSAL
            if reason not in ends:
                return Unkept.TOOL_CALLS if reason in _OF_CALLS else Unkept.FINISH_REASON
            if request.forced is not None:
                why = await _of_call(choice.calls, request.forced.name, request.forced.schema)
            elif choice.calls and calling:
                why = self._of_calls(choice.calls)
            else:
                why = await _of_text(choice, request)
            if why is not None:
                return why
            if self._refuse_personal and has_numbers_of_somebody(choice.text or ""):
                return Unkept.PERSONAL
        return None

    def _of_calls(self, calls: Collection[Call]) -> Unkept | None:
        kept = self._pure.all_of([call.name for call in calls]) and all(map(_is_json, calls))
        return None if kept else Unkept.TOOL_CALLS


def _is_json(call: Call) -> bool:
    try:
        msgspec.json.decode(call.arguments or "{}")
    except UNREADABLE:
        return False
    return True


async def _of_text(choice: Choice, request: Request) -> Unkept | None:
    if choice.calls:
        return Unkept.TOOL_CALLS
    if choice.text is None or not choice.text.strip():
        return Unkept.EMPTY
    if not request.wants_json:
        return None
    return await _of_json(choice.text, request.schema)


async def _of_call(calls: Collection[Call], name: str, schema: Any) -> Unkept | None:
    if len(calls) != 1:
        return Unkept.TOOL_CALLS
    (call,) = calls
    return await _of_json(call.arguments, schema) if call.name == name else Unkept.TOOL_CALLS


async def _of_json(text: str, schema: Any) -> Unkept | None:
    try:
        value = msgspec.json.decode(text)
    except UNREADABLE:
        return Unkept.FORMAT
    if not isinstance(schema, dict):
        return None
    return None if await anyio.to_thread.run_sync(fits, value, schema) else Unkept.SCHEMA
