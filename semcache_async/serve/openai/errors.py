"""What went wrong, in OpenAI's words."""

from __future__ import annotations

from aiohttp import web

from semcache_async.serve.errors import Problem, UpstreamAnswered
from semcache_async.serve.http.responses import error_response, json_response

__all__ = ["render"]

_TYPES = {403: "permission_error", 429: "rate_limit_error"}


def render(problem: Problem) -> web.Response:
    """``{"error": {message, type, param, code}}``; the upstream's own error as it is."""
    if isinstance(problem, UpstreamAnswered):
        return json_response(problem.body, status=problem.status, headers=problem.headers)
    status = problem.status
    fallback = "invalid_request_error" if status < 500 else "server_error"
    error = {
        "message": problem.message,
        "type": _TYPES.get(status, fallback),
        "param": problem.param,
        "code": problem.code,
    }
    return error_response({"error": error}, problem)
