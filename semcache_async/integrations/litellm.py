"""LiteLLM's cache of chat completions::

    litellm.cache = SemcacheCache(cache)

The last text of the last user message is matched by meaning. All else is scope, by hash: the model,
every parameter, the messages before and after, and whose key it is (``user_api_key``, its team and
organisation). A call that offers tools, or wants JSON, is answered from its own wording alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import msgspec
from litellm.caching.base_cache import BaseCache
from litellm.caching.caching import Cache
from litellm.litellm_core_utils.model_param_helper import ModelParamHelper
from litellm.types.utils import is_litellm_owned_kwarg

from semcache_async.cache import SemanticCache
from semcache_async.complaints import Complaints
from semcache_async.integrations.calls import Call, cut_last, has_ended, is_plain, read_call
from semcache_async.integrations.threads import from_thread
from semcache_async.types import Scope

__all__ = ["SemcacheCache"]

_OF_A_CALL = {
    *("messages", "model", "stream", "stream_options", "timeout", "max_retries", "drop_params"),
    *("litellm_params", "parent_otel_span", "deployment_id", "specific_deployment"),
}
_SHAPING = {"guardrails", "headers", "hf_model_name", "roles"}
_OF_AN_UPSTREAM = ("custom_llm_provider", "api_base", "api_version", "api_key")


class SemcacheCache(Cache):  # type: ignore[misc]
    """Answers chat completions from ``cache``, for ``scope``: whose they are, and what their
    answers depend on beside the call. ``options`` are LiteLLM's (``mode``, ``ttl``, ``namespace``).

    Plain ``completion`` asks it from other threads than that of the cache's event loop. What fails
    is logged and counts as a miss.

    Past the cache go prompts that are personal (``CacheConfig.refuse_personal``), time-bound or
    for something new, a temperature of 1 or more, and what depends on the provider's state. Not
    kept: answers that are cut off, refused or empty.
    """

    def __init__(
        self,
        cache: SemanticCache,
        *,
        scope: Scope = Scope(),
        tags: Sequence[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(supported_call_types=["completion", "acompletion"], **options)
        self.cache = _Entries(cache, scope, tags)
        self._config = cache.config
        self._complaints = Complaints()

    def should_use_cache(self, **kwargs: Any) -> bool:
        return self._call(kwargs).caches and super().should_use_cache(**kwargs) is True

    def get_cache_key(self, **kwargs: Any) -> str:
        """The digest of all but the text to match."""
        parameters = self._call(kwargs).scope.parameters
        return "-".join(str(parameters.get(name, "")) for name in ("litellm", "exact"))

    def _call(self, kwargs: Mapping[str, Any]) -> Call:
        try:
            return self._read(kwargs)
        except Exception as error:
            self._complaints.warn("LiteLLM's call was not understood by the cache", error)
            return Call("-", Scope(), caches=False)

    def _read(self, kwargs: Mapping[str, Any]) -> Call:
        text, left = _cut(kwargs.get("messages"))
        known = ModelParamHelper.get_all_llm_api_params()
        told = {
            name: value
            for name, value in kwargs.items()
            if (name in known or _is_told(name) or not is_litellm_owned_kwarg(name))
            and name not in _OF_A_CALL
            and value is not None
        }
        schema: Any = told.get("response_format")
        if hasattr(schema, "model_json_schema"):
            told["response_format"] = schema.model_json_schema()
        sources = [
            source[name] or {}
            for source in (kwargs, kwargs.get("litellm_params") or {})
            for name in ("metadata", "litellm_metadata")
            if name in source
        ]
        owner = [
            next((str(source[name]) for source in sources if source.get(name) is not None), None)
            for name in self._semantic_cache_scope_fields()
        ]
        routed = any(source.get("model_group") for source in sources)  # its deployments are one
        upstream = None if routed else [str(kwargs.get(name)) for name in _OF_AN_UPSTREAM]
        model = self._get_model_param_value({"model": "", **kwargs})
        namespace = self._add_namespace_to_cache_key("", **kwargs)
        return read_call(
            self._config,
            self.cache.scope,
            "litellm",
            text,
            [told, left, owner, upstream, model, namespace],
            told,
        )


def _is_told(name: str) -> bool:
    """A parameter of LiteLLM's own by which the model is told more, or less?"""
    return name in _SHAPING or "prompt" in name


def _cut(messages: Any) -> tuple[str | None, list[dict[str, Any]]]:
    """Messages of a history may be responses' own, with fields that are None."""
    told = [one.model_dump() if hasattr(one, "model_dump") else one for one in messages or ()]
    return cut_last(
        [{name: value for name, value in dict(one).items() if value is not None} for one in told]
    )


class _Entries(BaseCache):  # type: ignore[misc]
    """Responses by the text that they answer, within the scope of a key."""

    def __init__(self, cache: SemanticCache, scope: Scope, tags: Sequence[str]) -> None:
        super().__init__()
        self._cache = cache
        self.scope = scope
        self._tags = tags
        self._complaints = Complaints()

    async def async_get_cache(self, key: str, **kwargs: Any) -> Any:
        try:
            return await self._find(key, kwargs)
        except Exception as error:
            self._complaints.warn("LiteLLM's lookup went without the cache", error)
            return None

    async def async_set_cache(self, key: str, value: Any, **kwargs: Any) -> None:
        try:
            await self._keep(key, value, kwargs)
        except Exception as error:
            self._complaints.warn("LiteLLM's storing went without the cache", error)

    async def async_set_cache_pipeline(self, cache_list: Any, **kwargs: Any) -> None:
        """Embeddings are not kept."""

    def get_cache(self, key: str, **kwargs: Any) -> Any:
        return self._from_thread("lookup", lambda: self._find(key, kwargs))

    def set_cache(self, key: str, value: Any, **kwargs: Any) -> None:
        self._from_thread("storing", lambda: self._keep(key, value, kwargs))

    async def disconnect(self) -> None:
        """The cache is its opener's to close."""

    def _from_thread(self, kind: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        try:
            return from_thread(self._cache, work)
        except Exception as error:
            self._complaints.warn(f"LiteLLM's {kind} went without the cache", error)

    async def _find(self, key: str, kwargs: Mapping[str, Any]) -> Any:
        text, scope = self._asked(key, kwargs)
        answer = await self._cache.lookup(text, scope=scope)
        return None if answer is None else json.loads(answer.text)

    async def _keep(self, key: str, value: Any, kwargs: Mapping[str, Any]) -> None:
        if not self._is_worth_keeping(json.loads(value["response"]), key):
            return
        text, scope = self._asked(key, kwargs)
        ttl = kwargs.get("ttl")
        ttl_s = None if ttl is None else float(ttl)
        written = json.dumps(value)
        await self._cache.store(text, written, scope=scope, tags=self._tags, ttl_s=ttl_s)

    def _asked(self, key: str, kwargs: Mapping[str, Any]) -> tuple[str, Scope]:
        parameters = {**self.scope.parameters, "litellm": key}
        scope = msgspec.structs.replace(self.scope, parameters=parameters)
        return _cut(kwargs["messages"])[0] or "", scope

    def _is_worth_keeping(self, response: Mapping[str, Any], key: str) -> bool:
        for choice in response["choices"]:
            message = choice["message"]
            text = message.get("content") or ""
            calls = message.get("tool_calls") or message.get("function_call")
            if (
                not has_ended([choice["finish_reason"]], calls=bool(calls))
                or message.get("refusal")
                or (calls and key.endswith("-"))  # which offers none
                or not is_plain(text, self._cache.config, calls=bool(calls))
            ):
                return False
        return bool(response["choices"])
