"""The page's own files, as they are."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from importlib.resources import files

from aiohttp import web

from semcache_async.serve.protocol import Handler
from semcache_async.serve.service import Service

__all__ = ["file"]

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def file(name: str, content_type: str) -> Handler:
    """What serves the file of that name."""

    async def serve(_service: Service, request: web.Request) -> web.Response:
        body, etag = _read(name)
        known = any(tag.value in (etag, "*") for tag in request.if_none_match or ())
        response = web.Response(status=304) if known else web.Response(body=body)
        response.headers.update(_HEADERS)
        response.etag = etag
        if not known:
            response.content_type = content_type
            response.charset = "utf-8"
        return response

    return serve


@cache
def _read(name: str) -> tuple[bytes, str]:
    body = files("semcache_async.serve.page").joinpath("static", name).read_bytes()
    return body, blake2b(body, digest_size=12).hexdigest()
