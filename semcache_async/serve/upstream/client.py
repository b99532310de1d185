"""The client of the LLM's own service: one fixed URL, its own key, everything bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import aiohttp
import msgspec
from yarl import URL

from semcache_async.serve.errors import UpstreamAnswered, UpstreamFailed, UpstreamTimedOut
from semcache_async.serve.settings import Settings
from semcache_async.serve.upstream.completion import UNREADABLE

__all__ = ["NO_RETRY", "SIMULATED", "Upstream", "identity_of", "open_upstream", "said_error"]

_Asked: TypeAlias = "aiohttp.client._RequestContextManager"

SIMULATED = "simulated"
"""The identity of a simulated LLM, wherever it listens."""
NO_RETRY = {"x-should-retry": "false"}
"""Tells the SDKs that asking again would not help."""

_PASSED_ON = ("retry-after", "retry-after-ms", "x-should-retry")
_LONGEST_ERROR, _LONGEST_MESSAGE = 65_536, 1_000
_LINGER_S = 1.0
_OURS_TO_SOLVE = (401, 403, 407)
"""Statuses that concern the service's own key: to a client they would look like its own."""
_WHOLE_FACTOR, _STREAM_FACTOR = 4, 64
"""Bytes of a body and of a stream per byte of an answer, at most: chunks of a few characters each
come in 200 bytes of JSON."""


@asynccontextmanager
async def open_upstream(url: str, settings: Settings) -> AsyncIterator[Upstream]:
    """The service whose base URL is ``url``: what goes before ``/chat/completions``."""
    headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
    if settings.upstream_key:
        headers["Authorization"] = f"Bearer {settings.upstream_key}"
    timeout = aiohttp.ClientTimeout(
        total=settings.upstream_timeout_s,
        sock_connect=settings.upstream_connect_timeout_s,
        sock_read=settings.upstream_idle_timeout_s,
    )
    longest = settings.cache.max_answer_bytes
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        timeout=timeout,
    ) as session:
        upstream = Upstream(
            session,
            URL(url),
            identity=SIMULATED if settings.simulate_llm else identity_of(url),
            max_body=_WHOLE_FACTOR * longest + _LONGEST_ERROR,
            max_stream=_STREAM_FACTOR * longest + _LONGEST_ERROR,
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


class Upstream:
    """Talks to one service. Make one with ``open_upstream``."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: URL,
        *,
        identity: str,
        max_body: int,
        max_stream: int,
    ) -> None:
        self.identity = identity
        """What tells its answers from those of other services with models of the same names."""
        self._session = session
        self._completions = url / "chat" / "completions"
        self._models = url / "models"
        self._max_body, self._max_stream = max_body, max_stream
        self.lingering: set[asyncio.Task[None]] = set()
        """One for each stream whose last bytes are still waited for."""
        self._only_model: str | None = None

    async def only_model(self) -> str | None:
        """The name of the one model there is; None where there are none or several. Asked once."""
        if self._only_model is None:
            try:
                found = msgspec.json.decode(await self.models(), type=_Models).data
            except (UpstreamAnswered, *UNREADABLE):
                return None
            if len(found) == 1:
                self._only_model = found[0].id
        return self._only_model

    async def models(self) -> bytes:
        """The list of models. Raises as ``complete`` does."""
        return await self._whole(self._session.get(self._models, allow_redirects=False))

    async def complete(self, body: Mapping[str, Any]) -> bytes:
        """The body of a 200. Raises ``UpstreamAnswered`` or ``UpstreamFailed``."""
        return await self._whole(self._post(body))

    @asynccontextmanager
    async def stream(self, body: Mapping[str, Any]) -> AsyncIterator[AsyncIterator[bytes] | bytes]:
        """The bytes of a 200 as they come, or its whole body where it is no stream. Leave the
        context when enough was read. Raises as ``complete`` does, in mid-stream too."""
        with _translated():
            response = await self._post(body)
            try:
                await _check_status(response)
                kind = response.content_type
                if kind == "application/json":
                    yield await _read(response, self._max_body)
                elif kind == "text/event-stream":
                    async with aclosing(self._as_they_come(response)) as pieces:
                        yield pieces
                else:
                    raise UpstreamFailed(
                        "The upstream's answer is no stream of events.", code="upstream_garbage"
                    )
            except BaseException:
                response.close()
                raise
            self._part(response)

    async def aclose(self) -> None:
        """Let go of what is still open."""
        for task in self.lingering:
            task.cancel()
        await asyncio.gather(*self.lingering, return_exceptions=True)

    def _post(self, body: Mapping[str, Any]) -> _Asked:
        data = msgspec.json.encode(body)
        return self._session.post(self._completions, data=data, allow_redirects=False)

    async def _whole(self, asked: _Asked) -> bytes:
        with _translated():
            async with asked as response:
                await _check_status(response)
                return await _read(response, self._max_body)

    async def _as_they_come(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        left = self._max_stream
        async for data in response.content.iter_any():
            left -= len(data)
            if left < 0:
                raise UpstreamFailed("The upstream's answer is too long.", code="upstream_too_long")
            yield data

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


async def _drain(response: aiohttp.ClientResponse) -> None:
    try:
        async with asyncio.timeout(_LINGER_S):
            left = _LONGEST_ERROR
            while left > 0 and (data := await response.content.readany()):
                left -= len(data)
    except (TimeoutError, aiohttp.ClientError):
        pass


async def _check_status(response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status == 200:
        return
    if status in _OURS_TO_SOLVE:
        raise UpstreamFailed(
            f"The upstream refused this service's own key ({status}); whoever runs the service "
            "has to solve that.",
            code="upstream_key_refused",
            headers=NO_RETRY,
        )
    if status < 400:
        raise UpstreamFailed(
            f"The upstream answered {status}, which is no answer; redirects are not followed.",
            code="upstream_status",
        )
    headers = {
        name: value
        for name, value in response.headers.items()
        if name.lower() in _PASSED_ON or name.lower().startswith("x-ratelimit-")
    }
    if "x-request-id" in response.headers:
        headers["x-upstream-request-id"] = response.headers["x-request-id"]
    body = await _read(response, _LONGEST_ERROR, cut=True)
    raise said_error(status, body, headers)


def said_error(status: int, body: bytes, headers: Mapping[str, str]) -> UpstreamAnswered:
    """The upstream's error, its ``body`` as it is if it is in OpenAI's form, else with one that
    stands for it."""
    try:
        said = msgspec.json.decode(body)
    except UNREADABLE:
        said = None
    if isinstance(said, dict) and said.get("error"):
        if isinstance(said["error"], dict):
            message = str(said["error"].get("message"))[:_LONGEST_MESSAGE]
            return UpstreamAnswered(status, body, message, headers)
        message = str(said["error"])[:_LONGEST_MESSAGE]
    else:
        message = f"The upstream answered {status}."
    error = {"message": message, "type": "upstream_error", "param": None, "code": None}
    return UpstreamAnswered(status, msgspec.json.encode({"error": error}), message, headers)


async def _read(response: aiohttp.ClientResponse, most: int, *, cut: bool = False) -> bytes:
    """The whole body; over ``most`` bytes ``UpstreamFailed``, or where ``cut`` those alone."""
    pieces, left = [], most
    async for data in response.content.iter_any():
        pieces.append(data)
        left -= len(data)
        if left < 0:
            if cut:
                break
            raise UpstreamFailed("The upstream's answer is too long.", code="upstream_too_long")
    return b"".join(pieces)


@contextmanager
def _translated() -> Iterator[None]:
    """aiohttp's errors as ours. Their texts may hold addresses: they stay in ``__cause__``."""
    try:
        yield
    except TimeoutError as error:  # aiohttp's own are both
        raise UpstreamTimedOut(
            "The upstream did not answer in time.", code="upstream_timeout"
        ) from error
    except aiohttp.ClientConnectorError as error:
        raise UpstreamFailed(
            "The upstream cannot be reached.", code="upstream_unreachable"
        ) from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise UpstreamFailed(
            "The upstream broke off or does not speak HTTP.", code="upstream_broke_off"
        ) from error
