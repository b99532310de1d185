"""Pydantic AI's models, answered from the cache::

    agent = Agent(SemcacheModel("openai:...", cache))

The last text of the last user prompt is matched by meaning. All else is scope, by hash: the model
with its settings, instructions, the history, tools, the output's schema. A request that offers
tools, or wants anything but text, is answered from its own wording alone.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter
from pydantic_ai import RunContext
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelResponse,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from pydantic_ai.models import (
    KnownModelName,
    Model,
    ModelRequestParameters,
    StreamedResponse,
)
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from semcache_async.cache import SemanticCache
from semcache_async.config import CacheConfig
from semcache_async.integrations.calls import (
    Call,
    answered,
    has_ended,
    is_plain,
    read_call,
    streamed,
)
from semcache_async.types import Scope

__all__ = ["SemcacheModel"]

Piece = ModelResponseStreamEvent | ModelResponse
"""Of a stream; the whole response is its last."""

_PIECE: TypeAdapter[Piece] = TypeAdapter(Piece)
_RESPONSE: TypeAdapter[ModelResponse] = TypeAdapter(ModelResponse)
_PARAMETERS: TypeAdapter[ModelRequestParameters] = TypeAdapter(ModelRequestParameters)
_OF_A_RUN = {"timestamp", "run_id", "conversation_id", "metadata", "usage", "failed_attempts"}
"""What the model is not told of a message."""
_OF_A_CALL = {"timeout", "request_timeout", "first_event_timeout", "max_retries"}
_SETS = ("revealed_tool_names", "introduced_tool_names", "deferred_capability_ids")
_AT_THE_END = (
    *("finish_reason", "provider_details", "provider_response_id", "canonical_system", "state"),
    *("metadata", "failed_attempts"),
)


class SemcacheModel(WrapperModel):
    """Answers requests from ``cache``, for ``scope``: whose they are, and what their answers depend
    on beside the request. Requests that are under way are shared, streams too. What was not made
    for its caller has no usage.

    Past the cache go prompts that are personal (``CacheConfig.refuse_personal``), time-bound or
    for something new, a temperature of 1 or more, native tools, and what depends on the provider's
    state. Not kept: responses that are cut off or empty, or hold more than text, thinking and
    calls.
    """

    def __init__(
        self,
        wrapped: Model | KnownModelName | str,
        cache: SemanticCache,
        *,
        scope: Scope = Scope(),
        tags: Sequence[str] = (),
    ) -> None:
        super().__init__(wrapped)
        self._cache = cache
        self._scope = scope
        self._tags = tags
        self._form = _Responses(cache.config)

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        return await answered(
            self._cache,
            self._call(messages, model_settings, model_request_parameters),
            self._form,
            lambda: self.wrapped.request(messages, model_settings, model_request_parameters),
            tags=self._tags,
        )

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse, None]:
        async def generate() -> AsyncIterator[Piece]:
            async with self.wrapped.request_stream(
                messages, model_settings, model_request_parameters, run_context
            ) as stream:
                async for event in stream:
                    if isinstance(event, PartStartEvent | PartDeltaEvent):
                        yield event
                yield stream.get()

        call = self._call(messages, model_settings, model_request_parameters)
        pieces = streamed(self._cache, call, self._form, generate, tags=self._tags)
        async with aclosing(pieces):
            first = await anext(pieces)  # an LLM that refuses does so here
            yield _Stream(self, model_request_parameters, first, pieces)

    def _call(
        self,
        messages: list[ModelMessage],
        settings: ModelSettings | None,
        parameters: ModelRequestParameters,
    ) -> Call:
        told, offered = self.prepare_request(settings, parameters)
        known = {name: value for name, value in (told or {}).items() if name not in _OF_A_CALL}
        tools = [*offered.function_tools, *offered.output_tools]
        text: str | None = None
        beside: list[Any] = [_identity(self.wrapped), known]
        if not offered.native_tools:
            with suppress(TypeError, ValueError):  # what JSON cannot say
                wanted = _PARAMETERS.dump_python(offered, mode="json")
                text, left = _cut(ModelMessagesTypeAdapter.dump_python(messages, mode="json"))
                beside += [{**wanted, **{name: sorted(wanted[name]) for name in _SETS}}, left]
        return read_call(
            self._cache.config,
            self._scope,
            "pydantic_ai",
            text,
            beside,
            {**known, "tools": [{"name": tool.name} for tool in tools]},
            exact=offered.output_object is not None,
        )


class _Stream(StreamedResponse):
    """A response as its pieces come."""

    def __init__(
        self,
        model: Model,
        parameters: ModelRequestParameters,
        first: Piece,
        pieces: AsyncGenerator[Piece, None],
    ) -> None:
        super().__init__(parameters)
        self._first = first
        self._pieces = pieces
        self._known = ModelResponse(
            (), model_name=model.model_name, provider_name=model.system, provider_url=model.base_url
        )

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        piece: Piece | None = self._first
        while piece is not None:
            if isinstance(piece, ModelResponse):
                self._end(piece)
            else:
                self._parts_manager.apply_event(piece)
                yield piece
            piece = await anext(self._pieces, None)

    def _end(self, whole: ModelResponse) -> None:
        self._known = whole
        self._usage = whole.usage
        for name in _AT_THE_END:
            setattr(self, name, getattr(whole, name))

    async def close_stream(self) -> None:
        with suppress(RuntimeError):  # it is being read, and ends there
            await self._pieces.aclose()

    @property
    def model_name(self) -> str:
        return self._known.model_name or ""

    @property
    def provider_name(self) -> str | None:
        return self._known.provider_name

    @property
    def provider_url(self) -> str | None:
        return self._known.provider_url

    @property
    def timestamp(self) -> datetime:
        return self._known.timestamp


class _Responses:
    """Responses in Pydantic AI's own JSON."""

    def __init__(self, config: CacheConfig) -> None:
        self._config = config

    def write(self, answer: ModelResponse, /) -> str:
        return json.dumps(_RESPONSE.dump_python(answer, mode="json"))

    def read(self, text: str, /) -> ModelResponse:
        return _for_another(_RESPONSE.validate_python(json.loads(text)))

    def calls(self, answer: ModelResponse, /) -> bool:
        return bool(answer.tool_calls)

    def is_worth_keeping(self, answer: ModelResponse, /) -> bool:
        calls = self.calls(answer)
        return (
            answer.state == "complete"
            and has_ended([answer.finish_reason], calls=calls)
            and all(type(part) in (TextPart, ThinkingPart, ToolCallPart) for part in answer.parts)
            and is_plain(answer.text or "", self._config, calls=calls)
        )

    def write_piece(self, piece: Piece, /) -> str:
        return json.dumps(_PIECE.dump_python(piece, mode="json"))

    def read_piece(self, text: str, /) -> Piece:
        piece = _PIECE.validate_python(json.loads(text))
        return _for_another(piece) if isinstance(piece, ModelResponse) else piece

    def joined(self, pieces: Sequence[Piece], /) -> ModelResponse:
        whole = pieces[-1]
        assert isinstance(whole, ModelResponse)
        return whole

    def in_pieces(self, answer: ModelResponse, /) -> Iterable[Piece]:
        for index, part in enumerate(answer.parts):
            yield PartStartEvent(index=index, part=part)
        yield answer


def _identity(model: Model) -> list[Any]:
    """What tells it from others; of one that falls back, those that it asks."""
    one = model.wrapped if isinstance(model, WrapperModel) else model
    others = [[_identity(each), each.settings] for each in getattr(one, "models", ())]
    return [model.model_id, model.base_url, others]


def _for_another(answer: ModelResponse) -> ModelResponse:
    """As it is for those who did not ask for it first."""
    return replace(answer, usage=RequestUsage(), timestamp=datetime.now(UTC))


def _cut(messages: list[dict[str, Any]]) -> tuple[str | None, list[dict[str, Any]]]:
    """Take the last text out of the last user prompt, and what the model is not told."""
    left = [
        {name: value for name, value in message.items() if name not in _OF_A_RUN}
        for message in messages
    ]
    parts = [part for message in left for part in message["parts"]]
    for part in parts:
        part.pop("timestamp", None)
    for part in reversed(parts):
        if part["part_kind"] == "user-prompt":
            said = part["content"]
            if isinstance(said, str):
                part["content"] = None
                return said, left
            for at in reversed(range(len(said))):
                one = said[at]
                if isinstance(one, str) or one.get("kind") == "text-content":
                    said[at] = None
                    return (one if isinstance(one, str) else one["content"]), left
            break
    return None, left
