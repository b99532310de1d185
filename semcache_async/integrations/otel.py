"""OpenTelemetry: what a cache does as spans, and what it counts as metrics::

    instrument(cache, provider="openai")

No span has a prompt, an answer, a tenant, or the words of an error. Names follow the conventions
for generative AI where those have one: an LLM call has ``gen_ai.*``, all else ``semcache.*``.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Token
from dataclasses import fields
from functools import partial, wraps
from typing import NamedTuple, ParamSpec, TypeAlias, TypeVar
from weakref import WeakKeyDictionary, ref

from opentelemetry import context, metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, Tracer, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from semcache_async import __version__
from semcache_async.cache import SemanticCache
from semcache_async.complaints import Complaints, status_of
from semcache_async.protocols import Produce
from semcache_async.stats import Stats
from semcache_async.types import Neighbour, Produced, Scope, Source

__all__ = [
    *("Attributes", "Measured", "failed", "instrument", "measure", "on_loop", "quietly"),
    "record",
]

C = TypeVar("C")
P = ParamSpec("P")
T = TypeVar("T")

Attributes: TypeAlias = Mapping[str, AttributeValue]
_NAME = "semcache_async"
_TOLD = ("source", "distance", "entry_id", "age_s", "stale", "widened")
"""What spans tell of an ``Answer``."""
_RESULTS = {*(source.value for source in Source), "shed", "failed"}
_COUNTED = [part.name for part in fields(Stats) if part.metadata.get("kind") == "counter"]
_HAND_OVER_S = 1.0
_LONGEST = 256
"""Characters of a model's name, which may be a caller's."""
_w3c = TraceContextTextMapPropagator()
_complaints = Complaints()


class Measured(NamedTuple):
    """One metric at a moment."""

    name: str
    kind: str
    """``counter`` or ``gauge``."""
    meaning: str
    values: Sequence[tuple[Attributes, float]]


def instrument(
    cache: SemanticCache,
    *,
    provider: str | None = None,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> None:
    """Record what ``cache`` does from now on, with the global providers where none are given: set
    those up before. ``provider``: who serves the LLM (``gen_ai.provider.name``)."""

    def called(scope: Scope) -> Attributes:
        told: dict[str, AttributeValue] = {"gen_ai.operation.name": "chat"}
        if provider is not None:
            told["gen_ai.provider.name"] = provider
        return told

    record(cache, called, tracer_provider)
    meters = meter_provider or metrics.get_meter_provider()
    if meters not in _watched:
        _watched[meters] = caches = _Caches()
        measure(meters, partial(_measured, caches, {}))
    _watched[meters].setdefault(ref(cache), (cache.config.name, Counter()))


def record(
    cache: SemanticCache,
    called: Callable[[Scope], Attributes],
    tracer_provider: TracerProvider | None = None,
) -> None:
    """The spans alone; ``called`` says what an LLM call in a scope is, beside its model."""
    tracer = trace.get_tracer(_NAME, __version__, tracer_provider)
    cache.trace(_Tracing(tracer, cache.config.name, called))


# -- spans


def quietly(method: Callable[P, T]) -> Callable[P, T | None]:
    """What others' samplers, processors and exporters raise is logged, and harms no request."""

    @wraps(method)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return method(*args, **kwargs)
        except Exception as error:
            _complaints.warn("OpenTelemetry", error)
            return None

    return quiet


class _Tracing:
    def __init__(self, tracer: Tracer, cache: str, called: Callable[[Scope], Attributes]) -> None:
        self.tracer = tracer
        self.named = {"semcache.cache": cache}
        self.called = called

    @quietly
    def begin(self, name: str, scope: Scope) -> _Span:
        return _Span(self, scope, self.tracer.start_span(f"semcache.{name}", attributes=self.named))

    def leave(self) -> None:
        context.attach(trace.set_span_in_context(trace.INVALID_SPAN))


class _Span:
    __slots__ = ("_aside", "_call", "_scope", "_span", "_tracing")

    def __init__(
        self, tracing: _Tracing, scope: Scope, span: trace.Span, *, aside: bool = False
    ) -> None:
        self._tracing = tracing
        self._scope = scope
        self._span = span
        self._call: trace.Span | None = None
        """The LLM call of a flight, while it is under way."""
        self._aside = aside

    @property
    def traceparent(self) -> str:
        carrier: dict[str, str] = {}
        _w3c.inject(carrier, trace.set_span_in_context(self._span, Context()))
        return carrier.get("traceparent", "")

    @quietly
    def stage(self, name: str, began: float) -> None:
        if self._aside or not self._span.is_recording():
            return
        now = time.time_ns()
        start = now - int((time.perf_counter() - began) * 1e9)
        parent = trace.set_span_in_context(self._span)
        self._tracing.tracer.start_span(f"semcache.{name}", parent, start_time=start).end(now)

    @quietly
    def refused(self, near: Sequence[Neighbour]) -> None:
        if not self._aside:
            reasons = [one.refused_by for one in near if one.refused_by is not None]
            self._span.set_attribute("semcache.refused", reasons)

    @quietly
    def link(self, traceparent: str) -> None:
        there = trace.get_current_span(_w3c.extract({"traceparent": traceparent}, Context()))
        if (named := there.get_span_context()).is_valid:
            self._span.add_link(named)

    def aside(self) -> _Span:
        return _Span(self._tracing, self._scope, self._span, aside=True)

    @quietly
    def flight(self) -> _Span:
        """One that nobody waits for begins a trace of its own."""
        begin = partial(self._tracing.tracer.start_span, "semcache.flight")
        told: Attributes = self._tracing.named
        if self._aside:
            nobody = trace.set_span_in_context(trace.INVALID_SPAN)
            cause = Link(self._span.get_span_context())
            span = begin(nobody, attributes={**told, "semcache.renewal": True}, links=[cause])
        else:
            span = begin(trace.set_span_in_context(self._span), attributes=told)
        context.attach(trace.set_span_in_context(span))
        return _Span(self._tracing, self._scope, span)

    def calling(self, produce: Produce[C]) -> Produce[C]:
        async def called(prompt: str, emit: Callable[[C], None]) -> Produced:
            token = self._begin_call()
            try:
                made = await produce(prompt, emit)
            finally:
                if token is not None:
                    context.detach(token)
            self._end_call()
            return made

        return called

    @quietly
    def _begin_call(self) -> Token[Context]:
        told = dict(self._tracing.called(self._scope))
        name, model = told["gen_ai.operation.name"], self._scope.model[:_LONGEST]
        if model:
            name, told["gen_ai.request.model"] = f"{name} {model}", model
        if self._scope.temperature is not None:
            told["gen_ai.request.temperature"] = self._scope.temperature
        self._call = self._tracing.tracer.start_span(
            str(name), kind=SpanKind.CLIENT, attributes=told
        )
        return context.attach(trace.set_span_in_context(self._call))

    @quietly
    def _end_call(self, error: BaseException | None = None) -> None:
        call, self._call = self._call, None
        if call is not None:
            if error is not None:
                failed(call, _kind_of(error))
            call.end()

    @quietly
    def end(self, made: object = None, error: BaseException | None = None) -> None:
        """An LLM call that is under way has ended with the same error: past its time, that is no
        ``CancelledError``."""
        self._end_call(error)
        if error is not None:
            failed(self._span, _kind_of(error))
        elif made is None:
            self._span.set_attribute("semcache.source", "missed")
        for name in _TOLD:
            value = getattr(made, name, None)
            if value is not None and value is not False:
                told = str(value) if isinstance(value, str) else value
                self._span.set_attribute(f"semcache.{name}", told)
        self._span.end()


def failed(span: trace.Span, kind: str) -> None:
    """It ended with an error."""
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))


def _kind_of(error: BaseException) -> str:
    """The status that an upstream gave, or the error's class; its words may hold a prompt."""
    return str(status_of(error) or type(error).__qualname__)


# -- metrics


_Caches: TypeAlias = dict[ref[SemanticCache], tuple[str, Counter[str]]]
"""Each with its name, and the numbers that it told last."""
_watched: WeakKeyDictionary[MeterProvider, _Caches] = WeakKeyDictionary()


def measure(meter_provider: MeterProvider, read: Callable[[], Iterable[Measured]]) -> None:
    """Observe what ``read`` tells, which is asked once for each collection, in whatever thread that
    is. It names every metric from the start."""
    meter = metrics.get_meter(_NAME, __version__, meter_provider)
    first = tuple(read())
    nothing: dict[str, Sequence[tuple[Attributes, float]]] = {one.name: () for one in first}
    left: dict[str, Sequence[tuple[Attributes, float]]] = {}

    def observed(name: str, _: CallbackOptions) -> Iterator[Observation]:
        if name not in left:  # it was taken: another collection has begun
            left.update(nothing)
            left.update((one.name, one.values) for one in quietly(read)() or ())
        for attributes, value in left.pop(name, ()):
            yield Observation(value, attributes)

    for one in first:
        create = (
            meter.create_observable_counter
            if one.kind == "counter"
            else meter.create_observable_gauge
        )
        create(one.name, [partial(observed, one.name)], description=one.meaning)


def on_loop(loop: asyncio.AbstractEventLoop, read: Callable[[], T]) -> T:
    """What ``read`` says in the loop's own thread, where nothing changes meanwhile."""
    running = None
    with suppress(RuntimeError):
        running = asyncio.get_running_loop()
    if running is loop or not loop.is_running():
        return read()
    told: Future[T] = Future()

    def tell() -> None:
        try:
            told.set_result(read())
        except Exception as error:
            told.set_exception(error)

    loop.call_soon_threadsafe(tell)
    try:
        return told.result(_HAND_OVER_S)
    except TimeoutError:  # the loop stands still, perhaps to wait for this very collection
        return read()


def _measured(caches: _Caches, gone: dict[str, Counter[str]]) -> Iterator[Measured]:
    """Those of one name together; what they had counted that are ``gone`` stays counted."""
    for there in [one for one in list(caches) if one() is None]:
        name, told = caches.pop(there)
        gone.setdefault(name, Counter()).update({field: told[field] for field in _COUNTED})
    sums = {name: Counter(told) for name, told in gone.items()}
    for there, (name, told) in list(caches.items()):
        if (cache := there()) is not None:
            stats = on_loop(cache.loop, cache.stats)
            told.clear()
            told.update(  # a number of OTLP's is no bool
                {name: +number for name, number in stats.items() if isinstance(number, int | float)}
            )
        sums.setdefault(name, Counter()).update(told)

    def of(field: str, **more: str) -> list[tuple[Attributes, float]]:
        return [({"semcache.cache": name, **more}, sums[name][field]) for name in sums]

    results = [pair for result in sorted(_RESULTS) for pair in of(result, result=result)]
    yield Measured("semcache.requests", "counter", "Requests by result", results)
    for part in fields(Stats):
        kind = part.metadata.get("kind")
        if kind in ("counter", "gauge") and part.name not in _RESULTS:
            yield Measured(f"semcache.{part.name}", kind, part.metadata["help"], of(part.name))
