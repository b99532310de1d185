"""What the upstream keeps, such as earlier responses: of all callers alike, as it knows one key."""

from __future__ import annotations

from aiohttp import web

from semcache_async.serve.errors import Forbidden
from semcache_async.serve.http.access import caller_of
from semcache_async.serve.service import Service

__all__ = ["admit_kept"]


def admit_kept(service: Service, request: web.Request) -> None:
    """Raises ``Forbidden`` for whoever might name another tenant's: nobody here knows whose it
    is."""
    apart = service.keys.several_tenants and not service.settings.kept_by_id
    if apart and not caller_of(request).admin:
        raise Forbidden(
            "What the upstream keeps is not told apart by tenants here; send the conversation "
            "itself, or have whoever runs the service allow it (kept_by_id).",
            code="kept_by_id",
        )
