"""LangChain's calls and answers as the cache sees them: both are its own JSON."""

from __future__ import annotations

import json
import re
from ast import literal_eval
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from json import JSONDecoder
from typing import Any, TypeVar

from langchain_core._api import suppress_langchain_beta_warning
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
    Generation,
    GenerationChunk,
)
from pydantic import BaseModel

from semcache_async.config import CacheConfig
from semcache_async.errors import ConfigError
from semcache_async.integrations.calls import REASONS, Call, has_ended, is_plain, read_call
from semcache_async.types import Scope

__all__ = [
    "ChatForm",
    "calls_tools",
    "generations",
    "in_one",
    "is_worth_keeping",
    "own",
    "read",
    "said",
    "spelt_out",
    "written",
]

A = TypeVar("A", bound=Generation)
G = TypeVar("G", bound=ChatGeneration)
M = TypeVar("M", bound=BaseModel)

_READABLE = (Generation, GenerationChunk, ChatGeneration, AIMessage)
"""All that a stored entry can be made into."""
_PIECES = (ChatGenerationChunk, AIMessageChunk)
_USAGE = {"usage_metadata", "token_usage", "usage", "prompt_eval_count", "eval_count"}
_OF_A_CALL = (
    *("usage_metadata", "response_metadata", "type", "chunk_position", "tool_call_chunks"),
)
"""What an answer says of its making. The next one does not depend on it."""
_BY_REPR = re.compile(r"<class '| at 0x[0-9a-f]{6}")
_JSON = JSONDecoder()
_PLAIN = (str, int, float, list, tuple, dict, type(None))
_OF_NO_MODEL = {"_type", "stop", "tools", "tool_choice"}


def said(messages: Iterable[BaseMessage]) -> str:
    """Messages as LangChain tells its caches of them."""
    return dumps([one if one.id is None else _copy(one, {"id": None}) for one in messages])


def spelt_out(value: Any) -> Any:
    """What a call takes, with the schemas of classes in place of their names."""
    if isinstance(value, dict):
        return {name: spelt_out(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [spelt_out(one) for one in value]
    if isinstance(value, type) and issubclass(value, BaseModel):
        return value.model_json_schema()
    return value


def read(config: CacheConfig, scope: Scope, prompt: str, llm_string: str) -> Call:
    """The call that LangChain tells a cache of by these two texts. Raises ``ConfigError`` where
    they do not tell the model from others."""
    text, beside = _parts(prompt)
    told = _parameters(llm_string)
    if told is None or '"type": "not_implemented"' in beside:
        text = None  # known by a repr, which may be that of others
    return read_call(config, scope, "langchain", text, [llm_string, beside], told or {})


@lru_cache(maxsize=256)
def _parameters(llm_string: str) -> Mapping[str, Any] | None:
    """The model's and the call's, as LangChain tells caches of them; None where one of them is
    known by a repr alone. Raises as ``read`` does."""
    model: Any = {}
    at = 0
    if llm_string.startswith("{"):
        model, at = _JSON.raw_decode(llm_string)
        at += len("---")
    elif not llm_string.startswith("[("):
        return {}
    if _BY_REPR.search(llm_string):
        return None
    try:
        told = dict(literal_eval(llm_string[at:]))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if not at and told.keys() <= _OF_NO_MODEL:
        raise ConfigError(
            "This model tells LangChain's caches nothing of itself (_identifying_params), so that "
            "others of its class would get its answers; SemcacheChatModel reads its fields."
        )
    return {**model.get("kwargs", {}), **told}


def own(model: BaseChatModel) -> dict[str, Any]:
    """The fields of a model that tells LangChain's caches nothing of itself (ChatOllama's do
    not)."""
    if model.is_lc_serializable() or model._identifying_params:
        return {}
    fields = {name: value for name, value in model if isinstance(value, _PLAIN)}
    return {**fields, "class": type(model).__qualname__}


def written(answers: Sequence[Generation]) -> str:
    """Raises ``ValueError`` for what JSON cannot carry."""
    plain = [_with_plain_parsed(answer) for answer in answers]
    text = dumps(plain)
    if generations(text) != plain:
        raise ValueError("These generations cannot be read back.")
    return text


def generations(text: str) -> list[Generation]:
    """Raises ``ValueError`` for whatever is not a list of them."""
    found = _loaded(text, _READABLE)
    if isinstance(found, list) and found and all(isinstance(one, Generation) for one in found):
        return found
    raise ValueError("This is no list of generations.")


def calls_tools(answer: Generation) -> bool:
    return isinstance(answer, ChatGeneration) and bool(getattr(answer.message, "tool_calls", ()))


def is_worth_keeping(answer: Generation, config: CacheConfig) -> bool:
    """Did it come to its end, for everybody, and is there something in it?"""
    notes = dict(answer.generation_info or {})
    if isinstance(answer, ChatGeneration):
        notes |= {**answer.message.additional_kwargs, **answer.message.response_metadata}
    calls = calls_tools(answer)
    return (
        is_plain(answer.text, config, calls=calls)
        and has_ended((notes.get(name) or None for name in REASONS), calls=calls)
        and not notes.get("refusal")
    )


class ChatForm:
    """The answers of chat models. Others' claim no tokens and have no id."""

    def __init__(self, config: CacheConfig) -> None:
        self._config = config

    def write(self, answer: ChatResult, /) -> str:
        return written([_bare(one) for one in answer.generations])

    def read(self, text: str, /) -> ChatResult:
        found = generations(text)
        return ChatResult(generations=[_bare(_checked(one, ChatGeneration)) for one in found])

    def calls(self, answer: ChatResult, /) -> bool:
        return any(map(calls_tools, answer.generations))

    def is_worth_keeping(self, answer: ChatResult, /) -> bool:
        return bool(answer.generations) and all(
            is_worth_keeping(one, self._config) for one in answer.generations
        )

    def write_piece(self, piece: ChatGenerationChunk, /) -> str:
        return dumps(_with_plain_parsed(_bare(piece)))

    def read_piece(self, text: str, /) -> ChatGenerationChunk:
        return _checked(_loaded(text, _PIECES), ChatGenerationChunk)

    def joined(self, pieces: Sequence[ChatGenerationChunk], /) -> ChatResult:
        return generate_from_stream(iter(pieces))

    def in_pieces(self, answer: ChatResult, /) -> Iterable[ChatGenerationChunk]:
        return [in_one(answer)]


def in_one(answer: ChatResult) -> ChatGenerationChunk:
    """The whole of it as the one piece of a stream."""
    told = answer.generations[0]
    message = AIMessageChunk(**told.message.model_dump(exclude={"type"}))
    return ChatGenerationChunk(message=message, generation_info=told.generation_info)


def _parts(prompt: str) -> tuple[str | None, str]:
    """The text to match, and all that is beside it; where that cannot be told, twice the whole."""
    try:
        messages = json.loads(prompt)
    except ValueError:
        messages = None
    if not isinstance(messages, list):
        return prompt, ""
    if json.dumps(messages) == prompt:  # nothing was lost in reading it
        for message in messages:
            match message:
                case {"id": [*of, "AIMessage" | "AIMessageChunk"], "kwargs": dict(told)}:
                    message["id"] = [*of, "AIMessage"]
                    for name in _OF_A_CALL:
                        told.pop(name, None)
        for message in reversed(messages):
            match message:
                case {
                    "lc": 1,
                    "type": "constructor",
                    "id": [*_, "HumanMessage"],
                    "kwargs": dict(told),
                }:
                    text = _cut(told)
                    beside = json.dumps(messages, sort_keys=True)
                    return (prompt, prompt) if text is None else (text, beside)
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


def _loaded(text: str, readable: tuple[type, ...]) -> Any:
    try:
        with suppress_langchain_beta_warning():
            return loads(text, allowed_objects=readable, secrets_from_env=False)
    except Exception as error:  # whatever the classes in it make of hostile values
        raise ValueError(f"This was not written here: {type(error).__name__}.") from error


def _checked(one: Any, kind: type[M]) -> M:
    if isinstance(one, kind):
        return one
    raise ValueError(f"This is no {kind.__name__}.")


def _bare(answer: G) -> G:
    """It without what is one call's own: tokens and id."""
    message = _checked(answer.message, AIMessage)
    notes = _without_usage(message.response_metadata)
    info = answer.generation_info
    return _copy(
        answer,
        {
            "message": _copy(
                message, {"id": None, "usage_metadata": None, "response_metadata": notes}
            ),
            "generation_info": None if info is None else _without_usage(info),
        },
    )


def _without_usage(notes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in notes.items() if name not in _USAGE}


def _with_plain_parsed(answer: A) -> A:
    """It with a parsed object as JSON says it, where LangChain makes the same one of that."""
    if not isinstance(answer, ChatGeneration):
        return answer
    parsed = answer.message.additional_kwargs.get("parsed")
    if not isinstance(parsed, BaseModel):
        return answer
    try:
        plain = parsed.model_dump(mode="json", by_alias=True)
        if type(parsed)(**plain) != parsed:
            return answer
    except (TypeError, ValueError):
        return answer
    more = {**answer.message.additional_kwargs, "parsed": plain}
    return _copy(answer, {"message": _copy(answer.message, {"additional_kwargs": more})})


def _copy(model: M, update: dict[str, Any]) -> M:
    return model.model_copy(update=update)
