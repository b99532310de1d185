"""All protocols behind one port. A new one is a folder, and its line in ``PROTOCOLS``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from semcache_async.serve import anthropic, events, langcache, openai, operations, page, plain
from semcache_async.serve.http.connection import Runner
from semcache_async.serve.http.middleware import Middleware
from semcache_async.serve.openapi import describing
from semcache_async.serve.protocol import Protocol
from semcache_async.serve.service import Service

__all__ = ["PROTOCOLS", "break_off", "make_app", "make_runner"]

_SPOKEN = (
    openai.PROTOCOL,
    openai.RESPONSES,
    anthropic.PROTOCOL,
    langcache.PROTOCOL,
    plain.PROTOCOL,
    page.PROTOCOL,
    events.PROTOCOL,
    operations.PROTOCOL,
)
PROTOCOLS: tuple[Protocol, ...] = (*_SPOKEN, describing(_SPOKEN))


def make_app(service: Service, *, protocols: Iterable[Protocol] = PROTOCOLS) -> web.Application:
    """The application; ``make_runner`` has the options that its server needs."""
    protocols = tuple(protocols)
    middleware = Middleware(service, protocols)
    app = web.Application(
        middlewares=[
            *(() if service.telemetry is None else (service.telemetry.around,)),
            middleware.pass_through,
        ],
        client_max_size=service.settings.max_body_bytes,
    )
    app[_MIDDLEWARE] = middleware
    app.on_response_prepare.append(middleware.before_headers)
    app.on_startup.append(middleware.refuse_undeclared)
    for protocol in protocols:
        for route in protocol.routes:
            middleware.declare(app, route)
    return app


def make_runner(app: web.Application, **options: Any) -> Runner:
    """What serves the application. A request that is none belongs to no protocol: it is told so in
    the form that most clients here read."""
    return Runner(
        app, openai.PROTOCOL.render, auto_decompress=False, handler_cancellation=True, **options
    )


def break_off(app: web.Application) -> int:
    """Tell the requests under way that they end now, and how many they are."""
    tasks = app[_MIDDLEWARE].tasks
    for task in tasks:
        task.cancel()
    return len(tasks)


_MIDDLEWARE = web.AppKey("middleware", Middleware)
