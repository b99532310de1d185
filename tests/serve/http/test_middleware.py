"""What holds for every path: errors in its protocol's form, ids, origins, draining."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from semcache_async.errors import (
    CacheClosedError,
    EmbeddingError,
    ModelError,
    PromptError,
    QueueFullError,
    StaleWriteError,
    StoreError,
    StoreFullError,
)
from semcache_async.serve.app import PROTOCOLS, break_off, make_app
from semcache_async.serve.errors import (
    Forbidden,
    Invalid,
    NotFound,
    Problem,
    TooLarge,
    TooSlow,
    Unauthorized,
    Unavailable,
    UpstreamFailed,
)
from semcache_async.serve.http.access import caller_of
from semcache_async.serve.http.middleware import REQUEST_ID, UndeclaredRouteError
from semcache_async.serve.http.request_id import request_id
from semcache_async.serve.keys import Caller, KeyRing, hash_key
from semcache_async.serve.openapi.describe import describe
from semcache_async.serve.openapi.shapes import ERROR, operation
from semcache_async.serve.protocol import Access, Protocol, Route
from semcache_async.serve.service import Service
from semcache_async.serve.settings import Settings
from tests.helpers import until
from tests.serve.running import Client, client_of, raising, service_for

pytestmark = pytest.mark.anyio

OPENAI, LANGCACHE, PLAIN = "/v1", "/v1/caches/c", ""
LANGCACHE_TYPES = {
    400: "/errors/invalid-data",
    401: "/errors/authentication-failed",
    403: "/errors/insufficient-permissions",
    404: "/errors/resource-not-found",
    413: "/errors/payload-too-large",
    424: "/errors/resource-unavailable",
    429: "/errors/too-many-requests",
    500: "/errors/unexpected-error",
}


async def asked(
    client: Client, path: str, method: str = "POST", **options: Any
) -> tuple[int, Any, Any]:
    async with client.request(method, path, **options) as response:
        raw = await response.read()
        return response.status, json.loads(raw) if raw else None, response.headers


async def ok(_request: web.Request) -> web.StreamResponse:
    return web.json_response({"ok": True})


PROBLEMS = [
    (Invalid("No.", param="messages[0]", code="bad"), 400),
    (Unauthorized("No.", headers={"WWW-Authenticate": "Bearer"}), 401),
    (Forbidden("No."), 403),
    (NotFound("No."), 404),
    (TooSlow("No."), 408),
    (TooLarge("No."), 413),
    (Problem("No.", status=429, headers={"Retry-After": "7"}), 429),
    (UpstreamFailed("No."), 502),
    (Unavailable("No."), 503),
    (Problem("No."), 500),
]


@pytest.mark.parametrize(("problem", "status"), PROBLEMS, ids=lambda value: str(value))
async def test_a_problem_has_each_protocols_form(problem: Problem, status: int) -> None:
    async with service_for() as service, client_of(service, it=raising(problem)) as client:
        got, body, headers = await asked(client, f"{OPENAI}/it")
        assert got == status
        assert body["error"].keys() == {"message", "type", "param", "code"}
        assert body["error"]["message"] == "No."
        assert body["error"]["param"] == problem.param
        assert headers["Content-Type"] == "application/json"
        assert set(problem.headers.items()) <= set(headers.items())

        got, body, _ = await asked(client, f"{LANGCACHE}/it")
        assert got == (424 if status == 503 else status)
        assert body.keys() >= {"title", "type", "status", "detail"}
        assert (body["status"], body["detail"]) == (got, "No.")
        assert body["type"] == LANGCACHE_TYPES.get(got, body["type"])
        if body["type"] == "/errors/invalid-data":
            assert [field.keys() for field in body["fields"]] == [{"field", "rule", "message"}]

        got, body, _ = await asked(client, f"{PLAIN}/it")
        assert got == status
        assert body["error"]["message"] == "No."
        assert service.metrics.summary()["http_errors"] == {str(status): 3}


async def test_what_the_cache_raises_is_no_surprise() -> None:
    errors = {
        "store": (StoreError("x"), 503, 424, "/errors/resource-unavailable"),
        "full": (StoreFullError("x"), 503, 424, "/errors/database-out-of-memory"),
        "embed": (EmbeddingError("x"), 503, 424, "/errors/resource-unavailable"),
        "closed": (CacheClosedError("x"), 503, 503, "/errors/resource-unavailable"),
        "stale": (StaleWriteError("x"), 503, 424, "/errors/resource-unavailable"),
        "queue": (QueueFullError("x"), 429, 429, "/errors/too-many-requests"),
        "strange": (ModelError("x"), 503, 424, "/errors/resource-unavailable"),
        "prompt": (PromptError("Blank."), 400, 400, "/errors/invalid-data"),
    }
    handlers = {name: raising(error) for name, (error, *_) in errors.items()}
    async with service_for() as service, client_of(service, handlers=handlers) as client:
        for name, (_, openai, langcache, kind) in errors.items():
            assert (await asked(client, f"{OPENAI}/{name}"))[0] == openai
            status, body, headers = await asked(client, f"{LANGCACHE}/{name}")
            assert (status, body["type"]) == (langcache, kind)
            assert ("Retry-After" in headers) == (status in (429, 503))


async def test_a_bug_is_a_500_that_tells_neither_caller_nor_log_what_was_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        service_for() as service,
        client_of(service, it=raising(KeyError("canary"))) as client,
    ):
        status, body, headers = await asked(client, "/v1/it", headers={"X-Request-Id": "r-1"})
    assert (status, body["error"]["type"]) == (500, "server_error")
    assert headers["X-Request-Id"] == "r-1"
    record = next(record for record in caplog.records if record.levelname == "ERROR")
    assert "KeyError" in record.getMessage()
    assert "canary" not in f"{body}{vars(record)}"
    assert any("running.py" in line for line in vars(record)["trace"])


async def test_unknown_paths_and_methods() -> None:
    async with service_for() as service, client_of(service) as client:
        assert (await asked(client, "/v1/nothing"))[:2] == (
            404,
            {
                "error": {
                    "message": "There is no such path here.",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": "not_found",
                }
            },
        )
        assert (await asked(client, "/v1/caches/c/nothing"))[1]["type"] == LANGCACHE_TYPES[404]
        status, body, headers = await asked(client, "/healthz", "DELETE")
        assert (status, body["error"]["type"]) == (405, "method_not_allowed")
        assert "GET" in headers["Allow"]


async def test_request_ids() -> None:
    seen = []

    async def note(request: web.Request) -> web.StreamResponse:
        seen.append((request[REQUEST_ID], request_id.get()))
        return web.Response()

    async with service_for() as service, client_of(service, it=note) as client:
        given = ["mine:1", None, None, "", "x" * 200, "a b", 'say"']
        told = []
        for one in given:
            headers = {} if one is None else {"X-Request-Id": one}
            told.append((await asked(client, "/it", headers=headers))[2]["X-Request-Id"])
    assert told[0] == "mine:1"
    assert len(set(told)) == len(told)
    assert not set(told[1:]) & set(given)
    assert seen == [(one, one) for one in told]


# -- origins


STRANGE = {"Origin": "https://evil.example"}


async def test_a_strange_page_cannot_use_a_service_without_keys() -> None:
    async with service_for() as service, client_of(service, it=ok) as client:
        own = {"Origin": f"http://{client.host}:{client.port}"}
        cases = [
            ({}, 200),
            (own, 200),
            (STRANGE, 403),
            ({"Origin": "null"}, 403),
            ({**STRANGE, "Sec-Fetch-Site": "cross-site"}, 403),
            ({**STRANGE, "Sec-Fetch-Site": "same-origin"}, 200),  # behind a proxy
        ]
        for headers, status in cases:
            got, _, answered = await asked(client, "/it", headers=headers)
            assert got == status, headers
            assert "Access-Control-Allow-Origin" not in answered
        assert (await asked(client, "/it", "GET", headers=STRANGE))[0] == 200
        assert (await asked(client, "/it", "OPTIONS", headers=STRANGE))[0] == 200


async def test_with_keys_a_page_may_ask_but_not_read() -> None:
    keys = KeyRing({hash_key("sk"): Caller(tenant="a")})
    async with service_for(keys=keys) as service, client_of(service, it=ok) as client:
        status, _, headers = await asked(client, "/it", headers=STRANGE)
        assert status == 200
        assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("named", ["https://app.example", "*"])
async def test_a_page_that_was_named_may_ask_and_read(named: str) -> None:
    settings = Settings(cors_origins=(named,))
    page = {"Origin": "https://app.example"}
    async with service_for(settings) as service, client_of(service, it=ok) as client:
        preflight = {
            **page,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,x-stainless-os",
        }
        status, _, headers = await asked(client, "/it", "OPTIONS", headers=preflight)
        assert status == 204
        assert headers["Access-Control-Allow-Headers"] == "authorization,x-stainless-os"
        for path in ("/it", "/v1/nothing"):
            headers = (await asked(client, path, headers=page))[2]
            assert headers["Access-Control-Allow-Origin"] == "https://app.example"
            assert "Cache-Status" in headers["Access-Control-Expose-Headers"]
            assert headers["Vary"] == "Origin"


# -- leaving


async def test_draining_turns_new_work_away_and_says_when_to_come_again() -> None:
    async with service_for() as service, client_of(service, it=ok) as client:
        service.draining = True
        for path in ("/it", "/v1/it", "/v1/caches/c/it", "/v1/nothing"):
            status, _, headers = await asked(client, path)
            assert (status, headers["Retry-After"], headers["Connection"]) == (503, "1", "close")
        assert (await asked(client, "/healthz", "GET"))[0] == 200
        assert (await asked(client, "/readyz", "GET"))[0] == 503


async def test_what_drains_for_too_long_is_told_so() -> None:
    started: list[web.StreamResponse | None] = []

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: one\n\n")
        started.append(response)
        await asyncio.Event().wait()
        return response

    async def whole(_request: web.Request) -> web.StreamResponse:
        started.append(None)
        await asyncio.Event().wait()
        return web.Response()

    async with service_for() as service, client_of(service, s=stream, w=whole) as client:
        one = asyncio.create_task(client.post("/v1/s"))
        two = asyncio.create_task(client.post("/v1/w"))
        await until(lambda: len(started) == 2)
        assert service.metrics.under_way == 2
        service.draining = True
        assert break_off(client.app) == 2
        async with await one as response:
            events = (await response.text()).split("\n\n")
        assert events[0] == "data: one"
        assert json.loads(events[1].removeprefix("data: "))["error"]["code"] == "draining"
        assert events[2:] == [""]
        async with await two as response:
            assert response.status == 503
        assert service.metrics.under_way == 0
        assert break_off(client.app) == 0


async def test_a_client_that_leaves_ends_its_handler_and_counts_as_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "semcache_async")
    state = []

    async def wait(_request: web.Request) -> web.StreamResponse:
        state.append("in")
        try:
            await asyncio.Event().wait()
        finally:
            state.append("out")
        return web.Response()

    async with service_for() as service, client_of(service, it=wait) as client:
        task = asyncio.create_task(client.post("/it"))
        await until(lambda: state == ["in"])
        task.cancel()
        await until(lambda: state == ["in", "out"])
        await until(lambda: service.metrics.under_way == 0)
        assert service.metrics.summary()["http_errors"] == {}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_an_error_in_mid_stream_cuts_the_connection() -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        raise Invalid("too late")

    async with service_for() as service, client_of(service, it=stream) as client:
        async with client.post("/it") as response:
            with pytest.raises(Exception, match=r"not completed|payload|closed"):
                await response.read()
        assert service.metrics.summary()["http_errors"] == {"400": 1}


# -- who may ask


def test_every_route_says_who_may_ask_it() -> None:
    told = {
        (route.method, route.path): route.access
        for protocol in PROTOCOLS
        for route in protocol.routes
    }
    assert all(isinstance(access, Access) for access in told.values())
    assert {path for (_, path), access in told.items() if access is Access.OPEN} == {
        *("/", "/page.css", "/page.js", "/icon.svg"),
        *("/healthz", "/readyz", "/metrics", "/openapi.json"),
    }
    assert {path for (_, path), access in told.items() if access is Access.ADMIN} == {
        "/v1/events",
        *(
            f"/semantic-cache/{name}"
            for name in (
                *("near", "reviews", "reviews.jsonl", "entries", "reaches"),
                *("invalidate", "feedback"),
            )
        ),
    }


async def test_every_route_is_checked_before_its_handler() -> None:
    keys = KeyRing({hash_key("sk-a"): Caller(tenant="a"), hash_key("sk-root"): Caller(admin=True)})
    async with service_for(keys=keys) as service, client_of(service) as client:
        for protocol in PROTOCOLS:
            for route in protocol.routes:
                path = re.sub(r"\{[^}]+\}", "x", route.path)
                stranger, _, headers = await answered(client, route.method, path)
                tenant, _, _ = await answered(client, route.method, path, key="sk-a")
                if route.access is Access.OPEN:
                    assert stranger == tenant == 200
                    continue
                assert (stranger, headers["WWW-Authenticate"]) == (401, "Bearer"), path
                assert (tenant == 403) == (route.access is Access.ADMIN), path


async def answered(
    client: Client, method: str, path: str, *, key: str | None = None
) -> tuple[int, bytes, Any]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with client.request(method, path, headers=headers) as response:
        return response.status, await response.read(), response.headers


async def test_a_head_request_needs_what_its_get_needs() -> None:
    keys = KeyRing({hash_key("sk-root"): Caller(admin=True)})
    async with service_for(keys=keys) as service, client_of(service) as client:
        assert (await answered(client, "HEAD", "/semantic-cache/near"))[0] == 401
        assert (await answered(client, "HEAD", "/healthz"))[0] == 200


async def test_an_undeclared_route_is_refused_at_start() -> None:
    async with service_for() as service:
        app = make_app(service)
        app.router.add_get("/backdoor", ok)
        with pytest.raises(UndeclaredRouteError, match="/backdoor"):
            await TestServer(app).start_server()


async def test_a_new_protocol_is_one_object() -> None:
    async def greet(_service: Service, request: web.Request) -> web.StreamResponse:
        return web.json_response({"hello": caller_of(request).tenant})

    async def fail(_service: Service, _request: web.Request) -> web.StreamResponse:
        raise StoreFullError("full")

    ours = Protocol(
        name="ours",
        prefix="/ours/",
        render=lambda problem: web.Response(status=418, text=f"{problem.code}"),
        routes=[
            Route("GET", "/ours/greeting", Access.KEY, greet, operation("Greet", ERROR)),
            Route("GET", "/ours/failure", Access.OPEN, fail, operation("Fail", ERROR)),
        ],
    )
    keys = KeyRing({hash_key("sk-a"): Caller(tenant="a")})
    async with service_for(keys=keys) as service:
        server = TestServer(make_app(service, protocols=(*PROTOCOLS, ours)))
        async with TestClient(server) as client:
            assert (await answered(client, "GET", "/ours/greeting"))[:2] == (
                418,
                b"missing_api_key",
            )
            found = await answered(client, "GET", "/ours/greeting", key="sk-a")
            assert (found[0], json.loads(found[1])) == (200, {"hello": "a"})
            told = await answered(client, "GET", "/ours/failure")
            assert told[:2] == (418, b"database_out_of_memory")
            assert (await answered(client, "GET", "/ours/nothing"))[:2] == (418, b"not_found")
    described = describe([*PROTOCOLS, ours])["paths"]["/ours/greeting"]["get"]
    assert described["tags"] == ["ours"]
