"""An upstream without a model, of several APIs: for demonstrations, tests and load."""

from __future__ import annotations

import asyncio
import hmac
import math
import random
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from semcache_async.simulator.answer import answer_to
from semcache_async.simulator.apis import APIS
from semcache_async.simulator.apis.api import Api, RefusedError, Route, new_id, openai_error
from semcache_async.simulator.faults import (
    NO_FAULTS,
    Faults,
    NoSuchFaultError,
    read_faults,
    spoiled,
)
from semcache_async.simulator.options import SimulatorOptions
from semcache_async.simulator.pace import first_bytes, hang_up, reset, send

__all__ = ["SIMULATOR", "Simulator", "SimulatorStats", "make_simulator"]

_LARGEST_BODY = 64 * 1024 * 1024


class SimulatorStats(msgspec.Struct):
    """Counted since the start. ``calls = answered + failed + left + under_way``."""

    calls: int = 0
    """Answers asked for, by any API, whatever came of them."""
    streams: int = 0
    """Those of them that wanted a stream."""
    under_way: int = 0
    answered: int = 0
    """Sent as far as the faults allowed."""
    failed: int = 0
    """Refused, or failed on purpose with a status."""
    left: int = 0
    """Given up by the caller before the end."""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Simulator:
    """The state behind one ``make_simulator``."""

    def __init__(self, options: SimulatorOptions) -> None:
        self.options = options
        self.stats = SimulatorStats()
        self.bodies: deque[bytes] = deque(maxlen=100)
        """The latest requests' bodies."""
        self._random = random.Random(options.seed)  # noqa: S311 - a simulation
        self._faults = read_faults(options.faults)
        self._ended = asyncio.Event()
        self._met: Counter[int] = Counter()
        """How often each body has met faults that have an end."""

    async def answer(self, api: Api, request: web.Request) -> web.StreamResponse:
        """What a request at the API's own path gets, counted."""
        stats, headers = self.stats, {api.id_header: new_id("req_")}
        stats.calls += 1
        stats.under_way += 1
        outcome = "left"
        try:
            response = await self._answer(api, request, headers)
            outcome = "answered"
        except RefusedError as refused:
            outcome = "failed"
            response = _error(api, refused, headers)
        except ConnectionError:
            response = web.Response(status=499)
        finally:
            stats.under_way -= 1
            setattr(stats, outcome, getattr(stats, outcome) + 1)
        return response

    async def tell(
        self, api: Api, route: Route, request: web.Request, *, faulty: bool = True
    ) -> web.Response:
        """What a request at another of its paths gets."""
        headers = {api.id_header: new_id("req_")}
        try:
            self._check_key(request, api)
            with _refusals():
                if faulty:
                    faults = self._faults_of(request, await request.read(), "")
                    await self._fail(faults, faults.status)
                return _as_json(await route.tell(request), headers=headers)
        except RefusedError as refused:
            return _error(api, refused, headers)

    async def models(self, _: web.Request) -> dict[str, Any]:
        named = self.options.models or ("simulated",)
        return {"object": "list", "data": [_model(name) for name in named]}

    async def model(self, request: web.Request) -> dict[str, Any]:
        self._check_model(name := request.match_info["id"])
        return _model(name)

    async def count(self, _: web.Request) -> web.Response:
        """GET /simulator/stats"""
        return _as_json(self.stats)

    async def end(self, _: web.Application) -> None:
        """Whoever hangs may go."""
        self._ended.set()

    async def _answer(
        self, api: Api, request: web.Request, headers: dict[str, str]
    ) -> web.StreamResponse:
        self._check_key(request, api)
        raw = await request.read()
        self.bodies.append(raw)
        options, stats = self.options, self.stats
        with _refusals():
            call = api.read(raw)
            faults = self._faults_of(request, raw, call.asked.x_simulate)
        asked = call.asked
        stats.streams += asked.stream
        failing = self._random.random() < options.fail_rate
        thinking_s = options.median_ms / 1_000 * math.exp(self._random.gauss(0.0, options.sigma))
        self._check_model(asked.model)
        wait_s = faults.delay_ms / 1_000 + (0.0 if asked.at_once else thinking_s)
        await self._fail(faults, faults.status or failing * options.fail_status, wait_s)
        answer = answer_to(asked, faults, options.tokens)
        stats.prompt_tokens += answer.prompt_tokens
        stats.completion_tokens += answer.tokens
        if asked.stream:
            events = spoiled(call.events(answer), faults, api.broken)
            return await self._stream(request, events, faults, headers)
        if options.tokens_per_s and not asked.at_once:
            await asyncio.sleep(answer.tokens / options.tokens_per_s)
        return await self._whole(request, call.whole(answer), faults, headers)

    async def _fail(self, faults: Faults, status: int | None, wait_s: float = 0.0) -> None:
        """Hang if the faults want it, wait, and refuse if there is a status."""
        if faults.hang:
            await self._ended.wait()
        await asyncio.sleep(wait_s)
        if status == 429:
            seconds = 1.0 if faults.retry_after is None else faults.retry_after
            said = "Rate limit reached (simulated)."
            raise RefusedError(status, said, "rate_limit_exceeded", retry_after=seconds)
        if status:
            raise RefusedError(status, "Simulated failure.", retry_after=faults.retry_after)

    def _faults_of(self, request: web.Request, raw: bytes, written: str) -> Faults:
        """Those that the request names, in its header or as ``written`` in its body, or ours."""
        written = request.headers.get("x-simulate") or written
        faults = read_faults(written) if written else self._faults
        if faults.first is not None:
            self._met[hash(raw)] += 1
            if self._met[hash(raw)] > faults.first:
                return NO_FAULTS
        return faults

    async def _whole(
        self, request: web.Request, said: dict[str, Any], faults: Faults, headers: dict[str, str]
    ) -> web.StreamResponse:
        data = b"<html>" if faults.garbage else msgspec.json.encode(said)
        if faults.stops_after is None and not faults.trickle_ms:
            return web.Response(body=data, content_type="application/json", headers=headers)
        response = web.StreamResponse(headers={**headers, "Content-Type": "application/json"})
        response.content_length = len(data)
        await response.prepare(request)
        await self._send(request, response, [data], faults)
        return response

    async def _stream(
        self, request: web.Request, events: list[bytes], faults: Faults, headers: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={**headers, "Content-Type": "text/event-stream; charset=utf-8"}
        )
        await response.prepare(request)
        await self._send(request, response, events, faults)
        return response

    async def _send(
        self,
        request: web.Request,
        response: web.StreamResponse,
        pieces: list[bytes],
        faults: Faults,
    ) -> None:
        tokens_per_s = self.options.tokens_per_s
        step_s = max(faults.slow_ms / 1_000, 1 / tokens_per_s if tokens_per_s else 0.0)
        if faults.trickle_ms:
            pieces = [bytes((byte,)) for piece in pieces for byte in piece]
            step_s = faults.trickle_ms / 1_000
        end = faults.stops_after
        if end is None:
            await send(response, pieces, step_s)
            return
        await send(response, first_bytes(pieces, end), step_s)
        if end == faults.hang_after_bytes:
            await self._ended.wait()
        if end == faults.reset_after_bytes:
            reset(request)
        hang_up(request)

    def _check_key(self, request: web.Request, api: Api) -> None:
        wanted = self.options.api_key
        if wanted is None:
            return
        given = [(request.headers.get("Authorization", ""), f"Bearer {wanted}")]
        if api.key_header is not None:
            given.append((request.headers.get(api.key_header, ""), wanted))
        if not any(
            hmac.compare_digest(one.encode(errors="replace"), right.encode())
            for one, right in given
        ):
            raise RefusedError(401, "Incorrect API key provided.", "invalid_api_key")

    def _check_model(self, name: str) -> None:
        if self.options.models and name not in self.options.models:
            said = f"The model `{name}` does not exist or you do not have access to it."
            raise RefusedError(404, said, "model_not_found")


SIMULATOR = web.AppKey("simulator", Simulator)


def make_simulator(options: SimulatorOptions) -> web.Application:
    """The upstream as an application; its ``Simulator`` is ``app[SIMULATOR]``.

    Serve it with ``handler_cancellation=True``, so that callers who leave are noticed at once.
    """
    app = web.Application(client_max_size=_LARGEST_BODY)
    app[SIMULATOR] = simulator = Simulator(options)
    for name in options.apis:
        api = APIS[name]()
        app.router.add_post(api.path, partial(simulator.answer, api))
        for route in api.others:
            app.router.add_route(route.method, route.path, partial(simulator.tell, api, route))
    listed = (
        Route("GET", "/v1/models", simulator.models),
        Route("GET", "/v1/models/{id:.+}", simulator.model),
    )
    for route in listed:
        tell = partial(simulator.tell, APIS["chat"](), route, faulty=False)
        app.router.add_route(route.method, route.path, tell)
    app.router.add_get("/simulator/stats", simulator.count)
    app.router.add_route("*", "/{path:.*}", _nowhere)
    app.on_shutdown.append(simulator.end)
    return app


async def _nowhere(request: web.Request) -> web.Response:
    refused = RefusedError(404, f"Invalid URL ({request.method} {request.path})")
    return _as_json(openai_error(refused), 404, {"x-request-id": new_id("req_")})


@contextmanager
def _refusals() -> Iterator[None]:
    """What cannot be read is refused."""
    try:
        yield
    except (msgspec.DecodeError, RecursionError, NoSuchFaultError) as error:
        raise RefusedError(400, str(error)) from None


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "semcache"}


def _error(api: Api, refused: RefusedError, headers: dict[str, str]) -> web.Response:
    body = api.error(refused, headers[api.id_header])
    return _as_json(body, refused.status, {**headers, **refused.headers})


def _as_json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        content_type="application/json",
        headers=headers,
    )
