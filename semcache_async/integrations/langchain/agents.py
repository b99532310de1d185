"""Middleware for LangChain's agents::

agent = create_agent("openai:...", tools, middleware=[SemcacheMiddleware(cache)])
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse

from semcache_async.cache import SemanticCache
from semcache_async.integrations.langchain.model import SemcacheChatModel
from semcache_async.types import Scope

__all__ = ["SemcacheMiddleware"]


class SemcacheMiddleware(AgentMiddleware[Any, Any, Any]):
    """Asks the agent's model by ``SemcacheChatModel``. ``scope``: whose the calls are, or what says
    so by a request (``request.runtime.context`` is what the caller gave).

    Put it last, so that what other middleware makes of a request is what is asked.
    """

    def __init__(
        self,
        cache: SemanticCache,
        *,
        scope: Scope | Callable[[ModelRequest[Any]], Scope] = Scope(),
    ) -> None:
        super().__init__()
        self._cache = cache
        self._scope = scope

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        return await handler(self._cached(request))

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ModelResponse[Any]:
        return handler(self._cached(request))

    def _cached(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        scope = self._scope if isinstance(self._scope, Scope) else self._scope(request)
        model = SemcacheChatModel(request.model, self._cache, scope=scope)
        return request.override(model=model)
