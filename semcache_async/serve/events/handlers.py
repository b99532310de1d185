"""``/v1/events``: applied at once, by this process's own cache."""

from __future__ import annotations

from aiohttp import web

from semcache_async.serve.errors import Invalid
from semcache_async.serve.http.body import parse_json, read_body
from semcache_async.serve.http.forms import read_form
from semcache_async.serve.http.responses import NO_STORE, json_response
from semcache_async.serve.service import Service
from semcache_async.worker.events import Event, Work, check_event

__all__ = ["events"]


async def events(service: Service, request: web.Request) -> web.Response:
    """One event, or a list of them; all are read before any is applied."""
    said = parse_json(await read_body(request, service))
    if said == []:
        raise Invalid("The list holds no events.", code="missing_field")
    listed = said if isinstance(said, list) else [said]
    work = Work([check_event(read_form(one, Event)) for one in listed])
    await work.do(service.cache)
    return json_response({"removed": work.removed, "versions": work.versions}, headers=NO_STORE)
