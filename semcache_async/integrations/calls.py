"""What the integrations of chat models share: a call as the cache sees it, and its way through it.

The text of the last user message is matched by meaning; all else, to the last parameter, is scope,
by hash. A call that offers tools, or wants JSON, is answered from its own wording alone; one that
depends on what its provider keeps or finds is not the cache's.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, suppress
from hashlib import sha256
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from semcache_async.cache import SemanticCache
from semcache_async.config import CacheConfig
from semcache_async.errors import FlightLostError, PromptError
from semcache_async.protocols import Produce
from semcache_async.request.reply import Reply
from semcache_async.text.anew import asks_anew
from semcache_async.text.cacheable import has_numbers_of_somebody, is_personal, is_time_bound
from semcache_async.text.prompt import check_text
from semcache_async.types import Produced, Scope

__all__ = [
    "Around",
    "Call",
    "REASONS",
    "Form",
    "WholeForm",
    "answered",
    "cut_last",
    "has_ended",
    "is_plain",
    "read_call",
    "streamed",
]

REASONS = ("finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason", "status")
"""Under which models say why an answer ended."""
_ENDS = {
    *("stop", "eos", "eos_token", "end", "end_turn", "stop_sequence", "complete", "completed"),
}
_CALLS = {"tool_calls", "tool_call", "tool_use", "function_call"}

_STATE = (
    *("previous_response", "conversation", "container", "background", "mcp_servers"),
    *("web_search_options", "search_parameters"),
)
"""In names of parameters by which an answer depends on what its provider keeps, does later or
finds."""
_OFFERED = ("tools", "functions", "built_in_tools")
_RUN_BY_CALLERS = {
    *("name", "function", "parameters", "input_schema"),
    *("toolSpec", "functionDeclarations", "function_declarations"),
}
_JSON = (
    *("response_format", "response_schema", "response_json_schema", "response_mime_type", "format"),
    *("output_format", "guided_json", "ls_structured_output_format"),
)
_MORE = (
    *("extra_args", "extra_body", "extra_query", "model_kwargs", "additional_kwargs"),
    *("generation_config", "output_config", "text"),
)
"""Parameters that are parameters."""

_TEXT = {"type": "text"}

_NOT_TOLD = "A piece of this stream cannot be told to others than its first caller; ask again."

A = TypeVar("A")
P = TypeVar("P")


class Call(NamedTuple):
    """A model call as the cache sees it."""

    prompt: str
    scope: Scope
    caches: bool
    """False: it goes to the LLM as if there were no cache, and is counted as bypassed."""
    offers: bool = True
    """Is the model offered tools? An answer that calls some where none are serves nobody else."""


class Around:
    """A Pydantic model around another, ``inner``, whose are the attributes that it has not."""

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)  # type: ignore[misc]
        except AttributeError:
            if name.startswith("_") or "inner" not in self.__dict__:
                raise
            return getattr(self.__dict__["inner"], name)


class WholeForm(Protocol[A]):
    """How a framework's answers are written down."""

    def write(self, answer: A, /) -> str:
        """Raises ``ValueError`` or ``TypeError`` for what cannot be read back."""

    def read(self, text: str, /) -> A:
        """An answer that nobody else holds. Raises ``ValueError`` for what is none."""

    def calls(self, answer: A, /) -> bool:
        """Does it call tools?"""

    def is_worth_keeping(self, answer: A, /) -> bool:
        """Did it come to its end, and is there something in it?"""


class Form(WholeForm[A], Protocol[A, P]):
    """How answers and their pieces are written down."""

    def write_piece(self, piece: P, /) -> str:
        """One piece of a stream. Raises as ``write`` does."""

    def read_piece(self, text: str, /) -> P:
        """One that nobody else holds. Raises ``ValueError`` for what is none."""

    def joined(self, pieces: Sequence[P], /) -> A:
        """The answer that a whole stream was."""

    def in_pieces(self, answer: A, /) -> Iterable[P]:
        """A stream that the answer might have been."""


def read_call(
    config: CacheConfig,
    scope: Scope,
    framework: str,
    text: str | None,
    beside: object,
    parameters: Mapping[str, Any],
    *,
    exact: bool = False,
) -> Call:
    """What is asked in which scope. ``scope``: whose it is. ``text``: None where there is none to
    match. ``beside``: all that the answer depends on but ``text``, as JSON can say it; what JSON
    cannot say leaves the cache out, as do a temperature of 1 or more and prompts that ask for
    something new each time: who asks twice wants two answers. ``parameters``: the call's and the
    model's, by their usual names. ``exact``: the answer is for this wording alone."""
    out = Call("-", scope, caches=False)
    own = [scope.parameters.get(name) for name in (framework, "exact")]
    try:
        prompt = check_text("prompt", text)
        told = json.dumps([beside, own], sort_keys=True, allow_nan=False)
        known = _flat(parameters)
        offered = [tool for name in _OFFERED for tool in known.get(name) or ()]
    except (PromptError, TypeError, ValueError, RecursionError):
        return out
    if _is_sampled(known.get("temperature")) or any(map(_is_run_by_provider, offered)):
        return out
    names = [str(name) for name, value in known.items() if value not in (None, False)]
    if any(part in name for name in names for part in _STATE):
        return out
    if len(prompt) > config.max_prompt_bytes or is_time_bound(prompt) or asks_anew(prompt):
        return out
    if config.refuse_personal and is_personal(prompt):
        return out
    digest = sha256(told.encode(errors="surrogatepass")).hexdigest()
    known_by = {**scope.parameters, framework: digest}
    if exact or offered or any(known.get(name) not in (None, "", {}, _TEXT) for name in _JSON):
        known_by["exact"] = sha256(prompt.encode()).hexdigest()
    scope = msgspec.structs.replace(scope, parameters=known_by)
    return Call(prompt, scope, caches=True, offers=bool(offered))


def _flat(parameters: Mapping[str, Any]) -> dict[str, Any]:
    known = dict(parameters)
    for more in (parameters.get(name) for name in _MORE):
        if isinstance(more, Mapping):
            known |= {name: value for name, value in more.items() if value or name not in known}
    return known


def _is_sampled(temperature: Any) -> bool:
    try:
        return float(temperature) >= 1.0
    except (TypeError, ValueError):
        return False


def _is_run_by_provider(tool: object) -> bool:
    """Such as a search: what it finds is in no call."""
    if not isinstance(tool, Mapping):
        return False
    kind = tool.get("type", "function")
    told = {name for name, value in tool.items() if value is not None}
    return kind not in ("function", "custom") or told.isdisjoint(_RUN_BY_CALLERS)


def cut_last(messages: Sequence[dict[str, Any]]) -> tuple[str | None, list[dict[str, Any]]]:
    """Take the last text out of the last user message, of messages in OpenAI's form (their content
    a string, or parts of which texts are ``text`` or ``input_text``); None where there is none."""
    left = [dict(message) for message in messages]
    for message in reversed(left):
        if message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, str):
            message["content"] = None
            return content, left
        if isinstance(content, list):
            parts = message["content"] = [
                dict(part) if isinstance(part, dict) else part for part in content
            ]
            for part in reversed(parts):
                if isinstance(part, dict) and part.get("type") in ("text", "input_text"):
                    text, part["text"] = part.get("text"), None
                    return (text if isinstance(text, str) else None), left
        break
    return None, left


def has_ended(reasons: Iterable[object], *, calls: bool) -> bool:
    """Did an answer come to its end, by each of the reasons that a model gives (None: it gives
    none)? ``calls``: it calls tools."""
    ends = _ENDS | _CALLS if calls else _ENDS
    return all(reason is None or str(reason).casefold() in ends for reason in reasons)


def is_plain(text: str, config: CacheConfig, *, calls: bool = False) -> bool:
    """Is an answer's text one for everybody, and not empty? One that ``calls`` tools may be."""
    if not text.strip():
        return calls
    return not (config.refuse_personal and has_numbers_of_somebody(text))


async def answered(
    cache: SemanticCache,
    call: Call,
    form: WholeForm[A],
    generate: Callable[[], Awaitable[A]],
    *,
    tags: Sequence[str] = (),
) -> A:
    """The answer to ``call``: stored, of a flight under way, or what ``generate`` returns. Raises
    as ``SemanticCache.get_or_generate`` does."""
    own: list[A] = []

    async def produce(_prompt: str, _emit: Callable[[str], None]) -> Produced:
        own[:] = [await generate()]
        return _written(call, form, own[0])

    for reads, writes in _ways(call):
        async with _reply(cache, call, produce, tags, reads, writes) as reply:
            answer = await reply.answer()
        if own:
            return own[0]
        with suppress(ValueError):
            return _read(call, form, answer.text)
    raise AssertionError("A call that is shared with nobody is its caller's own.")


async def streamed(
    cache: SemanticCache,
    call: Call,
    form: Form[A, P],
    generate: Callable[[], AsyncIterator[P]],
    *,
    tags: Sequence[str] = (),
) -> AsyncGenerator[P, None]:
    """``answered`` in pieces: live to all callers of a flight, from its start; its leader gets what
    ``generate`` yields itself. Close it (``contextlib.aclosing``) where you leave it early."""
    own: deque[P] = deque()
    made = False

    async def produce(_prompt: str, emit: Callable[[str], None]) -> Produced:
        nonlocal made
        kept: list[P] | None = []
        async for piece in generate():
            own.append(piece)
            text = ""
            try:
                text = form.write_piece(piece)
                told = form.read_piece(text)
            except (TypeError, ValueError):
                kept = None
            else:
                if kept is not None:
                    kept.append(told)
            emit(text)
        made = True
        return _written(call, form, form.joined(kept)) if kept else Produced("", keep=False)

    for reads, writes in _ways(call):
        async with _reply(cache, call, produce, tags, reads, writes) as reply:
            begun, readable = False, True
            async with aclosing(aiter(reply)) as pieces:
                async for text in pieces:
                    try:
                        piece = own.popleft() if own else form.read_piece(text)
                    except ValueError as error:
                        if begun:
                            raise FlightLostError(_NOT_TOLD) from error
                        readable = False
                        break
                    begun = True
                    yield piece
            if begun or made:
                return
            if not readable:
                continue
            answer = await reply.answer()
        with suppress(ValueError):
            for part in list(form.in_pieces(_read(call, form, answer.text))):
                yield part
            return


def _ways(call: Call) -> Iterator[tuple[bool, bool]]:
    """Read and write? What is stored may not be to be read, nor what a leader could not write."""
    if call.caches:
        yield from ((True, True), (False, True))
    yield False, False


def _reply(
    cache: SemanticCache,
    call: Call,
    produce: Produce[str],
    tags: Sequence[str],
    reads: bool,
    writes: bool,
) -> Reply[str]:
    return cache.reply(
        call.prompt,
        produce,
        emits=str,
        scope=call.scope,
        tags=tags,
        read=reads,
        write=writes,
        vetted=True,
    )


def _written(call: Call, form: WholeForm[A], answer: A) -> Produced:
    try:
        text = form.write(answer)
    except (TypeError, ValueError):
        return Produced("", keep=False)
    serves = call.offers or not form.calls(answer)
    return Produced(text, keep=serves and form.is_worth_keeping(answer))


def _read(call: Call, form: WholeForm[A], text: str) -> A:
    answer = form.read(text)
    if form.calls(answer) and not call.offers:
        raise ValueError("This calls tools that are not offered.")
    return answer
