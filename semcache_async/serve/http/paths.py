"""Paths as clients write them: with slashes too many, and with their base URL's ``/v1`` left out or
given twice."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web
from yarl import URL

__all__ = ["Paths"]

_VERSION = "/v1"
_SLASHES = re.compile("/{2,}")


class Paths:
    """What paths ``app`` knows."""

    def __init__(self, app: web.Application) -> None:
        known = [resource.canonical for resource in app.router.resources()]
        others = {_head(path) for path in known}
        versioned = (path for path in known if path.startswith(f"{_VERSION}/"))
        self._bare = {_head(path.removeprefix(_VERSION)) for path in versioned} - others

    def canonical(self, path: str) -> str:
        """The path that is meant."""
        path = _SLASHES.sub("/", path)
        if len(path) > 1:
            path = path.removesuffix("/")
        while path.startswith(f"{_VERSION}{_VERSION}/"):
            path = path.removeprefix(_VERSION)
        return f"{_VERSION}{path}" if _head(path) in self._bare else path

    def rewritten(self, message: Any) -> Any:
        """A request's head (aiohttp's ``RawRequestMessage``) with the path that is meant."""
        path, mark, query = message.path.partition("?")
        if not path.startswith("/") or path == (meant := self.canonical(path)):
            return message
        url = URL.build(path=meant, query_string=query, encoded=True)
        return message._replace(path=meant + mark + query, url=url)


def _head(path: str) -> str:
    return path.split("/", 2)[1] if path.startswith("/") else ""
