"""The streams of OpenAI's responses."""

from __future__ import annotations

from typing import Any

from semcache_async.simulator.answer import tokens_of
from semcache_async.simulator.apis.api import event

__all__ = ["events_of", "unfinished"]


def unfinished(response: dict[str, Any], status: str) -> dict[str, Any]:
    """The response before there was anything of it."""
    nothing = dict.fromkeys(("completed_at", "error", "incomplete_details", "usage"))
    return {**response, **nothing, "status": status, "output": []}


def events_of(response: dict[str, Any]) -> list[bytes]:
    """The response as a stream's events, a token each."""
    events: list[bytes] = []

    def tell(kind: str, **fields: Any) -> None:
        events.append(event(kind, sequence_number=len(events), **fields))

    begun = unfinished(response, "in_progress")
    tell("response.created", response=begun)
    tell("response.in_progress", response=begun)
    for index, item in enumerate(response["output"]):
        empty = {"message": "content", "reasoning": "summary"}.get(item["type"])
        opened = {**item, **({"arguments": ""} if empty is None else {empty: []})}
        if "status" in item:
            opened["status"] = "in_progress"
        tell("response.output_item.added", output_index=index, item=opened)
        for kind, fields in _inside(item):
            tell(f"response.{kind}", item_id=item["id"], output_index=index, **fields)
        tell("response.output_item.done", output_index=index, item=item)
    tell(f"response.{response['status']}", response=response)
    return events


def _inside(item: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What a stream tells of an item between its beginning and its end."""
    if item["type"] == "function_call":
        return _spelled("function_call_arguments", "arguments", item["arguments"])
    if item["type"] == "reasoning":
        part_kind, at, parts = "reasoning_summary_part", "summary_index", item["summary"]
        kinds = {"summary_text": ("reasoning_summary_text", "text")}
    else:
        part_kind, at, parts = "content_part", "content_index", item["content"]
        kinds = {"output_text": ("output_text", "text"), "refusal": ("refusal", "refusal")}
    found: list[tuple[str, dict[str, Any]]] = []
    for index, part in enumerate(parts):
        kind, field = kinds[part["type"]]
        more = {at: index, **({"logprobs": []} if kind == "output_text" else {})}
        found.append((f"{part_kind}.added", {at: index, "part": {**part, field: ""}}))
        found += _spelled(kind, field, part[field], **more)
        found.append((f"{part_kind}.done", {at: index, "part": part}))
    return found


def _spelled(kind: str, field: str, text: str, **fields: Any) -> list[tuple[str, dict[str, Any]]]:
    deltas = [(f"{kind}.delta", {**fields, "delta": piece}) for piece in tokens_of(text)]
    return [*deltas, (f"{kind}.done", {**fields, field: text})]
