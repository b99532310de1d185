"""What a service with ``otel`` tells: to a collector, and in the trace that its callers began."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry import trace
from opentelemetry.metrics import _internal
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.util._once import Once

from semcache_async import SemanticCache
from semcache_async.errors import ConfigError
from semcache_async.serve.metrics.exposition import families
from semcache_async.serve.process import server
from semcache_async.serve.upstream.routing import Upstreams
from semcache_async.simulator import make_simulator
from semcache_async.testing import AngleEmbedder, MemoryStore
from tests.pages import DOCS, code_of
from tests.serve.running import AT_ONCE, Live, live

pytestmark = pytest.mark.anyio
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def anyio_backend() -> Any:
    return "asyncio"


class Collector:
    """Takes what is exported."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.metrics: dict[str, Counter[str]] = {}
        self.services: set[str] = set()

    async def traces(self, request: web.Request) -> web.Response:
        told = ExportTraceServiceRequest.FromString(await request.read())
        for resource in told.resource_spans:
            self._note(resource.resource)
            self.spans += (span for scope in resource.scope_spans for span in scope.spans)
        return web.Response()

    async def numbers(self, request: web.Request) -> web.Response:
        told = ExportMetricsServiceRequest.FromString(await request.read())
        for resource in told.resource_metrics:
            self._note(resource.resource)
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points = [*metric.sum.data_points, *metric.gauge.data_points]
                    self.metrics[metric.name] = Counter(
                        {
                            ",".join(a.value.string_value for a in p.attributes): p.as_double
                            or p.as_int
                            or p.as_int
                            for p in points
                        }
                    )
        return web.Response()

    def _note(self, resource: Any) -> None:
        self.services |= {
            one.value.string_value for one in resource.attributes if one.key == "service.name"
        }

    def named(self, name: str) -> list[Span]:
        found = [span for span in self.spans if span.name == name]
        return sorted(found, key=lambda span: span.start_time_unix_nano)


def told(span: Span) -> dict[str, Any]:
    found = {}
    for one in span.attributes:
        kind = one.value.WhichOneof("value")
        value = getattr(one.value, kind)
        found[one.key] = (
            [each.string_value for each in value.values] if kind == "array_value" else value
        )
    return found


class Telling:
    """A service that tells a collector, and what its upstream was sent."""

    def __init__(self, served: Live, collector: Collector, heads: list[Any]) -> None:
        self.url, self.service = served.url, served.service
        self.collector, self.heads = collector, heads

    async def ask(self, prompt: str, state: str = "a=b", **fields: Any) -> int:
        body = {"model": "m", "messages": [{"role": "user", "content": prompt}], **fields}
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "baggage": "user=alice"}
        headers |= {"tracestate": state}
        url = f"{self.url}/v1/chat/completions"
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(url, json=body) as response,
        ):
            await response.read()
            return response.status


@asynccontextmanager
async def collecting(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """One that ``OTEL_EXPORTER_OTLP_ENDPOINT`` names."""
    collector, app = Collector(), web.Application()
    app.router.add_post("/v1/traces", collector.traces)
    app.router.add_post("/v1/metrics", collector.numbers)
    async with TestServer(app) as listens:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", str(listens.make_url("")))
        yield collector


@asynccontextmanager
async def telling(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, name: str
) -> AsyncIterator[Telling]:
    """What was exported is there once this is left."""
    heads: list[Any] = []
    llm = make_simulator(AT_ONCE)

    @web.middleware
    async def noting(request: web.Request, handler: Any) -> web.StreamResponse:
        heads.append(request.headers.copy())
        response: web.StreamResponse = await handler(request)
        return response

    llm.middlewares.append(noting)
    async with (
        collecting(monkeypatch) as collector,
        live(redis_url, name, llm=llm, otel=True) as served,
    ):
        yield Telling(served, collector, heads)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_from_the_caller_to_the_upstream(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, name: str, stream: bool
) -> None:
    async with telling(monkeypatch, redis_url, name) as service:
        for prompt in ("a secret at 10", "a secret at 12"):
            assert await service.ask(prompt, stream=stream) == 200
        numbers = {family.name: family for family in families(service.service.metrics)}
    seen = service.collector
    assert {span.trace_id.hex() for span in seen.spans} == {TRACE}
    assert seen.services == {"semcache"}
    asked, again = seen.named("POST /v1/chat/completions")
    (flight,), (call,) = seen.named("semcache.flight"), seen.named("chat m")
    request, hit = seen.named("semcache.request")
    assert asked.parent_span_id.hex() == again.parent_span_id.hex() == CALLER
    assert (asked.kind, call.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    chain = (asked, request, flight, call)
    assert [one.parent_span_id for one in chain[1:]] == [one.span_id for one in chain[:-1]]
    assert hit.parent_span_id == again.span_id
    assert told(hit)["semcache.source"] == "semantic"
    assert told(asked)["http.response.status_code"] == 200
    (head,) = service.heads
    assert head["traceparent"] == f"00-{TRACE}-{call.span_id.hex()}-01"
    assert "baggage" not in head
    facts = told(call)
    assert facts["gen_ai.provider.name"] == "openai"
    assert (facts["gen_ai.request.model"], facts["gen_ai.response.model"]) == ("m", "m")
    assert facts["gen_ai.response.finish_reasons"] == ["stop"]
    assert facts["gen_ai.usage.input_tokens"] > 0
    assert facts.get("gen_ai.request.stream", False) is stream
    assert facts["server.address"] == "127.0.0.1"
    for span in seen.spans:
        assert b"secret" not in span.SerializeToString()
        if span is not call:
            assert not [name for name in told(span) if name.startswith("gen_ai")]
    assert seen.metrics["semcache.requests"]["generated"] == 1
    assert seen.metrics["semcache.requests"]["semantic"] == 1
    assert (
        seen.metrics["semcache.saved_tokens"]["completion"] == facts["gen_ai.usage.output_tokens"]
    )
    counted = {name for name, family in numbers.items() if family.type in ("counter", "gauge")}
    assert {name.replace(".", "_") for name in seen.metrics} <= counted
    for shown in counted - {"semcache_under_way", "semcache_connections"}:
        ours = Counter(
            {
                ",".join(sample.labels.values()): sample.value
                for sample in numbers[shown].samples
                if not sample.name.endswith("_created")
            }
        )
        assert seen.metrics.get(shown.replace("_", ".", 1), Counter()) == ours, shown


async def test_an_upstream_that_fails(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, name: str
) -> None:
    async with telling(monkeypatch, redis_url, name) as service:
        assert await service.ask("at 10", x_simulate="status=400") == 400
        assert await service.ask("at 90", x_simulate="garbage") == 502
    first, second = service.collector.named("POST /v1/chat/completions")
    assert first.status.code == Status.STATUS_CODE_UNSET, "which is the caller's to see to"
    assert second.status.code == Status.STATUS_CODE_ERROR
    assert told(second)["error.type"] == "502"
    kinds = [told(call)["error.type"] for call in service.collector.named("chat m")]
    assert kinds == ["400", "502"]


async def test_what_nobody_asked_for_names_no_caller(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, name: str
) -> None:
    async with telling(monkeypatch, redis_url, name) as service:
        telemetry = service.service.telemetry
        assert telemetry is not None
        given = (("traceparent", f"00-{TRACE}-{CALLER}-01"), ("user-agent", "a"))
        assert telemetry.carry(given) == (("user-agent", "a"),)
        async with aiohttp.ClientSession() as session, session.get(service.url) as response:
            assert response.status == 200
    assert not service.collector.spans, "who only looks makes no spans"


@pytest.mark.parametrize("moment", ["on_start", "on_end"])
async def test_a_processor_that_fails_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, name: str, moment: str
) -> None:
    broken, provider = SpanProcessor(), TracerProvider()
    provider.add_span_processor(broken)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    async with telling(monkeypatch, redis_url, name) as service:
        monkeypatch.setattr(broken, moment, lambda *_args, **_more: 1 / 0)
        assert await service.ask("at 10") == 200


async def test_broken_headers_are_not_logged(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with telling(monkeypatch, redis_url, name) as service:
        assert await service.ask("at 10", state="A SECRET") == 200
    assert "SECRET" not in caplog.text
    (asked,) = service.collector.named("POST /v1/chat/completions")
    assert asked.trace_id.hex() == TRACE


@pytest.mark.parametrize("wanting", [True, False], ids=["package", "variable"])
async def test_it_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch, wanting: bool) -> None:
    said = "OTEL_.*must be a positive"
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0")
    if wanting:
        missing = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
        monkeypatch.setitem(sys.modules, missing, None)
        monkeypatch.delitem(sys.modules, "semcache_async.serve.telemetry", raising=False)
        said = rf"{missing}.*semcache-async\[otel\]"
    async with SemanticCache.open(store=MemoryStore(), embedder=AngleEmbedder()) as cache:
        with pytest.raises(ConfigError, match=said):
            async with server._telemetry(cache, Upstreams([]), None):
                pass


async def test_the_program_of_the_docs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of docs/observability.md: it sets up what a process has once."""
    (program,) = code_of(DOCS / "observability.md")
    opening = partial(SemanticCache.open, store=MemoryStore(), embedder=AngleEmbedder())
    monkeypatch.setattr(SemanticCache, "open", opening)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(_internal, "_METER_PROVIDER_SET_ONCE", Once())
    monkeypatch.setattr(_internal, "_METER_PROVIDER", None)
    async with collecting(monkeypatch) as seen:
        await asyncio.to_thread(exec, program, {"__name__": "program"})
    (question,), (request,) = seen.named("question"), seen.named("semcache.request")
    assert request.parent_span_id == question.span_id
    assert len(seen.named("chat gpt-5")) == 1
    assert seen.metrics["semcache.requests"]["semcache,generated"] == 1
