"""An OpenAI-compatible upstream without a model: for demonstrations, tests and load."""

from __future__ import annotations

import asyncio
import hmac
import math
import random
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from semcache_async.errors import ConfigError
from semcache_async.simulator.answer import ChatBody, chunks_of, completion_for
from semcache_async.simulator.faults import (
    NO_FAULTS,
    Faults,
    NoSuchFaultError,
    read_faults,
    spoiled,
)
from semcache_async.simulator.pace import first_bytes, hang_up, reset, send
from semcache_async.simulator.texts import as_chat, as_text, chunks_of_text

__all__ = ["SIMULATOR", "Simulator", "SimulatorOptions", "SimulatorStats", "make_simulator"]

_LARGEST_BODY = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """How the simulated upstream behaves. Raises ``ConfigError`` for nonsense."""

    median_ms: float = 800.0
    """Median time to the first token, lognormal."""
    sigma: float = 0.35
    """Spread of that time: the standard deviation of its logarithm."""
    tokens_per_s: float = 50.0
    """After the first token; 0: all at once."""
    tokens: int = 40
    """How much each answer says beyond the question."""
    seed: int = 0
    fail_rate: float = 0.0
    """Share of the calls that get ``fail_status``."""
    fail_status: int = 500
    faults: str = ""
    """``Faults`` in writing, for requests that name none."""
    models: tuple[str, ...] = ()
    """Those there are; none: any name will do."""
    api_key: str | None = None

    def __post_init__(self) -> None:
        ranges = {
            "median_ms": (0.0, 3_600_000.0),
            "sigma": (0.0, 5.0),
            "tokens_per_s": (0.0, 1e9),
            "tokens": (0, 100_000),
            "fail_rate": (0.0, 1.0),
            "fail_status": (400, 599),
        }
        for name, (least, most) in ranges.items():
            if not least <= getattr(self, name) <= most:
                raise ConfigError(f"{name} must be within {least:g} and {most:g}.")
        try:
            read_faults(self.faults)
        except NoSuchFaultError as error:
            raise ConfigError(f"faults: {error}") from error


class SimulatorStats(msgspec.Struct):
    """Counted since the start. ``calls = answered + failed + left + under_way``."""

    calls: int = 0
    """Chat completions asked for, whatever came of them."""
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


class _RefusedError(Exception):
    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Simulator:
    """The state behind one ``make_simulator``."""

    def __init__(self, options: SimulatorOptions) -> None:
        self.options = options
        self.stats = SimulatorStats()
        self.bodies: deque[bytes] = deque(maxlen=100)
        """The latest requests' bodies."""
        self._random = random.Random(options.seed)  # noqa: S311 - a simulation
        self._faults = read_faults(options.faults)
        self._decode = msgspec.json.Decoder(ChatBody).decode
        self._ended = asyncio.Event()
        self._met: Counter[int] = Counter()
        """How often each body has met faults that have an end."""

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions"""
        return await self._counted(request, of_text=False)

    async def complete_text(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/completions"""
        return await self._counted(request, of_text=True)

    async def _counted(self, request: web.Request, *, of_text: bool) -> web.StreamResponse:
        stats = self.stats
        stats.calls += 1
        stats.under_way += 1
        outcome = "left"
        try:
            response = await self._complete(request, of_text)
            outcome = "answered"
        except _RefusedError as refused:
            outcome = "failed"
            response = _error(refused)
        except ConnectionError:
            response = web.Response(status=499)
        finally:
            stats.under_way -= 1
            setattr(stats, outcome, getattr(stats, outcome) + 1)
        return response

    async def models(self, request: web.Request) -> web.Response:
        """GET /v1/models"""
        try:
            self._check_key(request)
        except _RefusedError as refused:
            return _error(refused)
        named = self.options.models or ("simulated",)
        return _as_json({"object": "list", "data": [_model(name) for name in named]})

    async def model(self, request: web.Request) -> web.Response:
        """GET /v1/models/{id}"""
        name, named = request.match_info["id"], self.options.models
        try:
            self._check_key(request)
            if named and name not in named:
                raise _RefusedError(404, f"The model `{name}` does not exist.", "model_not_found")
        except _RefusedError as refused:
            return _error(refused)
        return _as_json(_model(name))

    async def tell(self, _: web.Request) -> web.Response:
        """GET /simulator/stats"""
        return _as_json(self.stats)

    async def end(self, _: web.Application) -> None:
        """Whoever hangs may go."""
        self._ended.set()

    async def _complete(self, request: web.Request, of_text: bool) -> web.StreamResponse:
        self._check_key(request)
        raw = await request.read()
        self.bodies.append(raw)
        options, stats = self.options, self.stats
        try:
            body = self._decode(as_chat(raw) if of_text else raw)
            written = request.headers.get("x-simulate") or body.x_simulate
            faults = read_faults(written) if written else self._faults
        except (msgspec.DecodeError, RecursionError, NoSuchFaultError) as error:
            raise _RefusedError(400, str(error)) from None
        if faults.first is not None:
            self._met[hash(raw)] += 1
            if self._met[hash(raw)] > faults.first:
                faults = NO_FAULTS
        stats.streams += bool(body.stream)
        failing = self._random.random() < options.fail_rate
        thinking_s = options.median_ms / 1_000 * math.exp(self._random.gauss(0.0, options.sigma))
        if options.models and body.model not in options.models:
            said = f"The model `{body.model}` does not exist or you do not have access to it."
            raise _RefusedError(404, said, "model_not_found")
        if faults.hang:
            await self._ended.wait()
        await asyncio.sleep(thinking_s + faults.delay_ms / 1_000)
        if faults.status or failing:
            raise _failure(faults.status or options.fail_status, faults.retry_after)
        completion = completion_for(
            body,
            faults,
            id=f"chatcmpl-{stats.calls:012x}",
            created=int(time.time()),
            tokens=options.tokens,
        )
        usage = completion.get("usage") or {}
        stats.prompt_tokens += usage.get("prompt_tokens", 0)
        stats.completion_tokens += usage.get("completion_tokens", 0)
        if not body.stream:
            whole = as_text(completion) if of_text else completion
            return await self._whole(request, whole, faults)
        asked_usage = (body.stream_options or {}).get("include_usage") is True
        events = chunks_of(completion, asked_usage)
        if of_text:
            events = chunks_of_text(events)
        return await self._stream(request, spoiled(events, faults), faults)

    async def _whole(
        self, request: web.Request, completion: dict[str, Any], faults: Faults
    ) -> web.StreamResponse:
        if self.options.tokens_per_s:
            said = (completion.get("usage") or {}).get("completion_tokens", 0)
            await asyncio.sleep(said / self.options.tokens_per_s)
        data = b"<html>" if faults.garbage else msgspec.json.encode(completion)
        if faults.stops_after is None and not faults.trickle_ms:
            return web.Response(body=data, content_type="application/json", headers=_identity())
        response = web.StreamResponse(headers={**_identity(), "Content-Type": "application/json"})
        response.content_length = len(data)
        await response.prepare(request)
        await self._send(request, response, [data], faults)
        return response

    async def _stream(
        self, request: web.Request, events: list[bytes], faults: Faults
    ) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={**_identity(), "Content-Type": "text/event-stream; charset=utf-8"}
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

    def _check_key(self, request: web.Request) -> None:
        wanted = self.options.api_key
        if wanted is None:
            return
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(errors="replace"), f"Bearer {wanted}".encode()):
            raise _RefusedError(401, "Incorrect API key provided.", "invalid_api_key")


SIMULATOR = web.AppKey("simulator", Simulator)


def make_simulator(options: SimulatorOptions) -> web.Application:
    """The upstream as an application; its ``Simulator`` is ``app[SIMULATOR]``.

    Serve it with ``handler_cancellation=True``, so that callers who leave are noticed at once.
    """
    app = web.Application(client_max_size=_LARGEST_BODY)
    app[SIMULATOR] = simulator = Simulator(options)
    app.router.add_post("/v1/chat/completions", simulator.complete)
    app.router.add_post("/v1/completions", simulator.complete_text)
    app.router.add_get("/v1/models", simulator.models)
    app.router.add_get("/v1/models/{id:.+}", simulator.model)
    app.router.add_get("/simulator/stats", simulator.tell)
    app.on_shutdown.append(simulator.end)
    return app


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "semcache"}


def _failure(status: int, retry_after: float | None) -> _RefusedError:
    if retry_after is None and status == 429:
        retry_after = 1.0
    headers = {} if retry_after is None else {"retry_after": f"{retry_after:g}"}
    if status == 429:
        said = "Rate limit reached (simulated)."
        return _RefusedError(status, said, "rate_limit_exceeded", **headers)
    return _RefusedError(status, "Simulated failure.", **headers)


def _error(refused: _RefusedError) -> web.Response:
    kind = "server_error" if refused.status >= 500 else "invalid_request_error"
    if refused.status == 429:
        kind = "requests"
    error = {"message": str(refused), "type": kind, "param": None, "code": refused.code}
    return _as_json({"error": error}, refused.status, refused.headers)


def _as_json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        content_type="application/json",
        headers={**_identity(), **(headers or {})},
    )


def _identity() -> dict[str, str]:
    return {"x-request-id": f"req_{random.getrandbits(96):024x}"}
