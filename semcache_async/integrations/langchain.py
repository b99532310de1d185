"""LangChain's cache of model calls::

    model = ChatOpenAI(model="...", cache=SemcacheCache(cache))

The text of the last human message is matched by meaning. All else is scope, by hash: the model with
its parameters, the messages before and after that one, and what it holds beside its last text.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any
from uuid import uuid4

import msgspec
from langchain_core._api import suppress_langchain_beta_warning
from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation, GenerationChunk

from semcache_async.cache import SemanticCache
from semcache_async.complaints import Complaints
from semcache_async.errors import PromptError
from semcache_async.integrations.threads import check_thread, from_thread
from semcache_async.text.cacheable import has_numbers_of_somebody, is_personal, is_time_bound
from semcache_async.types import Scope, Source

__all__ = ["SemcacheCache"]

_TAG = "langchain"
_READABLE = (Generation, GenerationChunk, ChatGeneration, AIMessage)
"""All that a stored entry can be made into."""
_REASONS = ("finish_reason", "stop_reason", "done_reason", "status")
_ENDS = {"stop", "eos", "eos_token", "end", "end_turn", "stop_sequence", "complete", "completed"}
_CALLS = {"tool_calls", "tool_call", "tool_use", "function_call"}


class SemcacheCache(BaseCache):
    """Answers model calls from ``cache``, for ``scope``: whose they are, and what their answers
    depend on beside the call.

    The plain methods are for other threads than that of the cache's event loop, where they raise
    ``WrongLoopError``. What fails otherwise is logged and counts as a miss; but ``clear`` raises.

    Not kept: prompts that are personal (``CacheConfig.refuse_personal``) or time-bound, answers
    that are cut off, refused or empty, and what JSON cannot carry. One that calls tools serves
    its own wording alone.
    """

    def __init__(self, cache: SemanticCache, *, scope: Scope = Scope()) -> None:
        self._cache = cache
        self._scope = scope
        self._complaints = Complaints()

    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        try:
            return await self._find(prompt, llm_string)
        except Exception as error:
            self._complain("lookup", error)
            return None

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        try:
            await self._keep(prompt, llm_string, return_val)
        except Exception as error:
            self._complain("update", error)

    async def aclear(self, **kwargs: Any) -> None:
        """Forget what this stored, and what others of its kind did for the same tenant."""
        await self._cache.invalidate(tenant=self._scope.tenant, tags=(_TAG,))

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        check_thread(self._cache)
        try:
            return from_thread(self._cache, lambda: self._find(prompt, llm_string))
        except Exception as error:
            self._complain("lookup", error)
            return None

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        check_thread(self._cache)
        try:
            from_thread(self._cache, lambda: self._keep(prompt, llm_string, return_val))
        except Exception as error:
            self._complain("update", error)

    def clear(self, **kwargs: Any) -> None:
        from_thread(self._cache, self.aclear)

    async def _find(self, prompt: str, llm_string: str) -> list[Generation] | None:
        text, scope = self._read(prompt, llm_string)
        answer = await self._cache.lookup(text, scope=scope) if scope else None
        if answer is None:
            return None
        found = _generations(answer.text)
        if answer.source is not Source.EXACT and any(map(_calls, found)):
            return None
        for one in found:
            if isinstance(one, ChatGeneration):
                one.message.id = f"lc_{uuid4()}"  # a state of messages keeps one of each id
        return found

    async def _keep(self, prompt: str, llm_string: str, answers: RETURN_VAL_TYPE) -> None:
        text, scope = self._read(prompt, llm_string)
        if scope is None or not answers or not all(map(self._is_worth_keeping, answers)):
            return
        written = dumps(list(answers))
        if _generations(written) == list(answers):
            await self._cache.store(text, written, scope=scope, tags=(_TAG,))

    def _read(self, prompt: str, llm_string: str) -> tuple[str, Scope | None]:
        """What is asked in which scope; without one, the cache has no part in it."""
        text, beside = _parts(prompt)
        if '"type": "not_implemented"' in beside:  # known by a repr, which may be that of others
            return text, None
        if is_time_bound(text) or (self._cache.config.refuse_personal and is_personal(text)):
            return text, None
        told = sha256(json.dumps([llm_string, beside]).encode()).hexdigest()
        parameters = {**self._scope.parameters, "langchain": told}
        return text, msgspec.structs.replace(self._scope, parameters=parameters)

    def _is_worth_keeping(self, answer: Generation) -> bool:
        notes = dict(answer.generation_info or {})
        if isinstance(answer, ChatGeneration):
            notes |= {**answer.message.additional_kwargs, **answer.message.response_metadata}
        calls = _calls(answer)
        return (
            (calls or bool(answer.text.strip()))
            and {str(notes.get(name) or "stop").casefold() for name in _REASONS}
            <= (_ENDS | _CALLS if calls else _ENDS)
            and not notes.get("refusal")
            and not (self._cache.config.refuse_personal and has_numbers_of_somebody(answer.text))
        )

    def _complain(self, kind: str, error: Exception) -> None:
        if not isinstance(error, PromptError):
            self._complaints.warn(f"LangChain's {kind} went without the cache", error)


def _parts(prompt: str) -> tuple[str, str]:
    """The text to match, and all that is beside it; where that cannot be told, twice the whole."""
    try:
        messages = json.loads(prompt)
    except ValueError:
        messages = None
    if not isinstance(messages, list):
        return prompt, ""
    if json.dumps(messages) == prompt:  # nothing was lost in reading it
        for message in reversed(messages):
            match message:
                case {
                    "lc": 1,
                    "type": "constructor",
                    "id": [*_, "HumanMessage"],
                    "kwargs": dict(said),
                }:
                    text = _cut(said)
                    return (prompt, prompt) if text is None else (text, json.dumps(messages))
    return prompt, prompt


def _cut(message: dict[str, Any]) -> str | None:
    """Take out the last text of a human message."""
    holder, at = message, "content"
    if isinstance(message.get(at), list):
        blocks = [block for block in message[at] if isinstance(block, dict)]
        texts = [block for block in blocks if block.get("type") == "text"]
        holder, at = texts[-1] if texts else {}, "text"
    text = holder.get(at)
    holder[at] = None
    return text if isinstance(text, str) else None


def _generations(text: str) -> list[Generation]:
    """Raises for whatever is not a list of them."""
    with suppress_langchain_beta_warning():
        found = loads(text, allowed_objects=_READABLE, secrets_from_env=False)
    if isinstance(found, list) and found and all(isinstance(one, Generation) for one in found):
        return found
    raise ValueError("This is no list of generations.")


def _calls(answer: Generation) -> bool:
    """Does it call tools?"""
    return isinstance(answer, ChatGeneration) and bool(getattr(answer.message, "tool_calls", ()))
