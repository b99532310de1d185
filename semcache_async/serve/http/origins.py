"""Which web pages may use the service from a browser: its own, and those it was told of."""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web

from semcache_async.serve.errors import Forbidden
from semcache_async.serve.service import Service

__all__ = ["Origins"]

_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_EXPOSED = ", ".join(
    (
        *("Age", "Cache-Status", "Retry-After", "X-Request-Id", "X-Semcache-Status"),
        *("X-Semcache-Similarity", "X-Semcache-Distance", "X-Semcache-Entry-Id"),
        *("X-Semcache-Reason", "X-Semcache-Not-Stored"),
    )
)


class Origins:
    """Cross-origin rules. Nothing here concerns a request without ``Origin``, which is what any
    client but a browser sends."""

    def __init__(self, service: Service) -> None:
        self._allowed = frozenset(service.settings.cors_origins)
        self._keyless = service.keys.open

    def admit(self, request: web.Request, origin: str) -> web.Response | None:
        """The answer to a preflight request, else None. Raises ``Forbidden`` where a strange page
        makes its visitor's browser ask a service that needs no key."""
        if self._allows(origin):
            if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
                return web.Response(status=204, headers=self._preflight(request))
        elif self._keyless and request.method not in _SAFE and not _is_own(request, origin):
            raise Forbidden(
                "A page of another origin may not ask this; name it in cors_origins.",
                code="cross_origin",
            )
        return None

    def mark(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let the page that asked read the answer, if it may."""
        origin = request.headers.get("Origin")
        if origin is None or not self._allowed or not self._allows(origin):
            return
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED
        response.headers["Vary"] = "Origin"

    def _allows(self, origin: str) -> bool:
        return origin in self._allowed or "*" in self._allowed

    def _preflight(self, request: web.Request) -> dict[str, str]:
        wanted = request.headers.get("Access-Control-Request-Headers", "")
        return {
            "Access-Control-Allow-Methods": "GET, POST, DELETE",
            "Access-Control-Allow-Headers": wanted or "Authorization, Content-Type",
            "Access-Control-Max-Age": "600",
        }


def _is_own(request: web.Request, origin: str) -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    return urlsplit(origin).netloc == request.host
