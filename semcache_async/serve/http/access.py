"""Who may ask what: each route says it, and this is where it is checked."""

from __future__ import annotations

from collections.abc import Collection

from aiohttp import web

from semcache_async.serve.errors import Forbidden
from semcache_async.serve.keys import Caller, KeyRing
from semcache_async.serve.protocol import Access

__all__ = ["admit", "caller_of", "signed"]

_AUTHOR = "author:"
_CALLER = web.RequestKey("caller", Caller)


def admit(request: web.Request, access: Access, keys: KeyRing) -> None:
    """Raises ``Unauthorized`` or ``Forbidden`` for whoever may not ask a path of ``access``."""
    if access is Access.OPEN:
        return
    caller = keys.caller(request.headers)
    if access is Access.ADMIN and not caller.admin:
        raise Forbidden("This needs an admin's API key.", code="admin_only")
    if access is Access.OWN_KEY and keys.passing:
        raise Forbidden(
            "This needs a key of the service itself, and callers bring the upstream's here.",
            code="own_key_only",
        )
    request[_CALLER] = caller


def caller_of(request: web.Request) -> Caller:
    """Who asks. Of a path that is open to anybody nobody knows it."""
    return request[_CALLER]


def signed(request: web.Request, tags: Collection[str] = ()) -> tuple[str, ...]:
    """The tags of what the caller makes: those it gives, and ``author:NAME`` for its key. Raises
    ``Forbidden`` for one who signs as another; an admin may, on behalf of others."""
    caller = caller_of(request)
    own = (f"{_AUTHOR}{caller.author}",) if caller.author else ()
    if not caller.admin and any(tag.startswith(_AUTHOR) and tag not in own for tag in tags):
        raise Forbidden(
            f"Tags that begin with {_AUTHOR} say whose key made an entry, and are not a caller's "
            "to give.",
            code="foreign_author",
        )
    return tuple(dict.fromkeys((*tags, *own)))
