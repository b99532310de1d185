"""What went wrong, in LangCache's words."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from aiohttp import web

from semcache_async.serve.errors import Draining, Problem, Unavailable
from semcache_async.serve.http.responses import error_response

__all__ = ["render"]

_TYPES = {
    401: "authentication-failed",
    403: "insufficient-permissions",
    404: "resource-not-found",
    413: "payload-too-large",
    424: "resource-unavailable",
    429: "too-many-requests",
    502: "resource-unavailable",
    503: "resource-unavailable",
}
"""Every other status under 500 is "invalid-data", and every other one "unexpected-error"."""


def render(problem: Problem) -> web.Response:
    """``{title, type, status, detail}``, and ``fields`` where the request is wrong. What cannot
    be served now is 424 here."""
    status = problem.status
    if isinstance(problem, Unavailable) and not isinstance(problem, Draining):
        status = 424
    kind = _TYPES.get(status, "invalid-data" if status < 500 else "unexpected-error")
    if status == 424 and problem.code == "database_out_of_memory":
        kind = "database-out-of-memory"
    body: dict[str, Any] = {
        "title": HTTPStatus(status).phrase,
        "type": f"/errors/{kind}",
        "status": status,
        "detail": problem.message,
    }
    if kind == "invalid-data":
        rule = problem.code or "invalid"
        body["fields"] = [
            {"field": problem.param or "body", "rule": rule, "message": problem.message}
        ]
    return error_response(body, problem, status=status)
