"""OpenTelemetry for the service: a span for each request that asks something, the trace of its
caller as far as the upstream, and all that ``/metrics`` has."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from threading import Thread
from typing import Any

import anyio
from aiohttp import web
from opentelemetry import metrics, propagate, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk import metrics as sdk_metrics
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from yarl import URL

from semcache_async import __version__
from semcache_async.cache import SemanticCache
from semcache_async.integrations.otel import (
    Attributes,
    Measured,
    failed,
    measure,
    on_loop,
    quietly,
    record,
)
from semcache_async.serve.apis.api import Request
from semcache_async.serve.metrics.exposition import families
from semcache_async.serve.metrics.metrics import Metrics
from semcache_async.serve.upstream.passing import Headers
from semcache_async.serve.upstream.routing import Upstreams
from semcache_async.types import Scope

__all__ = ["Telemetry", "open_telemetry"]

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LAST_WORDS_S = 5.0
_PROVIDERS = {
    "anthropic.com": "anthropic",
    "cohere.ai": "cohere",
    "cohere.com": "cohere",
    "deepseek.com": "deepseek",
    "groq.com": "groq",
    "mistral.ai": "mistral_ai",
    "moonshot.ai": "moonshot_ai",
    "openai.azure.com": "azure.ai.openai",
    "perplexity.ai": "perplexity",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    "amazonaws.com": "aws.bedrock",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "services.ai.azure.com": "azure.ai.inference",
    "x.ai": "x_ai",
}
"""By the ends of their hosts; others speak OpenAI's API, or Anthropic's."""
_READERS = ("opentelemetry.trace", "opentelemetry.baggage")
"""They log what a broken header holds."""
_w3c = TraceContextTextMapPropagator()


class Telemetry:
    """What one process of a service tells."""

    def __init__(self, tracer_provider: TracerProvider) -> None:
        self._tracer = trace.get_tracer("semcache_async", __version__, tracer_provider)

    @web.middleware
    async def around(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """A span of the request; those that only look (GET) have none."""
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return await handler(request)
        span = self._begin(request)
        if span is None:
            return await handler(request)
        try:
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                response = await handler(request)
        except BaseException as error:
            _end(span, 0, type(error).__qualname__)
            raise
        _end(span, response.status)
        return response

    @quietly
    def _begin(self, request: web.Request) -> Span:
        resource = request.match_info.route.resource
        route = "" if resource is None else resource.canonical
        told = {"http.request.method": request.method, "url.scheme": request.scheme}
        return self._tracer.start_span(
            f"{request.method} {route}".rstrip(),
            propagate.extract(request.headers),
            kind=SpanKind.SERVER,
            attributes=told | ({"http.route": route} if route else {}),
        )

    def carry(self, headers: Headers) -> Headers:
        """The headers of a call of the upstream, with the trace of now in place of the caller's."""
        told: dict[str, str] = {}
        _w3c.inject(told)
        return (*(pair for pair in headers if pair[0] not in _w3c.fields), *told.items())

    @quietly
    def answered(self, request: Request, answer: dict[str, Any] | None) -> None:
        """The LLM call that is under way has brought that."""
        span = trace.get_current_span()
        if request.stream:
            span.set_attribute("gen_ai.request.stream", True)
        said = request.api.said(answer) if answer is not None else None
        if answer is None or said is None:
            return
        told = {
            "gen_ai.response.id": answer.get("id"),
            "gen_ai.response.model": said.model,
            "gen_ai.response.finish_reasons": [one.finish for one in said.choices if one.finish],
            "gen_ai.usage.input_tokens": said.usage.prompt_tokens,
            "gen_ai.usage.output_tokens": said.usage.completion_tokens,
        }
        span.set_attributes({name: value for name, value in told.items() if value})


@quietly
def _end(span: Span, status: int, error: str = "") -> None:
    if status:
        span.set_attribute("http.response.status_code", status)
    if error or status >= 500:
        failed(span, error or str(status))
    span.end()


@asynccontextmanager
async def open_telemetry(
    cache: SemanticCache, upstreams: Upstreams, numbers: Metrics | None
) -> AsyncIterator[Telemetry]:
    """Recorded meanwhile, by the global providers where somebody has set those up (as
    ``opentelemetry-instrument`` does), else by ones that export by OTLP over HTTP and read the
    variables ``OTEL_*``. ``numbers``: None where another process tells them."""
    for name in _READERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    own: list[Callable[[], object]] = []
    tracers = _tracers(own)
    record(cache, partial(_called, upstreams), tracers)
    if numbers is not None:
        measure(_meters(own), partial(on_loop, cache.loop, partial(_measured, numbers)))
    telemetry = Telemetry(tracers)
    for upstream in upstreams:
        upstream.carry = telemetry.carry
    try:
        yield telemetry
    finally:
        with anyio.move_on_after(_LAST_WORDS_S, shield=True):
            await asyncio.gather(*map(_done, own))


async def _done(shut_down: Callable[[], object]) -> None:
    """In a thread that nobody has to wait for: a collector may be slow, or gone."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def work() -> None:
        try:
            shut_down()
        finally:
            with suppress(RuntimeError):  # the loop is gone
                loop.call_soon_threadsafe(done.set)

    Thread(target=work, daemon=True).start()
    await done.wait()


def _tracers(own: list[Callable[[], object]]) -> TracerProvider:
    there = trace.get_tracer_provider()
    if isinstance(there, sdk_trace.TracerProvider):
        return there
    made = sdk_trace.TracerProvider(resource=_resource(), shutdown_on_exit=False)
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    own.append(made.shutdown)
    return made


def _meters(own: list[Callable[[], object]]) -> MeterProvider:
    there = metrics.get_meter_provider()
    if isinstance(there, sdk_metrics.MeterProvider):
        return there
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    made = sdk_metrics.MeterProvider([reader], _resource(), shutdown_on_exit=False)
    own.append(made.shutdown)
    return made


def _resource() -> Resource:
    named = "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if named or os.environ.get("OTEL_SERVICE_NAME"):
        return Resource.create()
    return Resource.create({"service.name": "semcache", "service.version": __version__})


def _called(upstreams: Upstreams, scope: Scope) -> Attributes:
    """What a call of the LLM in that scope is."""
    upstream, api = upstreams.of(scope.model), scope.parameters.get("api")
    url = URL(upstream.identity)
    host = url.host or ""
    flavour = "anthropic" if api == "messages" else "openai"
    ends = (name for end, name in _PROVIDERS.items() if f".{host}".endswith(f".{end}"))
    told: dict[str, str | int] = {
        "gen_ai.operation.name": "text_completion" if api == "completions" else "chat",
        "gen_ai.provider.name": next(ends, flavour),
        "semcache.upstream": upstream.name,
    }
    if host:
        told |= {"server.address": host, "server.port": url.port or 443}
    return told


def _measured(numbers: Metrics) -> list[Measured]:
    """The counters and gauges of ``/metrics``, which has histograms besides."""
    found = []
    for family in families(numbers):
        if family.type not in ("counter", "gauge"):
            continue
        values = [
            (dict(sample.labels), sample.value)
            for sample in family.samples
            if not sample.name.endswith("_created")
        ]
        name = family.name.replace("_", ".", 1)
        found.append(Measured(name, family.type, family.documentation, values))
    return found
