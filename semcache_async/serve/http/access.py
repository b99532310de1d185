"""Who may ask what: each route says it, and this is where it is checked."""

from __future__ import annotations

from aiohttp import web

from semcache_async.serve.errors import Forbidden
from semcache_async.serve.keys import Caller, KeyRing
from semcache_async.serve.protocol import Access

__all__ = ["admit", "caller_of"]

_CALLER = web.RequestKey("caller", Caller)


def admit(request: web.Request, access: Access, keys: KeyRing) -> None:
    """Raises ``Unauthorized`` or ``Forbidden`` for whoever may not ask a path of ``access``."""
    if access is Access.OPEN:
        return
    caller = keys.caller(request.headers)
    if access is Access.ADMIN and not caller.admin:
        raise Forbidden("This needs an admin's API key.", code="admin_only")
    request[_CALLER] = caller


def caller_of(request: web.Request) -> Caller:
    """Who asks. Of a path that is open to anybody nobody knows it."""
    return request[_CALLER]
