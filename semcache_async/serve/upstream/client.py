"""The client of an LLM's service: one fixed URL, one key unless callers bring theirs, everything
bounded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, Protocol

import aiohttp
import msgspec
from yarl import URL

from semcache_async.client.retries import Retries
from semcache_async.serve.apis.api import UNREADABLE, Api
from semcache_async.serve.apis.chat import CHAT
from semcache_async.serve.errors import UpstreamAnswered, UpstreamFailed, UpstreamUnreached
from semcache_async.serve.settings import DEFAULT, Settings
from semcache_async.serve.upstream.answered import (
    LONGEST_ERROR,
    Body,
    asked_again,
    check_status,
    late,
    outcome_of,
    translated,
)
from semcache_async.serve.upstream.credentials import shown_key, standing_headers
from semcache_async.serve.upstream.passing import NOTHING, Headers, Passed
from semcache_async.serve.upstream.usage import UsageOption

__all__ = ["SIMULATED", "Counts", "Upstream", "identity_of", "open_upstream"]

SIMULATED = "simulated"
"""The identity of a simulated LLM, wherever it listens."""

_MOST_VECTORS = 256 * 2**20
"""Bytes: 2,048 texts of 4,096 dimensions, as text."""
_SHORTEST_KEY = 8
_OWN_KEY, _CALLERS_KEY = b"(the service's key)", b"(the caller's key)"
_LACKING_S = 600.0
"""So long an API that was not there is not asked for again."""
_LINGER_S = 1.0
_STALE_S = 2.0
"""A connection that was used before, and that is closed so soon after it was used again, had been
closed before: nobody has read what was asked."""
_WHOLE_FACTOR, _STREAM_FACTOR = 4, 64
"""Bytes of a body and of a stream per byte of an answer, at most: chunks of a few characters each
come in 200 bytes of JSON."""


class Counts(Protocol):
    """What counts calls, by ``serve.metrics``' names."""

    def count(self, name: str, *labels: str) -> None: ...

    def observe(self, name: str, label: str, seconds: float) -> None: ...


@asynccontextmanager
async def open_upstream(
    url: str,
    settings: Settings,
    *,
    name: str = DEFAULT,
    key: str | None = None,
    apis: tuple[str, ...] = (),
    counts: Counts | None = None,
) -> AsyncIterator[Upstream]:
    """The service whose base URL is ``url``: what goes before ``/chat/completions``. ``key``: the
    one for it, unless that is ``settings.upstream_key``; ``apis``: which it is known to speak."""
    headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
    headers |= standing_headers(URL(url).host or "")
    longest = settings.cache.max_answer_bytes
    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(_used_again)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.upstream_connect_timeout_s),
        trace_configs=[trace],
    ) as session:
        upstream = Upstream(
            session,
            URL(url),
            name=name,
            key=settings.upstream_key if key is None else key,
            apis=apis,
            identity=SIMULATED if settings.simulate_llm else identity_of(url),
            limits=_Limits(
                whole_s=min(settings.upstream_timeout_s, settings.cache.generate_timeout_s),
                first_byte_s=settings.upstream_first_byte_timeout_s,
                idle_s=settings.upstream_idle_timeout_s,
                max_body=_WHOLE_FACTOR * longest + LONGEST_ERROR,
                max_stream=_STREAM_FACTOR * longest + LONGEST_ERROR,
            ),
            retries=Retries(
                settings.upstream_retry_share,
                again=asked_again,
                count=None if counts is None else counts.count,
            ),
            counts=counts,
        )
        try:
            yield upstream
        finally:
            await upstream.aclose()


def identity_of(url: str) -> str:
    """``url`` without what may change while the service stays the same: credentials, query,
    fragment, a slash at the end, the case of the host."""
    parts = URL(url)
    port = None if parts.is_default_port() else parts.port
    return str(
        URL.build(
            scheme=parts.scheme, host=parts.host or "", port=port, path=parts.path.rstrip("/")
        )
    )


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    """Of one call."""

    whole_s: float
    """All of it, retries included."""
    first_byte_s: float
    idle_s: float
    max_body: int
    max_stream: int


class Upstream:
    """Talks to one service. Make one with ``open_upstream``."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: URL,
        *,
        name: str,
        key: str,
        apis: tuple[str, ...],
        identity: str,
        limits: _Limits,
        retries: Retries,
        counts: Counts | None,
    ) -> None:
        self.name = name
        self.apis = apis
        """Which it is known to speak; (): that is to be found out."""
        self.identity = identity
        """What tells its answers from those of other services with models of the same names."""
        self.retries = retries
        self._session = session
        self._url = url
        self._key = key
        self._counts = counts
        self._limits = limits
        self._usage = UsageOption()
        self.lingering: set[asyncio.Task[None]] = set()
        """One for each stream whose last bytes are still waited for."""
        self.carry: Callable[[Headers], Headers] | None = None
        """Puts the trace of a call into its headers, where it is recorded."""
        self._only_model: str | None = None
        self._lacking: dict[str, float] = {}

    def lacks(self, api: Api) -> bool:
        """Is it known not to answer in ``api``?"""
        if self.apis:
            return api.name not in self.apis
        return time.monotonic() < self._lacking.get(api.name, 0.0)

    def note_lacking(self, api: Api) -> None:
        """It was asked in ``api``, and has no such path."""
        self._lacking[api.name] = time.monotonic() + _LACKING_S

    async def only_model(self, passed: Passed = NOTHING) -> str | None:
        """The name of the one model there is; None where there are none or several. Asked once, but
        for callers with keys of their own: each may be shown others."""
        if self._only_model is not None and not passed.key:
            return self._only_model
        try:
            found = msgspec.json.decode(await self.models(passed), type=_Models).data
        except UpstreamAnswered as error:
            if error.status in (401, 403):
                raise
            return None
        except UNREADABLE:
            return None
        only = found[0].id if len(found) == 1 else None
        if not passed.key:
            self._only_model = only
        return only

    async def models(self, passed: Passed = NOTHING, name: str = "") -> bytes:
        """The list of models, or the one of that name. Raises as ``complete`` does."""
        async with self._bounded(passed):
            path = f"models/{name}" if name else "models"
            answer = await self._begin("GET", path, passed)
            return await self._whole(answer, self._limits.max_body, passed)

    async def pass_on(
        self, method: str, path: str, passed: Passed, body: Mapping[str, Any] | None = None
    ) -> bytes:
        """What it answers at another path, unseen. Raises as ``complete`` does."""
        async with self._bounded(passed):
            if body is not None:
                answer = await self._ask(path, passed, body)
            else:
                answer = await self._begin(method, path, passed)
            return await self._whole(answer, self._limits.max_body, passed)

    async def embeddings(self, body: Mapping[str, Any], passed: Passed = NOTHING) -> bytes:
        """The vectors of another model than the cache's. Raises as ``complete`` does."""
        async with self._bounded(passed):
            answer = await self._ask("embeddings", passed, body)
            return await self._whole(answer, _MOST_VECTORS, passed)

    async def complete(
        self, body: Mapping[str, Any], passed: Passed = NOTHING, api: Api = CHAT
    ) -> bytes:
        """The body of a 200. Raises ``UpstreamAnswered`` or ``UpstreamFailed``."""
        async with self._bounded(passed):
            answer = await self._ask(api.path, passed, body)
            return await self._whole(answer, self._limits.max_body, passed)

    @asynccontextmanager
    async def stream(
        self, body: Mapping[str, Any], passed: Passed = NOTHING, api: Api = CHAT
    ) -> AsyncIterator[AsyncIterator[bytes] | bytes]:
        """The bytes of a 200 as they come, or its whole body where it is no stream. Its usage is
        asked for too, where the upstream lets us. Leave the context when enough was read. Raises as
        ``complete`` does, in mid-stream too."""
        async with self._bounded(passed):
            ask = partial(self._ask, api.path, passed)
            answer = await (self._usage.asking(ask, body) if api.asks_usage else ask(body))
            async with self._coming(answer) as told:
                yield told

    @asynccontextmanager
    async def follow(
        self, path: str, passed: Passed
    ) -> AsyncIterator[AsyncIterator[bytes] | bytes]:
        """What it has at another path, unseen, as ``stream`` gives it. Raises as that does."""
        begun = self._begin("GET", path, passed)
        async with self._bounded(passed), self._coming(await begun) as told:
            yield told

    async def aclose(self) -> None:
        """Let go of what is still open."""
        for task in self.lingering:
            task.cancel()
        await asyncio.gather(*self.lingering, return_exceptions=True)

    @asynccontextmanager
    async def _bounded(self, passed: Passed) -> AsyncIterator[None]:
        """One whole call: in its time, with its errors as ours, and counted."""
        limit = asyncio.timeout(self._limits.whole_s)
        outcome = "left"
        try:
            with translated():
                async with limit:
                    yield
            outcome = "ok"
        except UpstreamFailed as error:
            outcome = outcome_of(error)
            if limit.expired():
                outcome = "timeout"
                raise late(f"took longer than {self._limits.whole_s:g} s") from error
            if isinstance(error, UpstreamAnswered):
                error.body = self._hide(error.body, passed)
                error.message = self._hide(error.message.encode(), passed).decode()
            raise
        finally:
            if self._counts is not None:
                self._counts.count("upstream_calls", self.name, outcome)

    async def _ask(self, path: str, passed: Passed, body: Mapping[str, Any]) -> Body:
        """The answer to ``body``, a 200, asked for more than once where that is allowed."""
        data = msgspec.json.encode(body)
        call = partial(self._begin, "POST", path, passed, data)
        return await self.retries.calling(call, self._limits.whole_s)

    async def _begin(
        self, method: str, path: str, passed: Passed, data: bytes | None = None
    ) -> Body:
        """One attempt, as far as the head of a 200."""
        url = self._url.joinpath(*path.split("/")).with_query(self._url.query)
        began = asyncio.get_running_loop().time()
        first_at = began + self._limits.first_byte_s
        seen = SimpleNamespace(used_again=False)
        key = shown_key(url.host or "", passed.key or self._key)
        told = passed.headers if self.carry is None else self.carry(passed.headers)
        with translated():
            try:
                async with asyncio.timeout_at(first_at):
                    response = await self._session.request(
                        method,
                        url.update_query(passed.query),
                        data=data,
                        headers=(*key.items(), *told),
                        allow_redirects=False,
                        trace_request_ctx=seen,
                    )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                took_s = asyncio.get_running_loop().time() - began
                if seen.used_again and took_s < _STALE_S and not _has_begun(error):
                    raise UpstreamUnreached(
                        "The upstream had closed the connection.",
                        code="upstream_broke_off",
                        at_once=True,
                    ) from None
                raise
        answer = Body(
            response,
            first_at=first_at,
            idle_s=self._limits.idle_s,
            on_first=partial(self._observe, began) if response.status == 200 else None,
        )
        try:
            with translated():
                await check_status(answer, callers_key=bool(passed.key))
        except BaseException:
            response.release()
            raise
        return answer

    def _observe(self, began: float) -> None:
        if self._counts is not None:
            took_s = asyncio.get_running_loop().time() - began
            self._counts.observe("upstream_first_byte_seconds", self.name, took_s)

    @asynccontextmanager
    async def _coming(self, answer: Body) -> AsyncIterator[AsyncIterator[bytes] | bytes]:
        """Its bytes as they come, or all of them where it is no stream."""
        try:
            if await answer.is_stream():
                async with aclosing(answer.pieces(self._limits.max_stream)) as pieces:
                    yield pieces
            else:
                yield await answer.whole(self._limits.max_body)
        except BaseException:
            answer.response.close()
            raise
        self._part(answer.response)

    async def _whole(self, answer: Body, most: int, passed: Passed) -> bytes:
        async with answer.response:
            body = await answer.whole(most)
        return self._hide(body, passed) if b'"error"' in body else body

    def _hide(self, said: bytes, passed: Passed) -> bytes:
        """``said`` without the key, which is nobody's to see, should an error repeat it. A short
        one is a word that stands for a key, where none is needed."""
        key = passed.key or self._key
        if len(key) < _SHORTEST_KEY:
            return said
        return said.replace(key.encode(), _CALLERS_KEY if passed.key else _OWN_KEY)

    def _part(self, response: aiohttp.ClientResponse) -> None:
        """Enough was read. What still comes is the end: wait for it in the background, so that the
        connection can be used again."""
        if response.content.is_eof():
            response.release()
            return
        task = asyncio.create_task(_drain(response))
        self.lingering.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self.lingering.discard(task)
            response.release()

        task.add_done_callback(ended)


async def _used_again(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _parameters: aiohttp.TraceConnectionReuseconnParams,
) -> None:
    context.trace_request_ctx.used_again = True


def _has_begun(error: Exception) -> bool:
    """Had a part of the answer's head come? Not known of a connection that was reset."""
    return not isinstance(getattr(error, "message", ""), str)


async def _drain(response: aiohttp.ClientResponse) -> None:
    try:
        async with asyncio.timeout(_LINGER_S):
            left = LONGEST_ERROR
            while left > 0 and (data := await response.content.readany()):
                left -= len(data)
    except (TimeoutError, aiohttp.ClientError):
        pass
