"""Responses that the upstream keeps: told, cancelled and deleted by their ids."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import suppress
from dataclasses import replace
from functools import partial

import msgspec
from aiohttp import web

from semcache_async.serve.apis import RESPONSES
from semcache_async.serve.apis.api import Frame, Request
from semcache_async.serve.apis.responses.ids import parted
from semcache_async.serve.apis.responses.stored import marked
from semcache_async.serve.asking.kept import admit_kept
from semcache_async.serve.asking.sending import BrokeOffError, ReaderLeftError, Stream
from semcache_async.serve.errors import Invalid, NotFound, Problem, UpstreamFailed
from semcache_async.serve.http.responses import json_response
from semcache_async.serve.openai.errors import render
from semcache_async.serve.protocol import Render
from semcache_async.serve.service import Service
from semcache_async.serve.sse import EventSplitter, event_of
from semcache_async.serve.upstream.answered import translated
from semcache_async.serve.upstream.client import Upstream
from semcache_async.serve.upstream.passing import Passed

__all__ = ["broken", "cancel", "delete", "input_items", "retrieve"]

_PARTS = ("include", "include[]", "stream", "starting_after", "include_obfuscation")
_PAGE = ("include", "include[]", "after", "before", "limit", "order")
_ID = re.compile(r"(?!\.+\Z)[A-Za-z0-9_.=~-]{1,512}")
"""Others could lead to other paths of the upstream."""
_FOLLOWING = Request(api=RESPONSES, body={}, cache={}, stream=True)


def broken(_: Render, problem: Problem) -> bytes:
    """The event by which OpenAI's streams of responses tell of a problem."""
    told = {
        "type": "error",
        "code": problem.code,
        "message": problem.message,
        "param": problem.param,
        "sequence_number": 0,
    }
    return b"event: error\n" + event_of(msgspec.json.encode(told))


async def retrieve(service: Service, request: web.Request) -> web.StreamResponse:
    """A response as the upstream has it, or its stream."""
    name, mark = _named(service, request)
    passed = _passed(service, request, _PARTS)
    upstream = await _keeper(service, request, name)
    if request.query.get("stream") != "true":
        body = await upstream.pass_on("GET", f"responses/{name}", passed)
        return json_response(marked(body, mark) if mark else body)
    async with upstream.follow(f"responses/{name}", passed) as told:
        if isinstance(told, bytes):
            return json_response(told)
        stream = Stream(_FOLLOWING, [], _frames(told), RESPONSES)
        try:
            response, _ = await stream.send(request, {}, partial(broken, render))
        except BrokeOffError as error:
            service.metrics.http_error(error.status)
            return error.response
        except ReaderLeftError as error:
            raise ConnectionResetError("the reader left") from error
        return response


async def delete(service: Service, request: web.Request) -> web.StreamResponse:
    """Of one that was given out again nothing is deleted: others were given it too."""
    name, mark = _named(service, request)
    if mark:
        return json_response({"id": name + mark, "object": "response.deleted", "deleted": True})
    upstream, passed = await _keeper(service, request, name), _passed(service, request)
    return json_response(await upstream.pass_on("DELETE", f"responses/{name}", passed))


async def cancel(service: Service, request: web.Request) -> web.StreamResponse:
    """A response that is made in the background, as the upstream has it then."""
    name, mark = _named(service, request)
    upstream, passed = await _keeper(service, request, name), _passed(service, request)
    body = await upstream.pass_on("POST", f"responses/{name}/cancel", passed)
    return json_response(marked(body, mark) if mark else body)


async def input_items(service: Service, request: web.Request) -> web.StreamResponse:
    """What was asked, as the upstream has it."""
    name, _ = _named(service, request)
    upstream, passed = await _keeper(service, request, name), _passed(service, request, _PAGE)
    body = await upstream.pass_on("GET", f"responses/{name}/input_items", passed)
    return json_response(body)


def _named(service: Service, request: web.Request) -> tuple[str, str]:
    """The upstream's id, and the mark of one that was given out again."""
    admit_kept(service, request)
    name, mark = parted(request.match_info["id"])
    if _ID.fullmatch(name) is None:
        raise _unknown()
    return name, mark


async def _keeper(service: Service, request: web.Request, name: str) -> Upstream:
    """The upstream that serves the model which the query names, else the one that has a response of
    that name: of several, they are asked in turn, and the last one is to say that there is none."""
    if (model := request.query.get("model")) is not None:
        return service.upstreams.of(model)
    passed = _passed(service, request)
    speaking = [one for one in service.upstreams if not one.lacks(RESPONSES)]
    if not speaking:
        raise _unknown()
    if passed.key and len(speaking) > 1:  # which goes to no other than the one it is for
        raise Invalid(
            "There are several upstreams; say ?model= and one of its models.",
            param="model",
            code="missing_model",
        )
    *others, last = speaking
    for upstream in others:
        with suppress(UpstreamFailed):
            await upstream.pass_on("GET", f"responses/{name}", passed)
            return upstream
    return last


def _unknown() -> NotFound:
    return NotFound("There is no such response.", param="response_id", code="not_found")


def _passed(service: Service, request: web.Request, names: Collection[str] = ()) -> Passed:
    usual = service.completions.passing.of(request.headers, request.query)
    asked = [
        (name, parted(value)[0] if name in ("after", "before") else value)
        for name, value in request.query.items()
        if name in names
    ]
    return replace(usual, query=(*usual.query, *asked))


async def _frames(pieces: AsyncIterator[bytes]) -> AsyncGenerator[Frame, None]:
    splitter = EventSplitter()
    with translated():
        async for piece in pieces:
            for event in splitter.feed(piece):
                yield Frame(event)
    if splitter.rest:
        yield Frame(splitter.rest)
