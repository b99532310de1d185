"""What OpenTelemetry's own SDK is told of a cache: spans, their parents and links, and metrics."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from semcache_async import CacheConfig, Scope, SemanticCache
from semcache_async.complaints import Complaints
from semcache_async.integrations import otel
from semcache_async.integrations.otel import instrument
from semcache_async.request.answering import whole
from semcache_async.stats import Stats
from semcache_async.testing import AngleEmbedder, MemoryStore
from semcache_async.testing.sharing import SharingMemoryStore
from semcache_async.types import Case
from tests.helpers import GatedLLM, until

pytestmark = pytest.mark.anyio
SCOPE = Scope(tenant="acme", model="gpt-5", temperature=0.5)


@pytest.fixture
def anyio_backend() -> Any:
    return "asyncio"


class Seen:
    """All that was exported."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])

    def instrument(self, cache: SemanticCache) -> SemanticCache:
        instrument(
            cache,
            provider="openai",
            tracer_provider=self.provider,
            meter_provider=self.meters,
        )
        return cache

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """In the order in which they began."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, *names: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name.removeprefix("semcache.") in names]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def numbers(self) -> dict[tuple[str, str], float]:
        """The metrics by name and result."""
        found = {}
        data = self.reader.get_metrics_data()
        assert data is not None
        for metric in data.resource_metrics[0].scope_metrics[0].metrics:
            for point in metric.data.data_points:
                assert point.attributes is not None
                assert point.attributes["semcache.cache"] == "semcache"
                key = metric.name, str(point.attributes.get("result", ""))
                assert key not in found
                found[key] = point.value  # type: ignore[union-attr]
        return found


def told(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})


def is_in(child: ReadableSpan, parent: ReadableSpan) -> bool:
    assert parent.context is not None
    return child.parent is not None and child.parent.span_id == parent.context.span_id


def links(span: ReadableSpan) -> list[int]:
    return [link.context.span_id for link in span.links]


def id_of(span: ReadableSpan) -> int:
    return int(span.get_span_context().span_id)  # type: ignore[union-attr]


def trace_of(span: ReadableSpan) -> int:
    return int(span.get_span_context().trace_id)  # type: ignore[union-attr]


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
async def cache(cache: SemanticCache, seen: Seen) -> SemanticCache:
    return seen.instrument(cache)


# -- spans


async def test_a_miss(cache: SemanticCache, seen: Seen) -> None:
    tracer = seen.provider.get_tracer("program")

    async def generate(_prompt: str) -> str:
        with tracer.start_as_current_span("client"):
            return "a secret answer"

    with tracer.start_as_current_span("handler"):
        made = await cache.get_or_generate("a secret at 10", generate, scope=SCOPE)
    handler, request, flight = seen.one("handler"), seen.one("request"), seen.one("flight")
    call = seen.one("chat gpt-5")
    assert is_in(request, handler)
    assert is_in(flight, request)
    assert is_in(call, flight)
    assert is_in(seen.one("client"), call), "the LLM call has its span as its context"
    stages = seen.named("exact", "embed", "search")
    assert [is_in(one, request) for one in stages] == [True] * 3 + [False] * 2
    assert [is_in(one, flight) for one in stages] == [False] * 3 + [True] * 2, "the second look"
    assert call.kind is trace.SpanKind.CLIENT
    assert told(call) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.request.temperature": 0.5,
    }
    assert told(request)["semcache.source"] == "generated"
    assert told(request)["semcache.entry_id"] == told(flight)["semcache.entry_id"] == made.entry_id
    for span in seen.spans:
        assert not re.search("secret|acme", span.to_json())
        assert span.start_time is not None
        assert span.end_time is not None
        assert (request.start_time or 0) - 1e6 <= span.start_time <= span.end_time or (
            span is handler
        )


async def test_hits_and_lookups(cache: SemanticCache, seen: Seen) -> None:
    await cache.store("refund at 10", "a", scope=SCOPE)
    llm = GatedLLM()
    await cache.get_or_generate("refund at 10", llm, scope=SCOPE)
    await cache.get_or_generate("money at 15", llm, scope=SCOPE)
    await cache.lookup("cash at 12", scope=SCOPE)
    await cache.lookup_many(["parcel at 90"], scope=SCOPE)
    exact, semantic, found, missed = (told(one) for one in seen.named("request", "lookup"))
    assert (exact["semcache.source"], exact["semcache.distance"]) == ("exact", 0.0)
    assert semantic["semcache.source"] == found["semcache.source"] == "semantic"
    assert 0.0 < semantic["semcache.distance"] < 0.01
    assert missed == {"semcache.cache": "semcache", "semcache.source": "missed"}
    assert not [span for span in seen.spans if "gen_ai" in span.to_json()], "no call, no usage"


async def test_a_local_hit(seen: Seen, redis_url: str, name: str) -> None:
    config = CacheConfig(name=name, local_answers=10)
    async with SemanticCache.open(redis_url, config=config, embedder=AngleEmbedder()) as cache:
        await cache.store("at 10", "a")
        while cache._tiers.recall("at 10", Scope()) is None:
            await cache.lookup("at 10")
        seen.instrument(cache)
        await cache.get_or_generate("at 10", GatedLLM())
        async with cache.reply("at 10", _never):
            pass
        await cache.lookup("at 10")
    assert [span.name for span in seen.spans] == ["semcache.request"] * 2 + ["semcache.lookup"]
    assert {told(span)["semcache.source"] for span in seen.spans} == {"exact"}


async def _never(_prompt: str, _emit: Callable[[Any], None]) -> Any:
    raise AssertionError("the LLM is called")


async def test_what_was_refused_is_named(seen: Seen) -> None:
    class Guarded(AngleEmbedder):
        guarded = True

    async with SemanticCache.open(store=MemoryStore(), embedder=Guarded()) as cache:
        await cache.store("Are 3 items too many at 10", "a")
        await seen.instrument(cache).lookup("Are 4 items too many at 10")
    assert told(seen.one("lookup"))["semcache.refused"] == ("numbers",)


async def test_followers_link_to_the_flight_and_share_no_trace(
    cache: SemanticCache, seen: Seen
) -> None:
    llm = GatedLLM()
    leader = asyncio.create_task(cache.get_or_generate("refund at 10", llm))
    followers = [
        asyncio.create_task(cache.get_or_generate(prompt, llm))
        for prompt in ("refund at 10", "money at 15")
    ]
    await until(lambda: cache.stats().waiting == 3)
    leader.cancel()
    await asyncio.gather(leader, return_exceptions=True)
    assert told(seen.one("request"))["error.type"] == "CancelledError"
    llm.gate.set()
    await asyncio.gather(*followers)
    first, *others = seen.named("request")
    flight = seen.one("flight")
    assert is_in(flight, first), "which goes on without whoever began it"
    for one in others:
        assert told(one)["semcache.source"] == "shared"
        assert links(one) == [id_of(flight)]
        assert trace_of(one) != trace_of(flight)
    assert not links(first)
    assert llm.prompts == ["refund at 10"]


async def test_followers_in_another_process(seen: Seen) -> None:
    store, llm, other = SharingMemoryStore(), GatedLLM(), Seen()
    async with (
        SemanticCache.open(store=store, embedder=AngleEmbedder()) as one,
        SemanticCache.open(store=store, embedder=AngleEmbedder()) as two,
    ):
        seen.instrument(one)
        other.instrument(two)
        for error in (None, ValueError("no")):
            llm.gate.clear()
            leader = asyncio.create_task(one.get_or_generate(f"at {error}", llm))
            await until(lambda: one.stats().flights == 1 and bool(store.claims))
            await until(lambda: bool(llm.prompts) and one.stats().llm_calls == len(llm.prompts))
            follower = asyncio.create_task(two.get_or_generate(f"at {error}", llm))
            await until(lambda: one.stats().waiting == 2)
            llm.error = error
            llm.gate.set()
            await asyncio.gather(leader, follower, return_exceptions=True)
    for made, brought in zip(seen.named("flight"), other.named("flight"), strict=True):
        assert links(brought) == [id_of(made)]
        assert trace_of(brought) != trace_of(made)
        assert not links(made)
    assert not other.named("chat"), "the other process calls no LLM"
    assert [told(one).get("error.type") for one in other.named("request")] == [None, "ValueError"]


class LateError(Exception):
    status_code = 429


class EvilError(Exception):
    @property
    def status(self) -> int:
        raise RuntimeError("There is no response yet.")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (LateError("secret"), "429"),
        (ValueError("secret"), "ValueError"),
        (EvilError("secret"), "EvilError"),
    ],
)
async def test_an_error(cache: SemanticCache, seen: Seen, error: Exception, kind: str) -> None:
    llm = GatedLLM(opened=True)
    llm.error = error
    with pytest.raises(type(error)):
        await cache.get_or_generate("at 10", llm)
    for span in (seen.one("chat"), seen.one("flight"), seen.one("request")):
        assert told(span)["error.type"] == kind
        assert not span.status.is_ok
        assert "secret" not in span.to_json()


async def test_an_llm_that_takes_too_long(seen: Seen) -> None:
    config = CacheConfig(generate_timeout_s=0.001)
    opening = SemanticCache.open(store=MemoryStore(), embedder=AngleEmbedder(), config=config)
    async with opening as cache:
        with pytest.raises(TimeoutError):
            await seen.instrument(cache).get_or_generate("at 10", GatedLLM())
    assert told(seen.one("chat"))["error.type"] == "TimeoutError"


async def test_a_stream_left_early(cache: SemanticCache, seen: Seen) -> None:
    async def pieces(_prompt: str) -> AsyncIterator[str]:
        yield "a"
        yield "b"

    async with aclosing(cache.stream("at 10", pieces)) as stream:
        assert [piece async for piece in stream] == ["a", "b"]
    async with aclosing(cache.stream("at 90", pieces)) as stream:
        async for _ in stream:
            break
    await until(lambda: len(seen.named("flight")) == 2)
    whole, left = (told(span) for span in seen.named("request"))
    assert whole["semcache.source"] == "generated"
    assert left["error.type"] == "GeneratorExit"
    assert len(seen.named("chat")) == 2


async def test_a_reply_is_recorded_where_it_is_entered(
    cache: SemanticCache, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    begun: list[str] = []

    class Noting(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            begun.append(span.name)

    seen.provider.add_span_processor(Noting())
    reply = cache.reply("at 10", whole(GatedLLM(opened=True)))
    assert not begun
    for _ in range(2):
        async with reply:
            await reply.answer()
    sources = [told(span)["semcache.source"] for span in seen.named("request")]
    assert (sources, begun.count("semcache.request")) == (["generated", "exact"], 2)
    assert not caplog.text, "nothing is ended twice"


async def test_an_llm_call_within_another(cache: SemanticCache, seen: Seen) -> None:
    async def outer(_prompt: str) -> str:
        return (await cache.get_or_generate("inner at 90", GatedLLM(opened=True))).text

    await cache.get_or_generate("outer at 10", outer)
    requests, calls = seen.named("request"), seen.named("chat")
    assert is_in(requests[1], calls[0])
    assert len({trace_of(span) for span in seen.spans}) == 1


async def test_a_renewal_has_a_trace_of_its_own(seen: Seen) -> None:
    ahead, llm = [0.0], GatedLLM(opened=True)
    store = MemoryStore(clock=lambda: 1e9 + ahead[0])
    config = CacheConfig(exact_ttl_s=9.0, semantic_ttl_s=9.0, ttl_jitter=0.0, stale_ttl_s=9.0)
    tracer = seen.provider.get_tracer("program")
    async with SemanticCache.open(store=store, embedder=AngleEmbedder(), config=config) as cache:
        await cache.get_or_generate("at 10", llm)
        ahead[0] = 10.0
        seen.instrument(cache)
        with tracer.start_as_current_span("handler"):
            async with cache.reply("at 10", whole(llm)) as reply:
                assert reply.hit is not None
                await until(lambda: bool(seen.named("flight")))
    request, flight = seen.one("request"), seen.one("flight")
    assert told(request)["semcache.stale"]
    assert told(flight)["semcache.renewal"]
    assert flight.parent is None
    assert links(flight) == [id_of(request)]
    assert trace_of(seen.one("chat")) == trace_of(flight) != trace_of(request)
    assert [trace_of(one) for one in seen.named("embed")] == []
    assert len([one for one in seen.named("exact") if is_in(one, request)]) == 1


async def test_a_judge_is_part_of_no_request(seen: Seen) -> None:
    judged = asyncio.Event()
    tracer = seen.provider.get_tracer("program")

    async def compared(_prompt: str) -> str:
        tracer.start_span("compared").end()
        return "b"

    async def judge(_case: Case) -> float:
        tracer.start_span("judge").end()
        judged.set()
        return 1.0

    config = CacheConfig(audit_share=1.0, judge_rate=None)
    async with SemanticCache.open(
        store=MemoryStore(), embedder=AngleEmbedder(), judge=judge, config=config
    ) as cache:
        seen.instrument(cache)
        await cache.store("at 10", "a")
        with tracer.start_as_current_span("handler"):
            await cache.get_or_generate("money at 15", compared)
        await judged.wait()
    assert seen.one("compared").parent is None, "the LLM call of an audit"
    assert seen.one("judge").parent is None


async def test_a_tracer_that_fails_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(otel, "_complaints", Complaints())  # which has said nothing yet

    class Broken(SpanProcessor):
        def on_start(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("broken")

    provider = TracerProvider()
    provider.add_span_processor(Broken())
    async with SemanticCache.open(store=MemoryStore(), embedder=AngleEmbedder()) as cache:
        instrument(cache, tracer_provider=provider, meter_provider=MeterProvider())
        llm = GatedLLM(opened=True)
        assert (await cache.get_or_generate("at 10", llm)).text
        assert await cache.lookup("at 12")
    assert "OpenTelemetry: RuntimeError" in caplog.text


async def test_what_is_not_sampled_costs_no_stages(cache: SemanticCache, seen: Seen) -> None:
    unsampled = TracerProvider(sampler=ALWAYS_OFF)
    instrument(cache, tracer_provider=unsampled, meter_provider=MeterProvider())
    llm = GatedLLM()
    asked = [asyncio.create_task(cache.get_or_generate("at 10", llm)) for _ in range(2)]
    await until(lambda: cache.stats().waiting == 2)
    llm.gate.set()
    await asyncio.gather(*asked)
    assert not seen.spans


# -- metrics


async def test_the_metrics_are_the_stats(cache: SemanticCache, seen: Seen) -> None:
    llm = GatedLLM(opened=True)
    await cache.get_or_generate("at 10", llm)
    await cache.get_or_generate("at 12", llm)
    await cache.lookup("at 90")
    for numbers in (seen.numbers(), await asyncio.to_thread(seen.numbers)):
        stats = cache.stats()
        results = [result for name, result in numbers if name == "semcache.requests"]
        assert sorted(results) == sorted(
            ("exact", "semantic", "shared", "generated", "bypassed", "shed", "failed")
        )
        assert sum(numbers["semcache.requests", result] for result in results) == stats.requests
        for (name, result), number in numbers.items():
            assert number == stats[result or name.removeprefix("semcache.")], name
        kinds = {name: part.metadata for name, part in Stats.__dataclass_fields__.items()}
        shown = {result or name.removeprefix("semcache.") for name, result in numbers}
        assert shown == {n for n, kind in kinds.items() if kind.get("kind") in ("counter", "gauge")}


async def test_caches_of_one_name_are_summed_and_what_they_counted_outlives_them(
    seen: Seen,
) -> None:
    llm = GatedLLM(opened=True)
    for prompts in (["at 10"], ["at 10", "at 90"]):
        async with SemanticCache.open(store=MemoryStore(), embedder=AngleEmbedder()) as cache:
            seen.instrument(cache)
            for prompt in prompts:
                await cache.get_or_generate(prompt, llm)
            assert seen.numbers()["semcache.llm_limit", ""] == CacheConfig().max_llm_calls
        del cache
        gc.collect()
    numbers = seen.numbers()
    assert numbers["semcache.requests", "generated"] == numbers["semcache.llm_calls", ""] == 3
    assert numbers["semcache.llm_limit", ""] == 0, "which they have no more"
