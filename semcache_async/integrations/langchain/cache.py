"""LangChain's cache of model calls."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.outputs import ChatGeneration, Generation

from semcache_async.cache import SemanticCache
from semcache_async.complaints import Complaints
from semcache_async.integrations.langchain.messages import (
    calls_tools,
    generations,
    is_worth_keeping,
    read,
    written,
)
from semcache_async.integrations.threads import check_thread, from_thread
from semcache_async.types import Scope, Source

__all__ = ["TAG", "SemcacheCache"]

TAG = "langchain"
"""Of all that LangChain's calls stored."""


class SemcacheCache(BaseCache):
    """Answers model calls from ``cache``, for ``scope``: whose they are, and what their answers
    depend on beside the call.

    The plain methods are for other threads than that of the cache's event loop, where they raise
    ``WrongLoopError``. What fails otherwise is logged and counts as a miss; but ``clear`` raises.

    What is not kept, ``SemcacheChatModel`` says. An answer that calls tools, as one to a call that
    offers some, serves its own wording alone.
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
        """Forget what LangChain's calls stored for the same tenant, by this or another of these."""
        await self._cache.invalidate(tenant=self._scope.tenant, tags=(TAG,))

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
        call = read(self._cache.config, self._scope, prompt, llm_string)
        if not call.caches:
            return None
        answer = await self._cache.lookup(call.prompt, scope=call.scope)
        if answer is None:
            return None
        found = generations(answer.text)
        if answer.source is not Source.EXACT and any(map(calls_tools, found)):
            return None
        for one in found:
            if isinstance(one, ChatGeneration):
                one.message.id = f"lc_{uuid4()}"  # a state of messages keeps one of each id
        return found

    async def _keep(self, prompt: str, llm_string: str, answers: RETURN_VAL_TYPE) -> None:
        config = self._cache.config
        call = read(config, self._scope, prompt, llm_string)
        if not call.caches or not answers:
            return
        if not all(is_worth_keeping(answer, config) for answer in answers):
            return
        try:
            text = written(answers)
        except ValueError:
            return
        await self._cache.store(call.prompt, text, scope=call.scope, tags=(TAG,))

    def _complain(self, kind: str, error: Exception) -> None:
        self._complaints.warn(f"LangChain's {kind} went without the cache", error)
