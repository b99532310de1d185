"""What a simulated upstream answers: always the same to the same messages."""

from __future__ import annotations

import hashlib
import re
import sys
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from semcache_async.simulator.faults import Faults
from semcache_async.simulator.fitting import fitting

__all__ = ["ChatBody", "chunks_of", "completion_for", "tokens_of", "user_text"]

_TOKEN = re.compile(r"\s*\S+|\s+$")
_TEXT = (
    "the answer is that account and card can be found in settings under your name where "
    "you may also change it at any time with a code we send to phone or mail within one day "
    "unless somebody has asked before then please try again later by chat if this did not help"
)
_WORDS = _TEXT.split()
_VERDICT, _NO = "yes or no.", 0.05
"""How a judge's orders end, and the share that is told no."""
_ONCE = {"service_tier": "default", "system_fingerprint": "fp_simulated"}
_CALL = {
    "id": "call_simulated",
    "type": "function",
    "function": {"name": "look_up", "arguments": '{"query":"simulated"}'},
}


class ChatBody(msgspec.Struct, kw_only=True, gc=False):
    """The fields of a request that make a difference here."""

    model: str
    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop: str | list[str] | None = None
    logprobs: bool | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    x_simulate: str = ""
    """As the header of that name."""


def user_text(messages: list[dict[str, Any]]) -> str:
    """The last user message, or the last message of all."""
    asked = [message for message in messages if message.get("role") == "user"]
    content = (asked or messages)[-1].get("content")
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return " ".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def tokens_of(text: str) -> list[str]:
    """Words with the white space before them. Joined they are the text."""
    return _TOKEN.findall(text)


def completion_for(
    body: ChatBody,
    faults: Faults,
    *,
    id: str,  # noqa: A002
    created: int,
    tokens: int,
) -> dict[str, Any]:
    """The ``chat.completion`` for a request; ``tokens``: how much it says beyond the question."""
    messages = body.messages
    written = msgspec.json.encode(messages)
    choices, said = [], 0
    for at in range(body.n or 1):
        text, reason = _text(body, written + b"#%d" % at, tokens)
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if faults.reasoning:
            message["reasoning_content"] = f"The user asks: {user_text(messages)}"
        if faults.empty:
            message["content"] = ""
        if faults.refusal:
            message |= {"content": None, "refusal": "I cannot help with that."}
        if (call := _call(body, text, at)) is not None:
            message |= {"content": None, "tool_calls": [call]}
            reason = "stop" if isinstance(body.tool_choice, dict) else "tool_calls"
        if faults.tool_calls:
            message |= {"content": None, "tool_calls": [_CALL]}
            reason = "tool_calls"
        said += len(tokens_of(message["content"] or ""))
        choice: dict[str, Any] = {"index": at, "message": message, "logprobs": None}
        if body.logprobs:
            choice["logprobs"] = _logprobs(tokens_of(message["content"] or ""))
        choices.append({**choice, "finish_reason": faults.finish_reason or reason})
    completion = {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": body.model,
        "choices": choices,
        **_ONCE,
    }
    if not faults.no_usage:
        completion["usage"] = _usage(len(written) // 4 + 3, said)
    return completion


def chunks_of(completion: dict[str, Any], include_usage: bool) -> list[bytes]:
    """The completion as the events of a stream, a token each."""
    usage = completion.get("usage")
    common = {
        "id": completion["id"],
        "object": "chat.completion.chunk",
        "created": completion["created"],
        "model": completion["model"],
        **_ONCE,
        **({"usage": None} if include_usage else {}),
    }
    head = b"data: " + msgspec.json.encode(common)[:-1]
    events = []
    for choice in completion["choices"]:
        end = b',"choices":[{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}]}\n\n'
        for delta, logprobs in _deltas(choice):
            written = msgspec.json.encode(delta), msgspec.json.encode(logprobs)
            events.append(head + end % (choice["index"], *written, b"null"))
        reason = msgspec.json.encode(choice["finish_reason"])
        events.append(head + end % (choice["index"], b"{}", b"null", reason))
    if include_usage and usage is not None:
        last = msgspec.json.encode({**common, "choices": [], "usage": usage})
        events.append(b"data: %b\n\n" % last)
    events.append(b"data: [DONE]\n\n")
    return events


def _text(body: ChatBody, seed: bytes, tokens: int) -> tuple[str, str]:
    words = (_WORDS[byte % len(_WORDS)] for byte in hashlib.shake_128(seed).digest(tokens))
    asked = user_text(body.messages)
    text = " ".join((f"Answer to: {asked}", *words)) + "."
    if str(body.messages[0].get("content")).endswith(_VERDICT):
        text = "no" if hashlib.blake2b(seed).digest()[0] < 256 * _NO else "yes"
    wanted = body.response_format or {}
    if wanted.get("type") in ("json_object", "json_schema"):
        schema = (wanted.get("json_schema") or {}).get("schema")
        made = {"answer": text} if schema is None else fitting(schema, text)
        text = msgspec.json.encode(made).decode()
    reason = "stop"
    limit = body.max_completion_tokens or body.max_tokens or sys.maxsize
    if len(pieces := tokens_of(text)) > limit:
        text, reason = "".join(pieces[:limit]), "length"
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    for stop in filter(None, stops):
        if stop in text:
            text, reason = text[: text.index(stop)], "stop"
    return text, reason


def _call(body: ChatBody, text: str, at: int) -> dict[str, Any] | None:
    """The call of a tool that the request demands: of the one it names, or of the first."""
    functions = [tool.get("function") or {} for tool in body.tools or ()]
    choice = body.tool_choice
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        functions = [function for function in functions if function.get("name") == name]
    elif choice != "required":
        return None
    if not functions:
        return None
    arguments = fitting(functions[0].get("parameters") or {"type": "object"}, text)
    made = {"name": functions[0].get("name"), "arguments": msgspec.json.encode(arguments).decode()}
    return {"id": f"call_simulated_{at}", "type": "function", "function": made}


def _deltas(choice: dict[str, Any]) -> list[tuple[dict[str, Any], Any]]:
    """What each chunk adds, and its log probabilities."""
    message, logprobs = choice["message"], choice["logprobs"]
    first = {"role": "assistant", "content": "", "refusal": None}
    found: list[tuple[dict[str, Any], Any]] = [(first, None)]
    for name in ("reasoning_content", "refusal"):
        found += [({name: piece}, None) for piece in tokens_of(message.get(name) or "")]
    for index, call in enumerate(message.get("tool_calls", ())):
        function = call["function"]
        opened = {**call, "index": index, "function": {**function, "arguments": ""}}
        argued = {"index": index, "function": {"arguments": function["arguments"]}}
        found += [({"tool_calls": [part]}, None) for part in (opened, argued)]
    for at, piece in enumerate(tokens_of(message["content"] or "")):
        own = {"content": [logprobs["content"][at]], "refusal": None} if logprobs else None
        found.append(({"content": piece}, own))
    return found


def _logprobs(tokens: list[str]) -> dict[str, Any]:
    content = [
        {"token": token, "logprob": -0.1, "bytes": list(token.encode()), "top_logprobs": []}
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _usage(asked: int, said: int) -> dict[str, Any]:
    return {
        "prompt_tokens": asked,
        "completion_tokens": said,
        "total_tokens": asked + said,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
