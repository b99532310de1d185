"""A chat model of LangChain around another, which is asked for what the cache has not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableParallel, RunnableSequence
from langchain_core.runnables.base import RunnableBindingBase
from pydantic import PrivateAttr

from semcache_async.cache import SemanticCache
from semcache_async.complaints import Complaints
from semcache_async.integrations.calls import Around, Call, answered, streamed
from semcache_async.integrations.langchain.cache import TAG
from semcache_async.integrations.langchain.messages import (
    ChatForm,
    in_one,
    own,
    read,
    said,
    spelt_out,
)
from semcache_async.integrations.threads import (
    from_thread,
    in_worker,
    iterate_from_thread,
    iterate_in_worker,
)
from semcache_async.types import Scope

__all__ = ["SemcacheChatModel"]

_OF_THE_MODEL = (
    *("callbacks", "disable_streaming", "metadata", "name", "output_version", "profile", "tags"),
    "verbose",
)


class SemcacheChatModel(Around, BaseChatModel):
    """Answers as ``model`` does, from ``cache`` where it can, for ``scope``: whose the calls are,
    and what their answers depend on beside the call. Callers who ask the same meanwhile share one
    call, whole or streamed. Its other attributes are ``model``'s own.

    The plain methods are for other threads than that of the cache's event loop, where they raise
    ``WrongLoopError``; they ask ``model`` by its plain methods.

    Who made no call is told of no tokens. Not kept: prompts that are personal
    (``CacheConfig.refuse_personal``) or time-bound, answers that are cut off, refused or empty, and
    what JSON cannot carry. A call that offers tools, or wants JSON, serves its own wording alone.
    """

    inner: BaseChatModel
    """The model that is asked."""
    _semcache: SemanticCache = PrivateAttr()
    _scope: Scope = PrivateAttr()
    _own: dict[str, Any] = PrivateAttr()
    _form: ChatForm = PrivateAttr()
    _complaints: Complaints = PrivateAttr(default_factory=Complaints)

    def __init__(
        self, model: BaseChatModel, cache: SemanticCache, *, scope: Scope = Scope()
    ) -> None:
        if isinstance(model, SemcacheChatModel):  # which would wait for its own call
            model = model.inner
        known: dict[str, Any] = {name: getattr(model, name) for name in _OF_THE_MODEL}
        known |= {"inner": model, "cache": False}
        super().__init__(**known)
        self._semcache = cache
        self._scope = scope
        self._form = ChatForm(cache.config)
        self._own = {name: value for name, value in own(model).items() if name not in _OF_THE_MODEL}

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: str | None = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self._around(self.inner.bind_tools(tools, **kwargs))

    def with_structured_output(
        self, schema: Any, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        made = self.inner.with_structured_output(schema, include_raw=include_raw, **kwargs)
        return self._around(made)

    def get_token_ids(self, text: str) -> list[int]:
        return self.inner.get_token_ids(text)

    def get_num_tokens(self, text: str) -> int:
        return self.inner.get_num_tokens(text)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], *args: Any) -> int:
        return self.inner.get_num_tokens_from_messages(messages, *args)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._read(messages, stop, kwargs)
        return await answered(
            *(self._semcache, call, self._form),
            lambda: self.inner._agenerate_with_cache(messages, stop=stop, **kwargs),
            tags=(TAG,),
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        def work() -> ChatResult:
            return self.inner._generate_with_cache(messages, stop=stop, **kwargs)

        call = self._read(messages, stop, kwargs)
        form, generate = self._form, partial(in_worker, work)
        return from_thread(
            self._semcache, lambda: answered(self._semcache, call, form, generate, tags=(TAG,))
        )

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async def pieces() -> AsyncIterator[ChatGenerationChunk]:
            inner = self.inner
            if not inner._should_stream(async_api=True, **{**kwargs, "stream": True}):
                whole = await inner._agenerate_with_cache(messages, stop=stop, **kwargs)
                yield in_one(whole)
                return
            if inner.rate_limiter:
                await inner.rate_limiter.aacquire(blocking=True)
            async for piece in inner._astream(messages, stop=stop, **kwargs):
                yield piece

        async with aclosing(self._streamed(messages, stop, kwargs, pieces)) as found:
            async for piece in found:
                yield piece

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        def pieces() -> Iterator[ChatGenerationChunk]:
            inner = self.inner
            if not inner._should_stream(async_api=False, **{**kwargs, "stream": True}):
                yield in_one(inner._generate_with_cache(messages, stop=stop, **kwargs))
                return
            if inner.rate_limiter:
                inner.rate_limiter.acquire(blocking=True)
            yield from inner._stream(messages, stop=stop, **kwargs)

        return iterate_from_thread(
            self._semcache,
            lambda: self._streamed(messages, stop, kwargs, lambda: iterate_in_worker(pieces)),
        )

    def _streamed(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        kwargs: dict[str, Any],
        pieces: Callable[[], AsyncIterator[ChatGenerationChunk]],
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        call = self._read(messages, stop, kwargs)
        return streamed(self._semcache, call, self._form, pieces, tags=(TAG,))

    def _read(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> Call:
        config = self._semcache.config
        try:
            told = {**self._own, **spelt_out(kwargs)}
            self.inner.__dict__.pop("_serialized", None)  # of before it was changed, or copied
            llm_string = self.inner._get_llm_string(stop=stop, **told)
            return read(config, self._scope, said(messages), llm_string)
        except Exception as error:
            self._complaints.warn("A call of LangChain's went without the cache", error)
            return Call("-", self._scope, caches=False)

    def _around(self, made: Runnable[Any, Any]) -> Runnable[Any, Any]:
        """``made`` of the model, with this in its place."""
        if made is self.inner:
            return self
        if isinstance(made, RunnableBindingBase):
            return made.model_copy(update={"bound": self._around(made.bound)})
        if isinstance(made, RunnableSequence):
            return RunnableSequence(*map(self._around, made.steps), name=made.name)
        if isinstance(made, RunnableParallel):
            return RunnableParallel({at: self._around(one) for at, one in made.steps__.items()})
        return made

    # -- what is told of it

    @property
    def _llm_type(self) -> str:
        return self.inner._llm_type

    @property
    def _identifying_params(self) -> Any:
        return self.inner._identifying_params

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return self.inner._get_invocation_params(stop=stop, **kwargs)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return self.inner._get_ls_params(stop=stop, **kwargs)

    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None]) -> dict[str, Any]:
        return self.inner._combine_llm_outputs(llm_outputs)
