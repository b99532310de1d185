"""The models of OpenAI's Agents SDK, answered from the cache::

    await Runner.run(agent, "...", run_config=RunConfig(model_provider=SemcacheProvider(cache)))

The last text of the last user message is matched by meaning. All else is scope, by hash: the model
with its settings, instructions, the items before and after, tools, handoffs, the output's schema. A
request that offers tools or handoffs, or wants structured output, is answered from its own wording
alone.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, suppress
from inspect import signature
from time import time
from typing import Any, cast

from agents import (
    FunctionTool,
    Model,
    ModelProvider,
    ModelResponse,
    MultiProvider,
    Usage,
)
from agents.items import TResponseOutputItem, TResponseStreamEvent
from agents.retry import ModelRetryAdvice, ModelRetryAdviceRequest
from openai._models import construct_type
from openai.types.responses import (
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputItemDoneEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseReasoningItem,
)

from semcache_async.cache import SemanticCache
from semcache_async.config import CacheConfig
from semcache_async.errors import ConfigError
from semcache_async.integrations.calls import (
    Call,
    answered,
    cut_last,
    is_plain,
    read_call,
    streamed,
)
from semcache_async.types import Scope

__all__ = ["SemcacheModel", "SemcacheProvider"]

_GIVEN = signature(Model.get_response)
_OF_A_CALL = {"timeout", "retry", "include_usage", "preserve_raw_usage"}
_STATE = ("previous_response_id", "conversation_id")
_EXTRAS = ("extra_args", "extra_body", "extra_query")
_OF_A_TOOL = (
    *("name", "description", "params_json_schema", "strict_json_schema", "defer_loading"),
    "output_json_schema",
)
_OF_A_HANDOFF = ("tool_name", "tool_description", "input_json_schema", "strict_json_schema")
_WHOLE = {
    "object": "response",
    "model": "",
    "parallel_tool_calls": False,
    "tool_choice": "auto",
    "tools": [],
}


class SemcacheProvider(ModelProvider):
    """The models of ``provider`` (by default OpenAI's and those with a prefix), each one a
    ``SemcacheModel``."""

    def __init__(
        self,
        cache: SemanticCache,
        provider: ModelProvider | None = None,
        *,
        scope: Scope = Scope(),
        tags: Sequence[str] = (),
    ) -> None:
        self._cache = cache
        self._provider = provider or MultiProvider()
        self._scope = scope
        self._tags = tags

    def get_model(self, model_name: str | None) -> Model:
        model = self._provider.get_model(model_name)
        return SemcacheModel(
            model, self._cache, name=model_name, scope=self._scope, tags=self._tags
        )

    async def aclose(self) -> None:
        await self._provider.aclose()


class SemcacheModel(Model):
    """Answers requests from ``cache``, for ``scope``: whose they are, and what their answers depend
    on beside the request. Requests that are under way are shared, streams too. What was not made
    for its caller has no usage. ``name`` tells the model from others of its class that have no
    ``model``.

    Past the cache go prompts that are personal (``CacheConfig.refuse_personal``), time-bound or
    for something new, a temperature of 1 or more, tools that are no functions, and what depends on
    the provider's state (``previous_response_id``, ``conversation_id``, ``prompt``). Not kept:
    responses that are cut off, refused or empty, or hold more than text, reasoning and calls.
    """

    def __init__(
        self,
        model: Model,
        cache: SemanticCache,
        *,
        name: str | None = None,
        scope: Scope = Scope(),
        tags: Sequence[str] = (),
    ) -> None:
        kind, own = type(model), getattr(model, "model", None)
        if name is None and not isinstance(own, str):
            raise ConfigError(
                f"What tells this {kind.__qualname__} from others is not known: give a name."
            )
        client = getattr(model, "_client", model)  # LiteLLM's models have their URL themselves
        self._model = model
        self._identity = [
            *(kind.__module__, kind.__qualname__, name),
            *(str(own), str(getattr(client, "base_url", ""))),
        ]
        self._cache = cache
        self._scope = scope
        self._tags = tags
        self._form = _Responses(cache.config)

    async def get_response(self, *asked: Any, **options: Any) -> ModelResponse:
        return await answered(
            self._cache,
            self._call(*asked, **options),
            self._form,
            lambda: self._model.get_response(*asked, **options),
            tags=self._tags,
        )

    async def stream_response(
        self, *asked: Any, **options: Any
    ) -> AsyncGenerator[TResponseStreamEvent, None]:
        async def generate() -> AsyncIterator[TResponseStreamEvent]:
            events: Any = self._model.stream_response(*asked, **options)
            try:
                async for event in events:
                    yield event
            finally:
                if hasattr(events, "aclose"):
                    await events.aclose()

        call = self._call(*asked, **options)
        async with aclosing(
            streamed(self._cache, call, self._form, generate, tags=self._tags)
        ) as pieces:
            async for piece in pieces:
                yield piece

    def get_retry_advice(self, request: ModelRetryAdviceRequest) -> ModelRetryAdvice | None:
        return self._model.get_retry_advice(request)

    async def _cleanup_on_run_end(self, owner: object) -> None:
        await self._model._cleanup_on_run_end(owner)

    async def close(self) -> None:
        await self._model.close()

    def _call(self, *asked: Any, **options: Any) -> Call:
        """Of what ``Model.get_response`` is given."""
        given = _GIVEN.bind(self, *asked, **options).arguments
        settings, schema = given["model_settings"], given["output_schema"]
        tools, handoffs, items = given["tools"], given["handoffs"], given["input"]
        structured = schema is not None and not schema.is_plain_text()
        text: str | None = None
        known: dict[str, Any] = {}
        beside: list[Any] = [self._identity, given["system_instructions"]]
        with suppress(AttributeError, TypeError, ValueError):  # what JSON cannot say
            told = settings.to_json_dict()
            if isinstance(items, str):
                items = [{"role": "user", "content": items}]
            known = {**told, **{name: given.get(name) for name in _STATE}}
            known["tools"] = [{"name": ""} for _ in (*tools, *handoffs)]
            if not (
                any("prompt" in (one or ()) for one in (told.get(name) for name in _EXTRAS))
                or given.get("prompt")
                or any(item.get("type") == "item_reference" for item in items)
                or not all(isinstance(tool, FunctionTool) for tool in tools)
            ):
                text, left = cut_last(items)
                beside += [
                    {name: value for name, value in told.items() if name not in _OF_A_CALL},
                    [[getattr(tool, name) for name in _OF_A_TOOL] for tool in tools],
                    [[getattr(one, name) for name in _OF_A_HANDOFF] for one in handoffs],
                    [schema.name(), schema.json_schema()] if structured else None,
                    left,
                ]
        return read_call(
            self._cache.config,
            self._scope,
            "openai_agents",
            text,
            beside,
            known,
            exact=structured,
        )


class _Responses:
    """Responses as JSON: their items in OpenAI's form."""

    def __init__(self, config: CacheConfig) -> None:
        self._config = config

    def write(self, answer: ModelResponse, /) -> str:
        output = [_dumped(item) for item in answer.output]
        text = json.dumps([answer.response_id, output])
        if self.read(text).output != answer.output:
            raise ValueError("It cannot be read back.")
        return text

    def read(self, text: str, /) -> ModelResponse:
        match json.loads(text):
            case [(str() | None) as response_id, list(output)]:
                items = [construct_type(type_=TResponseOutputItem, value=item) for item in output]
                return ModelResponse(cast(Any, items), Usage(), response_id)
        raise ValueError("This is no response.")

    def calls(self, answer: ModelResponse, /) -> bool:
        return any(isinstance(item, ResponseFunctionToolCall) for item in answer.output)

    def is_worth_keeping(self, answer: ModelResponse, /) -> bool:
        words = [""]
        for item in answer.output:
            if isinstance(item, ResponseOutputMessage):
                for part in item.content:
                    if not isinstance(part, ResponseOutputText):
                        return False
                    words.append(part.text)
            elif not isinstance(item, ResponseReasoningItem | ResponseFunctionToolCall):
                return False
            if getattr(item, "status", None) not in (None, "completed"):
                return False
        return is_plain("".join(words), self._config, calls=self.calls(answer))

    def write_piece(self, piece: TResponseStreamEvent, /) -> str:
        return json.dumps(_dumped(piece))

    def read_piece(self, text: str, /) -> TResponseStreamEvent:
        piece = _event(json.loads(text))
        if isinstance(piece, ResponseCompletedEvent):
            piece.response.usage = None
        return piece

    def joined(self, pieces: Sequence[TResponseStreamEvent], /) -> ModelResponse:
        """Of nothing, where it did not come to its end."""
        done = [piece.item for piece in pieces if isinstance(piece, ResponseOutputItemDoneEvent)]
        match pieces:
            case [*_, ResponseCompletedEvent(response=whole)]:
                return ModelResponse(whole.output or done, Usage(), whole.id)
        return ModelResponse([], Usage(), None)

    def in_pieces(self, answer: ModelResponse, /) -> Iterable[TResponseStreamEvent]:
        output = [_dumped(item) for item in answer.output]
        events: list[dict[str, Any]] = []
        for at, item in enumerate(output):
            events.append({"type": "response.output_item.added", "output_index": at, "item": item})
            events += [
                {
                    "type": "response.output_text.delta",
                    "output_index": at,
                    "logprobs": [],
                    "item_id": item.get("id"),
                    "content_index": index,
                    "delta": part["text"],
                }
                for index, part in enumerate(item.get("content") or ())
                if part["type"] == "output_text"
            ]
            events.append({"type": "response.output_item.done", "output_index": at, "item": item})
        whole = {"id": answer.response_id, "output": output, "status": "completed", **_WHOLE}
        whole["created_at"] = time()
        events.append({"type": "response.completed", "response": whole})
        for number, event in enumerate(events):
            yield _event({**event, "sequence_number": number})


def _event(told: object) -> TResponseStreamEvent:
    return cast(TResponseStreamEvent, construct_type(type_=TResponseStreamEvent, value=told))


def _dumped(one: TResponseOutputItem | TResponseStreamEvent) -> dict[str, Any]:
    return one.model_dump(mode="json", exclude_unset=True, warnings=False)
