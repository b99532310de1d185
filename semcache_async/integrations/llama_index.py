"""An LLM of LlamaIndex around another, which is asked for what the cache has not::

    Settings.llm = SemcacheLLM(OpenAI(model="..."), cache)

Of a template that is filled in (query engines do so), ``query_str`` is matched by meaning, else the
text of the last user message. All else is scope, by hash: the model with its parameters, the nodes
that were retrieved, the messages before, and what a call adds.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from functools import partial, reduce
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)
from llama_index.core.bridge.pydantic import PrivateAttr, SerializeAsAny
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM, ToolSelection
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.tools.types import BaseTool

from semcache_async.cache import SemanticCache
from semcache_async.config import CacheConfig
from semcache_async.integrations.calls import (
    REASONS,
    Around,
    Call,
    answered,
    cut_last,
    has_ended,
    is_plain,
    read_call,
    streamed,
)
from semcache_async.integrations.threads import (
    from_thread,
    in_worker,
    iterate_from_thread,
    iterate_in_worker,
)
from semcache_async.types import Scope

__all__ = ["SemcacheLLM"]

R = TypeVar("R", ChatResponse, CompletionResponse)
Asked: TypeAlias = "tuple[Call, _Form[R]]"

_TAG = "llama_index"
_OF_THE_LLM = (
    *("callback_manager", "completion_to_prompt", "messages_to_prompt", "output_parser"),
    *("pydantic_program_mode", "query_wrapper_prompt", "system_prompt"),
)
_NO_MATTER = {"api_key", "max_retries", "reuse_client", "timeout"}
"""What no answer depends on."""


class SemcacheLLM(Around, FunctionCallingLLM):
    """Answers as ``llm`` does, from ``cache`` where it can, for ``scope``: whose the calls are, and
    what their answers depend on beside the call. Callers who ask the same meanwhile share one call,
    whole or streamed. Its metadata and other attributes are ``llm``'s own.

    The plain methods are for other threads than that of the cache's event loop, where they raise
    ``WrongLoopError``; they ask ``llm`` by its plain methods. Callbacks and events tell of the
    calls that were made, and of no others; others' answers have no ``raw``.

    Not kept: prompts that are personal (``CacheConfig.refuse_personal``) or time-bound, answers
    that are cut off or empty, and what JSON cannot carry. A call that offers tools, or wants JSON,
    serves its own wording alone.
    """

    inner: SerializeAsAny[LLM]
    """The LLM that is asked."""
    _semcache: SemanticCache = PrivateAttr()
    _scope: Scope = PrivateAttr()

    def __init__(self, llm: LLM, cache: SemanticCache, *, scope: Scope = Scope()) -> None:
        if isinstance(llm, SemcacheLLM):  # which would wait for its own call
            llm = llm.inner
        super().__init__(inner=llm, **{name: getattr(llm, name) for name in _OF_THE_LLM})
        self._semcache = cache
        self._scope = scope

    @classmethod
    def class_name(cls) -> str:
        return "SemcacheLLM"

    @property
    def metadata(self) -> LLMMetadata:
        return self.inner.metadata

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        asked = self._chat(messages, kwargs)
        return await self._answered(asked, partial(self._llm().achat, messages, **kwargs))

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        asked = self._chat(messages, kwargs)
        return self._answered_here(asked, partial(self._llm().chat, messages, **kwargs))

    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        made = partial(self._llm().astream_chat, messages, **kwargs)
        return self._streamed(self._chat(messages, kwargs), partial(_pieces, made))

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        made = partial(self._llm().stream_chat, messages, **kwargs)
        return self._streamed_here(self._chat(messages, kwargs), made)

    async def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponse:
        asked = self._completion(prompt, formatted, kwargs)
        work = partial(self._llm().acomplete, prompt, formatted, **kwargs)
        return await self._answered(asked, work)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        asked = self._completion(prompt, formatted, kwargs)
        return self._answered_here(
            asked, partial(self._llm().complete, prompt, formatted, **kwargs)
        )

    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        made = partial(self._llm().astream_complete, prompt, formatted, **kwargs)
        asked = self._completion(prompt, formatted, kwargs)
        return self._streamed(asked, partial(_pieces, made))

    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        made = partial(self._llm().stream_complete, prompt, formatted, **kwargs)
        return self._streamed_here(self._completion(prompt, formatted, kwargs), made)

    # -- the ways

    async def _answered(self, asked: Asked[R], work: Callable[[], Awaitable[R]]) -> R:
        call, form = asked
        return await answered(self._semcache, call, form, work, tags=(_TAG,))

    def _answered_here(self, asked: Asked[R], work: Callable[[], R]) -> R:
        return from_thread(self._semcache, lambda: self._answered(asked, partial(in_worker, work)))

    async def _streamed(
        self, asked: Asked[R], pieces: Callable[[], AsyncIterator[R]]
    ) -> AsyncGenerator[R, None]:
        call, form = asked
        text = ""
        found: Any = streamed(self._semcache, call, form, pieces, tags=(_TAG,))
        async with aclosing(found) as each:
            async for piece in each:
                if isinstance(piece, _Piece):
                    text = form.after(text, piece)
                    yield piece.whole or form.made(text, piece.delta)
                else:
                    yield piece

    def _streamed_here(
        self, asked: Asked[R], made: Callable[[], Iterator[R]]
    ) -> Generator[R, None, None]:
        def pieces() -> AsyncGenerator[R, None]:
            return self._streamed(asked, partial(iterate_in_worker, made))

        yield from iterate_from_thread(self._semcache, pieces)

    # -- the call as the cache sees it

    def _chat(self, messages: Sequence[ChatMessage], kwargs: dict[str, Any]) -> Asked[ChatResponse]:
        try:
            text, left = cut_last([_as_openai_has_it(message) for message in messages])
        except ValueError:  # of what no JSON can carry, or tells of by where it is
            text, left = None, []
        beside: Any = left
        if text is not None and isinstance(messages, _Filled):
            text, beside = _cut(text, messages.query, left)
        return self._read("chat", text, beside, kwargs), _ChatForm(self._semcache.config)

    def _completion(
        self, prompt: str, formatted: bool, kwargs: dict[str, Any]
    ) -> Asked[CompletionResponse]:
        text, beside = prompt, [formatted]
        if isinstance(prompt, _FilledText):
            text, beside = _cut(prompt, prompt.query, formatted)
        call = self._read("completion", text, beside, kwargs)
        return call, _CompletionForm(self._semcache.config)

    def _read(self, kind: str, text: str | None, beside: Any, kwargs: dict[str, Any]) -> Call:
        llm = self.inner
        try:
            known = {**llm.model_dump(mode="json", fallback=_named), "type": type(llm).__qualname__}
        except (TypeError, ValueError):
            known, text = {}, None
        known = {name: value for name, value in known.items() if name not in _NO_MATTER}
        told, given = [kind, known, beside, kwargs], {**known, **kwargs}
        return read_call(self._semcache.config, self._scope, _TAG, text, told, given)

    def _get_messages(self, prompt: BasePromptTemplate, **prompt_args: Any) -> list[ChatMessage]:
        made = super()._get_messages(prompt, **prompt_args)
        query = {**prompt.kwargs, **prompt_args}.get("query_str")
        return _Filled(made, query) if isinstance(query, str) else made

    def _get_prompt(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        made = super()._get_prompt(prompt, **prompt_args)
        query = {**prompt.kwargs, **prompt_args}.get("query_str")
        return _FilledText(made, query) if isinstance(query, str) else made

    # -- what is the LLM's own

    def _llm(self) -> LLM:
        """It, with the callbacks that ``Settings`` gave to this."""
        if self.inner.callback_manager is not self.callback_manager:
            self.inner.callback_manager = self.callback_manager
        return self.inner

    def _prepare_chat_with_tools_compat(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        return self._calling()._prepare_chat_with_tools_compat(tools, *args, **kwargs)

    def _prepare_chat_with_tools(
        self, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        return self._calling()._prepare_chat_with_tools(tools, *args, **kwargs)

    def _validate_chat_with_tools_response(
        self, response: ChatResponse, tools: Sequence[BaseTool], *args: Any, **kwargs: Any
    ) -> ChatResponse:
        return self._calling()._validate_chat_with_tools_response(response, tools, *args, **kwargs)

    def get_tool_calls_from_response(
        self, response: ChatResponse, *args: Any, **kwargs: Any
    ) -> list[ToolSelection]:
        return self._calling().get_tool_calls_from_response(response, *args, **kwargs)

    def _calling(self) -> FunctionCallingLLM:
        if isinstance(self.inner, FunctionCallingLLM):
            return self.inner
        raise ValueError(f"{type(self.inner).__name__} calls no functions.")


class _Filled(list[ChatMessage]):
    """The messages of a template with a query in it."""

    def __init__(self, messages: Iterable[ChatMessage], query: str) -> None:
        super().__init__(messages)
        self.query = query


class _FilledText(str):
    __slots__ = ("query",)

    query: str

    def __new__(cls, text: str, query: str) -> _FilledText:
        made = super().__new__(cls, text)
        made.query = query
        return made


class _Piece(NamedTuple, Generic[R]):
    """What a stream adds to one that somebody else leads."""

    delta: str
    ended: str | None
    """Why, as the model says it."""
    whole: R | None
    """All until then, where that is more than text."""


class _Form(ABC, Generic[R]):
    kind: type[R]

    def __init__(self, config: CacheConfig) -> None:
        self._config = config

    def write(self, answer: R, /) -> str:
        bare = _bare(answer, delta=None)
        text = bare.model_dump_json()
        if self.read(text) != bare:
            raise ValueError("This response cannot be read back.")
        return text

    def read(self, text: str, /) -> R:
        return self.kind.model_validate_json(text)

    def is_worth_keeping(self, answer: R, /) -> bool:
        text, calls = self.text(answer), self.calls(answer)
        return is_plain(text, self._config, calls=calls) and has_ended(
            [_reason(answer.raw)], calls=calls
        )

    def write_piece(self, piece: R | _Piece[R], /) -> str:
        assert not isinstance(piece, _Piece)
        adds = piece.delta is not None and self.is_text(piece)
        whole = None if adds else _bare(piece, delta=piece.delta)
        told = None if whole is None else whole.model_dump_json()
        return json.dumps([piece.delta or "", _reason(piece.raw), told])

    def read_piece(self, text: str, /) -> R | _Piece[R]:
        delta, ended, told = json.loads(text)
        return _Piece(delta, ended, None if told is None else self.read(told))

    def joined(self, pieces: Sequence[R | _Piece[R]], /) -> R:
        known = [piece for piece in pieces if isinstance(piece, _Piece)]
        answer = (known[-1].whole if known else None) or self.made(
            reduce(self.after, known, ""), None
        )
        reasons = [piece.ended for piece in known if piece.ended]
        answer.raw = {"finish_reason": reasons[-1]} if reasons else None
        return answer

    def in_pieces(self, answer: R, /) -> Iterable[R]:
        yield answer.model_copy(update={"delta": self.text(answer)})

    def after(self, text: str, piece: _Piece[R]) -> str:
        """All text until then."""
        return text + piece.delta if piece.whole is None else self.text(piece.whole)

    @abstractmethod
    def text(self, answer: R) -> str:
        """All that it says."""

    def calls(self, answer: R, /) -> bool:
        return False

    def is_text(self, answer: R) -> bool:
        return True

    @abstractmethod
    def made(self, text: str, delta: str | None) -> R:
        """One that says ``text``, of which ``delta`` came last."""


class _ChatForm(_Form[ChatResponse]):
    kind = ChatResponse

    def text(self, answer: ChatResponse) -> str:
        return answer.message.content or ""

    def calls(self, answer: ChatResponse, /) -> bool:
        return "tool_calls" in answer.message.additional_kwargs or any(
            isinstance(block, ToolCallBlock) for block in answer.message.blocks
        )

    def is_text(self, answer: ChatResponse) -> bool:
        told = answer.message
        return (
            not _without_usage(told.additional_kwargs)
            and told.role is MessageRole.ASSISTANT
            and len(told.blocks) <= 1
            and all(type(block) is TextBlock for block in told.blocks)
        )

    def made(self, text: str, delta: str | None) -> ChatResponse:
        message = ChatMessage(role=MessageRole.ASSISTANT, content=text)
        return ChatResponse(message=message, delta=delta)


class _CompletionForm(_Form[CompletionResponse]):
    kind = CompletionResponse

    def text(self, answer: CompletionResponse) -> str:
        return answer.text

    def made(self, text: str, delta: str | None) -> CompletionResponse:
        return CompletionResponse(text=text, delta=delta)


async def _pieces(made: Callable[[], Awaitable[AsyncGenerator[R, None]]]) -> AsyncIterator[R]:
    async with aclosing(await made()) as pieces:
        async for piece in pieces:
            yield piece


def _as_openai_has_it(message: ChatMessage) -> dict[str, Any]:
    told = message.model_dump(mode="json")
    blocks = told.pop("blocks")
    if any(block.get("path") for block in blocks):
        raise ValueError("What is in a file may change.")
    told["additional_kwargs"] = _without_usage(told["additional_kwargs"])
    return {**told, "content": [{"type": block["block_type"], **block} for block in blocks]}


def _named(value: Any) -> str:
    """A function of a model's, as no other is called."""
    name = getattr(value, "__qualname__", "<")
    if "<" in name:
        raise ValueError(f"This {type(value).__name__} has no name.")
    return f"{value.__module__}.{name}"


def _cut(text: str, query: str, left: Any) -> tuple[str, Any]:
    """The query, and all that is around it; the whole, where it is not in it."""
    before, found, after = text.rpartition(query)
    return (query, [left, before, after]) if found and query else (text, [left])


def _bare(answer: R, *, delta: str | None) -> R:
    """It without what is one call's own."""
    left: dict[str, Any] = {"raw": None, "delta": delta}
    left["additional_kwargs"] = _without_usage(answer.additional_kwargs)
    if isinstance(answer, ChatResponse):
        more = _without_usage(answer.message.additional_kwargs)
        left["message"] = answer.message.model_copy(update={"additional_kwargs": more})
    return answer.model_copy(update=left)


def _without_usage(notes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in notes.items() if "token" not in name and name != "usage"}


def _reason(raw: Any) -> str | None:
    """Why a model's own answer ended."""
    choices = _get(raw, "choices")
    if isinstance(choices, list) and choices:
        raw = choices[0]
    for name in REASONS:
        if (reason := _get(raw, name)) is not None:
            return str(getattr(reason, "name", reason))
    return None


def _get(raw: Any, name: str) -> Any:
    return raw.get(name) if isinstance(raw, Mapping) else getattr(raw, name, None)
