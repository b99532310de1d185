"""The plain JSON service of the field's tutorials."""

from __future__ import annotations

from semcache_async.serve.http.responses import render_problem
from semcache_async.serve.plain.forms import AnswerRequest, AnswerResponse, FeedbackRequest
from semcache_async.serve.plain.routes import ROUTES, SCHEMAS
from semcache_async.serve.protocol import Protocol

__all__ = ["PROTOCOL"]

PROTOCOL = Protocol(
    name="plain",
    render=render_problem,
    routes=ROUTES,
    structs=(AnswerRequest, AnswerResponse, FeedbackRequest),
    schemas=SCHEMAS,
)
