"""What went wrong, in Anthropic's words."""

from __future__ import annotations

from aiohttp import web

from semcache_async.serve.apis import MESSAGES
from semcache_async.serve.errors import Problem, UpstreamAnswered
from semcache_async.serve.http.request_id import request_id
from semcache_async.serve.http.responses import error_response, json_response
from semcache_async.serve.protocol import Render
from semcache_async.serve.sse import event_of

__all__ = ["broken", "render"]

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def render(problem: Problem) -> web.Response:
    """``{"type": "error", "error": {type, message}, "request_id"}``; the upstream's own error as it
    is, where it is in that form."""
    status = problem.status
    if isinstance(problem, UpstreamAnswered) and MESSAGES.is_error(problem.body):
        return json_response(problem.body, status=status, headers=problem.headers)
    fallback = "invalid_request_error" if status < 500 else "api_error"
    error = {"type": _TYPES.get(status, fallback), "message": problem.message}
    told = {"type": "error", "error": error, "request_id": request_id.get("")}
    return error_response(told, problem)


def broken(render: Render, problem: Problem) -> bytes:
    """An event named ``error``, by which clients know one."""
    body = render(problem).body
    assert isinstance(body, bytes)
    return event_of(b" ".join(body.splitlines()), "error")
