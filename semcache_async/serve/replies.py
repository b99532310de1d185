"""What went wrong, in the words of the protocol that the path belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from semcache_async.serve.problems import Draining, Problem, Unavailable

__all__ = ["reply"]

_LANGCACHE_TYPES = {
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
_OPENAI_TYPES = {403: "permission_error", 429: "rate_limit_error"}
_PARTED = (408, 413)
"""The client may still be sending, so the connection cannot be used again."""


def reply(path: str, problem: Problem) -> web.Response:
    """The answer to a request for ``path`` that met ``problem``."""
    status = problem.status
    body: dict[str, Any]
    if path.startswith("/v1/caches/"):
        if isinstance(problem, Unavailable) and not isinstance(problem, Draining):
            status = 424
        body = _langcache(problem, status)
    elif path.startswith("/v1/"):
        body = {"error": _openai(problem, status)}
    else:
        body = {"error": _plain(problem)}
    headers: Mapping[str, str] = problem.headers
    if status == 503 and "Retry-After" not in headers:
        headers = {"Retry-After": "1", **headers}
    response = web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers=headers,
    )
    if status in _PARTED:
        response.force_close()
    return response


def _langcache(problem: Problem, status: int) -> dict[str, Any]:
    kind = _LANGCACHE_TYPES.get(status, "invalid-data" if status < 500 else "unexpected-error")
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
    return body


def _openai(problem: Problem, status: int) -> dict[str, Any]:
    fallback = "invalid_request_error" if status < 500 else "server_error"
    return {
        "message": problem.message,
        "type": _OPENAI_TYPES.get(status, fallback),
        "param": problem.param,
        "code": problem.code,
    }


def _plain(problem: Problem) -> dict[str, Any]:
    kind = problem.code or HTTPStatus(problem.status).phrase.lower().replace(" ", "_")
    error = {"message": problem.message, "type": kind}
    return error if problem.param is None else {**error, "param": problem.param}
