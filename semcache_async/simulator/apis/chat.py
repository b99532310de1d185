"""OpenAI's chat completions."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from semcache_async.simulator.answer import ANY_JSON, Answer, Asked, Said, Tool, tokens_of
from semcache_async.simulator.apis.api import Api, Call, new_id

__all__ = ["ChatBody", "chat_api", "chunks_of", "completion_of", "read_chat"]

_ONCE = {"service_tier": "default", "system_fingerprint": "fp_simulated"}


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

    def asked(self) -> Asked:
        return Asked(
            model=self.model,
            messages=self.messages,
            stream=self.stream is True,
            choices=self.n or 1,
            limit=self.max_completion_tokens or self.max_tokens,
            stops=[self.stop] if isinstance(self.stop, str) else self.stop or (),
            schema=self._schema(),
            tool=self._tool(),
            x_simulate=self.x_simulate,
        )

    def _schema(self) -> Any:
        wanted = self.response_format or {}
        if wanted.get("type") not in ("json_object", "json_schema"):
            return None
        schema = (wanted.get("json_schema") or {}).get("schema")
        return ANY_JSON if schema is None else schema

    def _tool(self) -> Tool | None:
        functions = [tool.get("function") or {} for tool in self.tools or ()]
        if isinstance(choice := self.tool_choice, dict):
            name = (choice.get("function") or {}).get("name")
            return Tool.chosen(functions, "parameters", name or "")
        return Tool.chosen(functions, "parameters") if choice == "required" else None


_decode = msgspec.json.Decoder(ChatBody).decode


def chat_api() -> Api:
    return Api(path="/v1/chat/completions", read=read_chat)


def read_chat(raw: bytes) -> Call:
    body = _decode(raw)
    return Call(body.asked(), partial(completion_of, body), partial(_events, body))


def completion_of(body: ChatBody, answer: Answer) -> dict[str, Any]:
    """The ``chat.completion`` that says the answer."""
    completion = {
        "id": new_id("chatcmpl-"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.model,
        "choices": [_choice(body, at, said) for at, said in enumerate(answer.choices)],
        **_ONCE,
    }
    if answer.tells_usage:
        completion["usage"] = _usage(answer.prompt_tokens, answer.tokens)
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


def _events(body: ChatBody, answer: Answer) -> list[bytes]:
    asked_usage = (body.stream_options or {}).get("include_usage") is True
    return chunks_of(completion_of(body, answer), asked_usage)


def _choice(body: ChatBody, at: int, said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": said.refusal}
    reason = said.reason
    if said.thought:
        message["reasoning_content"] = said.thought
    if said.calls:
        message["tool_calls"] = [
            {
                "id": f"call_simulated_{at}",
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
            for name, arguments in said.calls
        ]
        if reason == "tool_calls" and isinstance(body.tool_choice, dict):
            reason = "stop"
    logprobs = _logprobs(tokens_of(said.text or "")) if body.logprobs else None
    return {"index": at, "message": message, "logprobs": logprobs, "finish_reason": reason}


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
