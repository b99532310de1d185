"""DSPy's models and cache::

    dspy.configure(lm=SemcacheLM(dspy.LM("openai/..."), cache, field="question"))

A DSPy prompt is a template with input fields, so that two of them look alike though one field is
another. Only the field that is named is matched by meaning; all else is scope, by hash: the model,
its parameters, the signature, demos, and every other field. Without one, and where the prompt does
not show it, a prompt is answered from its own wording alone.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from contextvars import copy_context
from typing import Any

import dspy
from anyio import BrokenResourceError, ClosedResourceError
from dspy.clients.cache import Cache
from dspy.clients.call_result import CallResult
from dspy.clients.execution import aexecute, execute, finalize, prepare
from dspy.clients.legacy_outputs import plain
from dspy.utils.callback import with_callbacks

from semcache_async.cache import SemanticCache
from semcache_async.complaints import Complaints
from semcache_async.integrations.calls import (
    Call,
    answered,
    cut_last,
    has_ended,
    is_plain,
    read_call,
)
from semcache_async.integrations.threads import from_thread, in_worker
from semcache_async.types import Scope

__all__ = ["SemcacheCache", "SemcacheLM"]

_NEXT = re.compile(r"\n\n(?=\[\[ ## |Respond with )")
"""What follows a field, as DSPy's chat and JSON adapters write it."""


class SemcacheLM(dspy.BaseLM):  # type: ignore[misc]
    """Answers calls of ``lm`` from ``cache``, for ``scope``: whose they are, and what their answers
    depend on beside the call. Calls that are under way are shared. ``field``: the input field that
    is matched by meaning. DSPy's own cache is left out, and hits have no usage.

    Plain calls are for other threads than that of the cache's event loop, where they raise
    ``WrongLoopError``; there, ``acall`` is.

    Past the cache go texts that are personal (``CacheConfig.refuse_personal``), time-bound or for
    something new, a temperature of 1 or more, requests in LM15's form, and ``cache=False``. Not
    kept: answers that are cut off or empty.
    """

    def __init__(
        self,
        lm: dspy.BaseLM,
        cache: SemanticCache,
        *,
        field: str | None = None,
        scope: Scope = Scope(),
        tags: Sequence[str] = (),
    ) -> None:
        super().__init__(lm.model, lm.model_type, callbacks=lm.callbacks)
        self.kwargs = dict(lm.kwargs)
        self.history = lm.history
        self._lm = lm
        self._cache = cache
        self._field = field
        self._scope = scope
        self._tags = tags

    @with_callbacks  # type: ignore[untyped-decorator]
    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        call = prepare(self._lm, prompt, messages, {**kwargs, "cache": False})
        with _left_in_peace():
            run = copy_context().run

        async def generate() -> Any:
            return await in_worker(lambda: run(execute, self._lm, call))

        caches = bool(kwargs.get("cache", self.cache))
        result = from_thread(self._cache, lambda: self._answered(call, caches, generate))
        return finalize(self._lm, call, result)

    @with_callbacks  # type: ignore[untyped-decorator]
    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        given = {**kwargs, "cache": False}
        call = await asyncio.to_thread(
            prepare, self._lm, prompt, messages, given, asynchronous=True
        )
        caches = bool(kwargs.get("cache", self.cache))
        with _left_in_peace():
            result = await self._answered(call, caches, lambda: aexecute(self._lm, call))
        return finalize(self._lm, call, result)

    async def _answered(
        self, call: Any, caches: bool, generate: Callable[[], Awaitable[Any]]
    ) -> Any:
        told = {**call.key(self._lm, True), "_fn_identifier": type(self._lm).__qualname__}
        asked = _call(self._cache, self._scope, told if caches else {}, self._field)
        form = _Results(self._cache)
        return await answered(self._cache, asked, form, generate, tags=self._tags)

    def copy(self, **kwargs: Any) -> SemcacheLM:
        new: SemcacheLM = super().copy(**kwargs)
        new._lm = self._lm.copy(**kwargs)
        new.history = new._lm.history
        return new

    def __deepcopy__(self, memo: object) -> SemcacheLM:
        return self.copy()

    def dump_state(self) -> dict[str, Any]:
        """The wrapped model's: a cache is of the program that opened it."""
        state: dict[str, Any] = self._lm.dump_state()
        return state

    @property
    def supports_function_calling(self) -> bool:
        return bool(self._lm.supports_function_calling)

    @property
    def supports_reasoning(self) -> bool:
        return bool(self._lm.supports_reasoning)

    @property
    def supports_response_schema(self) -> bool:
        return bool(self._lm.supports_response_schema)

    @property
    def supported_params(self) -> set[str]:
        return set(self._lm.supported_params)


class SemcacheCache(Cache):  # type: ignore[misc]
    """``dspy.cache``, kept in ``cache``: as ``SemcacheLM``, for all models of the program, but that
    DSPy looks up and stores apart, so that calls are not shared. What fails is logged and counts as
    a miss. What is no call of a model (embeddings) is kept in memory, as DSPy does."""

    def __init__(
        self,
        cache: SemanticCache,
        *,
        field: str | None = None,
        scope: Scope = Scope(),
        tags: Sequence[str] = (),
    ) -> None:
        super().__init__(enable_disk_cache=False, enable_memory_cache=True, disk_cache_dir=None)
        self._cache = cache
        self._field = field
        self._scope = scope
        self._tags = tags
        self._complaints = Complaints()

    def get(self, request: dict[str, Any], *ignored: Any, **options: Any) -> Any:
        if "messages" not in request:
            return super().get(request, *ignored, **options)
        call = _call(self._cache, self._scope, request, self._field)
        if not call.caches:
            return None
        try:
            answer = from_thread(
                self._cache, lambda: self._cache.lookup(call.prompt, scope=call.scope)
            )
            return answer and json.loads(answer.text)
        except Exception as error:
            self._complaints.warn("DSPy's lookup went without the cache", error)
            return None

    def put(self, request: dict[str, Any], value: Any, *ignored: Any, **options: Any) -> None:
        if "messages" not in request:
            super().put(request, value, *ignored, **options)
            return
        call = _call(self._cache, self._scope, request, self._field)
        told = plain(value)
        serves = call.offers or not any(map(_calls, _outputs(told)))
        if not call.caches or not serves or not _is_worth_keeping(told, self._cache):
            return
        try:
            text = json.dumps(told)
            from_thread(
                self._cache,
                lambda: self._cache.store(call.prompt, text, scope=call.scope, tags=self._tags),
            )
        except Exception as error:
            self._complaints.warn("DSPy's storing went without the cache", error)


@contextmanager
def _left_in_peace() -> Iterator[None]:
    """A call may go on for others when the stream of who began it is closed."""
    stream = dspy.settings.send_stream
    with nullcontext() if stream is None else dspy.context(send_stream=_Stream(stream)):
        yield


class _Stream:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def send(self, piece: Any) -> None:
        with suppress(BrokenResourceError, ClosedResourceError):
            await self._stream.send(piece)


class _Results:
    """What DSPy makes of a call, as its own cache keeps it."""

    def __init__(self, cache: SemanticCache) -> None:
        self._cache = cache

    def write(self, answer: Any, /) -> str:
        return json.dumps(answer.dump())

    def read(self, text: str, /) -> Any:
        return CallResult.load(json.loads(text))

    def calls(self, answer: Any, /) -> bool:
        return any(map(_calls, _outputs(answer.dump())))

    def is_worth_keeping(self, answer: Any, /) -> bool:
        return _is_worth_keeping(answer.dump(), self._cache)


def _call(
    cache: SemanticCache, scope: Scope, request: Mapping[str, Any], field: str | None
) -> Call:
    """Of a request as DSPy's cache knows it."""
    try:
        text, left = cut_last(request.get("messages") or ())
    except (TypeError, ValueError):  # these are no messages
        text, left = None, []
    told = {
        name: value.model_json_schema() if hasattr(value, "model_json_schema") else value
        for name, value in request.items()
        if name not in ("messages", "api_key")
    }
    frame = None
    if field and text:
        before, header, after = text.partition(f"[[ ## {field} ## ]]\n")
        if header:
            text, *more = _NEXT.split(after, maxsplit=1)
            frame = [before, more]
    return read_call(
        cache.config,
        scope,
        "dspy",
        text,
        [told, left, frame],
        {name: value for name, value in request.items() if name != "response_format"},
        exact=frame is None,
    )


def _is_worth_keeping(told: Any, cache: SemanticCache) -> bool:
    """``told``: a result, or a provider's response."""
    raw, outputs = told.get("raw") or told, _outputs(told)
    for output in outputs:
        text = output.get("text") or output.get("content") or ""
        if not is_plain(text, cache.config, calls=_calls(output)):
            return False
    ended = (*told.get("responses", ()), *(raw.get("choices") or ()))
    ends = [*(one.get("finish_reason") for one in ended), raw.get("status")]
    return bool(outputs) and has_ended(ends, calls=any(map(_calls, outputs)))


def _outputs(told: Any) -> list[dict[str, Any]]:
    choices = (told.get("raw") or told).get("choices") or ()
    outputs = told.get("outputs") or [choice.get("message") or choice for choice in choices]
    return [one if isinstance(one, dict) else {"text": one} for one in outputs]


def _calls(output: dict[str, Any]) -> bool:
    return bool(output.get("tool_calls"))
