"""POST /v1/messages/count_tokens: the upstream's, which alone knows its models' tokens."""

from __future__ import annotations

from aiohttp import web

from semcache_async.serve.apis import MESSAGES
from semcache_async.serve.apis.reading import names_kept
from semcache_async.serve.asking.kept import admit_kept
from semcache_async.serve.errors import NotFound, UpstreamAnswered
from semcache_async.serve.http.body import read_json
from semcache_async.serve.http.responses import json_response
from semcache_async.serve.service import Service

__all__ = ["count"]

_PATH = "messages/count_tokens"


async def count(service: Service, request: web.Request) -> web.Response:
    """How many tokens a request has."""
    asked = await read_json(request, service)
    if names_kept(asked):
        admit_kept(service, request)
    model = asked.get("model")
    upstream = service.upstreams.of(model if isinstance(model, str) else "")
    passed = service.completions.passing.of(request.headers, request.query, MESSAGES.headers)
    asked.pop("cache", None)
    try:
        return json_response(await upstream.pass_on("POST", _PATH, passed, asked))
    except UpstreamAnswered as error:
        if not error.no_such_path or MESSAGES.is_error(error.body):
            raise
        raise NotFound("The upstream does not count the tokens of messages.") from error
