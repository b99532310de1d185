"""Responses as the events of streams: a whole one as the stream that would have made it, and one
that comes bit by bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from semcache_async.serve.apis.api import NO_USAGE, Began, Call, Delta, Ended, Part, Usage
from semcache_async.serve.apis.chat.cutting import cut_text
from semcache_async.serve.apis.responses.saying import (
    ENDS,
    begun_response,
    call_of,
    ended_response,
    message_of,
)

__all__ = ["EventWriter", "replay"]


class _Form(NamedTuple):
    """How a text comes."""

    event: str
    """What its events' names begin with."""
    field: str = "text"
    """What it is called where it is whole."""
    part: str = "response.content_part"
    """The same of the part's; "" where it has none."""
    number: str = "content_index"
    more: Mapping[str, Any] = {}


_FORMS = {
    "output_text": _Form("response.output_text", more={"logprobs": []}),
    "refusal": _Form("response.refusal", "refusal"),
    "reasoning_text": _Form("response.reasoning_text"),
    "summary_text": _Form(
        "response.reasoning_summary_text",
        part="response.reasoning_summary_part",
        number="summary_index",
    ),
}
_ARGUMENTS = _Form("response.function_call_arguments", "arguments", part="")
_UNKNOWN = _Form("")
"""A part of another kind comes at once."""
_LISTS = ("content", "summary", "annotations", "logprobs")
_AT_END = ("encrypted_content",)
_NOT_YET = ("completed_at", "error", "incomplete_details")
_encode = msgspec.json.encode


class _Telling:
    """The events of one stream, numbered."""

    def __init__(self) -> None:
        self._number = 0

    def of(self, kind: str, **fields: Any) -> bytes:
        data = _encode({"type": kind, **fields, "sequence_number": self._number})
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    def begun(self, response: Mapping[str, Any]) -> Iterator[bytes]:
        told = {**response, "status": "in_progress", "output": [], "usage": None}
        told |= {name: None for name in _NOT_YET if name in response}
        yield self.of("response.created", response=told)
        yield self.of("response.in_progress", response=told)

    def ended(self, response: Mapping[str, Any]) -> bytes:
        kind = f"response.{response.get('status')}"
        return self.of(kind if kind in ENDS else ENDS[0], response=response)

    def item_added(self, at: int, item: Mapping[str, Any]) -> bytes:
        return self.of("response.output_item.added", output_index=at, item=_opened(item))

    def item_done(self, at: int, item: Mapping[str, Any]) -> bytes:
        return self.of("response.output_item.done", output_index=at, item=item)

    def part_added(self, form: _Form, place: Mapping[str, Any], part: Mapping[str, Any]) -> bytes:
        opened = _opened({**part, form.field: ""}) if form.event else part
        return self.of(f"{form.part}.added", **place, part=opened)

    def delta(self, form: _Form, place: Mapping[str, Any], text: str) -> bytes:
        return self.of(f"{form.event}.delta", **place, delta=text, **form.more)

    def done(self, form: _Form, place: Mapping[str, Any], whole: Mapping[str, Any]) -> bytes:
        more = {name: whole.get(name) or value for name, value in form.more.items()}
        told = {form.field: whole[form.field], **more}
        return self.of(f"{form.event}.done", **place, **told)

    def part_done(self, form: _Form, place: Mapping[str, Any], part: Mapping[str, Any]) -> bytes:
        return self.of(f"{form.part}.done", **place, part=part)


def _opened(whole: Mapping[str, Any]) -> dict[str, Any]:
    """An item or a part before anything of it has come."""
    told = {name: value for name, value in whole.items() if name not in _AT_END}
    told |= {name: [] for name in _LISTS if isinstance(told.get(name), list)}
    if whole.get("type") == "function_call":
        told["arguments"] = ""
    return told | ({"status": "in_progress"} if "status" in told else {})


def _place(at: int, item: Mapping[str, Any]) -> dict[str, Any]:
    return {"item_id": item.get("id", ""), "output_index": at}


# -- of a whole one


def replay(response: Mapping[str, Any], sizes: Iterable[Sequence[int]] = ()) -> Iterator[bytes]:
    """The stream that would have made it; ``sizes``: of the pieces in which each of its texts came.
    Raises for what is of a strange shape."""
    telling, left = _Telling(), iter(sizes)
    yield from telling.begun(response)
    for at, item in enumerate(response["output"]):
        place = _place(at, item)
        yield telling.item_added(at, item)
        for name in ("summary", "content"):
            for n, part in enumerate(item.get(name) or ()):
                yield from _part(telling, place, n, part, left)
        if item["type"] == "function_call":
            for piece in cut_text(item["arguments"]):
                yield telling.delta(_ARGUMENTS, place, piece)
            yield telling.done(_ARGUMENTS, place, item)
        yield telling.item_done(at, item)
    yield telling.ended(response)


def _part(
    telling: _Telling,
    place: Mapping[str, Any],
    n: int,
    part: Mapping[str, Any],
    left: Iterator[Sequence[int]],
) -> Iterator[bytes]:
    form = _FORMS.get(part["type"], _UNKNOWN)
    place = {**place, form.number: n}
    yield telling.part_added(form, place, part)
    if form.event:
        sizes = next(left, ()) if part["type"] == "output_text" else ()
        for piece in cut_text(part[form.field], sizes):
            yield telling.delta(form, place, piece)
        for at, annotation in enumerate(part.get("annotations") or ()):
            told = {"annotation_index": at, "annotation": annotation}
            yield telling.of(f"{form.event}.annotation.added", **place, **told)
        yield telling.done(form, place, part)
    yield telling.part_done(form, place, part)


# -- of one that comes


class EventWriter:
    """A stream of events, as another API's stream says what they tell."""

    def __init__(self) -> None:
        self._telling = _Telling()
        self._response: dict[str, Any] = {}
        self._output: list[dict[str, Any]] = []
        self._pieces: list[list[str]] = []
        """Of each item."""
        self._of_calls: dict[int | None, int] = {}
        """Where each call's item is; None's is the message."""
        self._finish = ""
        self._usage = NO_USAGE

    def write(self, deltas: Iterable[Delta]) -> bytes:
        """The events that say so."""
        return b"".join(event for delta in deltas for event in self._write(delta))

    def end(self) -> bytes:
        """The events by which everything is whole."""
        return b"".join(self._end())

    def _write(self, delta: Delta) -> Iterator[bytes]:
        if isinstance(delta, Ended):
            self._finish = delta.finish or self._finish
        if isinstance(delta, Began | Ended):
            asked, said = delta.usage.prompt_tokens, delta.usage.completion_tokens
            before = self._usage
            self._usage = Usage(asked or before.prompt_tokens, said or before.completion_tokens)
        if not self._response:
            self._response = begun_response(delta.model if isinstance(delta, Began) else "")
            yield from self._telling.begun(self._response)
        if isinstance(delta, Part):
            yield from self._more(delta)

    def _more(self, part: Part) -> Iterator[bytes]:
        if part.call not in self._of_calls:
            self._of_calls[part.call] = len(self._output)
            of_text = part.call is None
            self._output.append(
                message_of("") if of_text else call_of(Call(part.name, "", part.id))
            )
            self._pieces.append([])
            at, item = len(self._output) - 1, self._output[-1]
            yield self._telling.item_added(at, item)
            if of_text:
                form, place = self._form(at)
                yield self._telling.part_added(form, place, item["content"][0])
        at = self._of_calls[part.call]
        if part.text:
            self._pieces[at].append(part.text)
            yield self._telling.delta(*self._form(at), part.text)

    def _form(self, at: int) -> tuple[_Form, dict[str, Any]]:
        item = self._output[at]
        if item["type"] == "function_call":
            return _ARGUMENTS, _place(at, item)
        form = _FORMS["output_text"]
        return form, {**_place(at, item), form.number: 0}

    def _end(self) -> Iterator[bytes]:
        telling = self._telling
        if not self._response:
            yield from self._write(Began(""))
        for at, item in enumerate(self._output):
            form, place = self._form(at)
            whole = item["content"][0] if form.part else item
            whole[form.field] = "".join(self._pieces[at])
            yield telling.done(form, place, whole)
            if form.part:
                yield telling.part_done(form, place, whole)
            yield telling.item_done(at, item)
        yield telling.ended(ended_response(self._response, self._finish, self._output, self._usage))
