"""Answers: JSON, and what went wrong in the form that is the service's own."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from aiohttp import web

from semcache_async.serve.errors import Problem

__all__ = ["NO_STORE", "error_response", "json_response", "render_problem"]

NO_STORE = {"Cache-Control": "no-store"}
"""For what is true now and not later."""
_STILL_SENDING = (408, 413)
"""The client may still be sending, so the connection cannot be used again."""


def json_response(
    value: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """``value`` as JSON; bytes are JSON already."""
    return web.Response(
        body=value if type(value) is bytes else msgspec.json.encode(value),
        status=status,
        content_type="application/json",
        headers=headers,
    )


def error_response(body: object, problem: Problem, *, status: int | None = None) -> web.Response:
    """``body`` with all that goes with ``problem`` in any protocol."""
    status = status or problem.status
    headers: Mapping[str, str] = problem.headers
    if status == 503 and "retry-after" not in map(str.lower, headers):
        headers = {"Retry-After": "1", **headers}
    response = json_response(body, status=status, headers=headers)
    if status in _STILL_SENDING:
        response.force_close()
    return response


def render_problem(problem: Problem) -> web.Response:
    """The service's own form, for all paths that belong to nobody else's protocol."""
    kind = problem.code or HTTPStatus(problem.status).phrase.lower().replace(" ", "_")
    error = {"message": problem.message, "type": kind}
    if problem.param is not None:
        error["param"] = problem.param
    return error_response({"error": error}, problem)
