"""A response, from a stream's events."""

from __future__ import annotations

from typing import Any

from semcache_async.serve.apis.api import MOST_BYTES, Reader
from semcache_async.serve.apis.responses.saying import ENDS

__all__ = ["ResponseReader"]


class ResponseReader(Reader):
    """Ended by the event that holds the whole response; some servers leave its items out, which
    came before. Of a stream with more than ``max_bytes`` of them they are not known."""

    def __init__(self, max_bytes: int = MOST_BYTES) -> None:
        super().__init__(max_bytes)
        self._response: dict[str, Any] | None = None
        self._items: dict[int, dict[str, Any]] = {}
        self._sizes: dict[tuple[int, int], list[int]] = {}

    def _take(self, told: dict[str, Any], size: int) -> None:
        kind = told.get("type")
        if kind == "error" or (kind is None and told.get("error")):
            self.error = told.get("error") or told
        elif kind in ENDS:
            self.ended = True
            response = told.get("response")
            self._response = response if isinstance(response, dict) else None
        elif kind == "response.output_item.done":
            self._add_item(told, size)
        elif kind == "response.output_text.delta":
            self._add_piece(told)

    @property
    def complete(self) -> bool:
        """All of it arrived."""
        return self._response is not None

    @property
    def sizes(self) -> list[list[int]]:
        """Characters of the pieces in which each of its texts came."""
        return [
            self._sizes.get((at, n), [])
            for at, item in enumerate(self.answer().get("output") or ())
            if isinstance(item, dict) and isinstance(item.get("content"), list)
            for n, part in enumerate(item["content"])
            if isinstance(part, dict) and part.get("type") == "output_text"
        ]

    def answer(self) -> dict[str, Any]:
        """The response as it would have been without streaming."""
        response = self._response or {}
        if response.get("output") or not self._items:
            return response
        return {**response, "output": [self._items[at] for at in sorted(self._items)]}

    def _add_item(self, told: dict[str, Any], size: int) -> None:
        at, item = told.get("output_index"), told.get("item")
        self._left -= size
        if self._left < 0:
            self._items.clear()
        elif type(at) is int and isinstance(item, dict):
            self._items[at] = item

    def _add_piece(self, told: dict[str, Any]) -> None:
        at, n, delta = (told.get(name) for name in ("output_index", "content_index", "delta"))
        if type(at) is int and type(n) is int and isinstance(delta, str) and delta:
            self._sizes.setdefault((at, n), []).append(len(delta))
