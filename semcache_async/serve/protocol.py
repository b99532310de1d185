"""What a protocol of the service is: its paths with who may ask them, and how it tells of errors.

A protocol is one folder that exposes one ``Protocol``; ``app.PROTOCOLS`` lists them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec
from aiohttp import web

from semcache_async.serve.errors import Problem
from semcache_async.serve.service import Service
from semcache_async.serve.sse import event_of

__all__ = ["Access", "Broken", "Handler", "Protocol", "Render", "Route", "broken_event"]

Handler: TypeAlias = Callable[[Service, web.Request], Awaitable[web.StreamResponse]]
Render: TypeAlias = Callable[[Problem], web.Response]
"""A problem in a protocol's own form."""
Broken: TypeAlias = Callable[[Render, Problem], bytes]
"""The event by which a stream that has begun tells of a problem."""


def broken_event(render: Render, problem: Problem) -> bytes:
    """The body of the response that would have told of it, as an event's data."""
    body = render(problem).body
    assert isinstance(body, bytes)
    return event_of(b" ".join(body.splitlines()))


class Access(StrEnum):
    """Who may ask a path. ``http.middleware`` checks it, before the handler and nowhere else."""

    OPEN = "open"
    """Anybody."""
    KEY = "key"
    """Whoever has an API key, where keys are needed; ``http.access.caller_of`` says who it is."""
    OWN_KEY = "own_key"
    """The same, but not by a key for the upstream: nobody asks that whether the key is one."""
    ADMIN = "admin"
    """Whoever has an admin's key: it concerns every tenant."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path."""

    method: str
    path: str
    access: Access
    handler: Handler
    operation: Mapping[str, Any]
    """What it does, as OpenAPI has it (``openapi.shapes.operation``), but for its access."""
    counted_as: str = ""
    """What metrics call its protocol; "" for one that nobody counts requests of."""
    when_draining: bool = False
    """Answered while the process ends, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """One protocol."""

    name: str
    """What OpenAPI groups its paths by."""
    routes: Sequence[Route]
    render: Render
    broken: Broken = broken_event
    prefix: str | None = None
    """It tells of errors under any path that begins so, unknown ones included; of two prefixes
    the longer one counts. None: of no path."""
    structs: Sequence[type[msgspec.Struct]] = ()
    """Bodies that OpenAPI describes by what checks or builds them."""
    schemas: Mapping[str, Any] = field(default_factory=dict)
    """JSON Schemas of other bodies, by name."""
