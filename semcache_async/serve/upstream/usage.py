"""A stream's usage, asked for whether the caller wants it or not: by it is known what hits save,
and a later caller may want it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from semcache_async.serve.errors import UpstreamAnswered

__all__ = ["UsageOption"]

T = TypeVar("T")
_REFUSALS = (400, 422)
_NAMES = ("stream_options", "include_usage")


class UsageOption:
    """Whether one upstream takes ``stream_options.include_usage``, as far as is known."""

    def __init__(self) -> None:
        self._taken: bool | None = None

    async def asking(
        self, ask: Callable[[Mapping[str, Any]], Awaitable[T]], body: Mapping[str, Any]
    ) -> T:
        """What ``ask`` brings for ``body`` with the option, and without where the upstream refuses
        what the caller never asked for."""
        options = body.get("stream_options") or {}
        if self._taken is False or not isinstance(options, dict) or options.get("include_usage"):
            return await ask(body)
        try:
            answer = await ask({**body, "stream_options": {**options, "include_usage": True}})
        except UpstreamAnswered as error:
            if not self._may_be_refused(error):
                raise
            answer = await ask(body)
            self._taken = False
        else:
            self._taken = True
        return answer

    def _may_be_refused(self, error: UpstreamAnswered) -> bool:
        if error.status not in _REFUSALS:
            return False
        return not self._taken or any(name in error.message for name in _NAMES)
