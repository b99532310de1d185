"""An OpenAI-compatible chat completions URL as a target."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from semcache_async.load.asking.targets import SOURCES, Reply, RequestError
from semcache_async.load.extra import LoadError

__all__ = ["HttpTarget", "completions_url", "open_http", "source_of"]

_PATH = "/v1/chat/completions"
_X_CACHE = {"hit": "hit", "miss": "generated", "bypass": "bypassed"}


def completions_url(url: str) -> URL:
    """``url``, completed where it names a server or its ``/v1``; raises ``LoadError`` for none."""
    try:
        parsed = URL(url)
    except ValueError as error:
        raise LoadError(f"--url is not a URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise LoadError("--url must start with http:// or https:// and name a host.")
    path = parsed.path.rstrip("/")
    if path in ("", "/v1"):
        return parsed.with_path(_PATH)
    return parsed


def source_of(headers: Mapping[str, str]) -> str:
    """Where the answer came from, as far as ``x-semcache-status``, ``Cache-Status`` (RFC 9211) or
    ``X-Cache`` says."""
    own = headers.get("x-semcache-status", "").strip().lower()
    if own in SOURCES:
        return own
    # the last member of the list is the cache nearest to us
    member = headers.get("Cache-Status", "").rpartition(",")[2].lower()
    said = [part.strip() for part in member.split(";")[1:]]
    detail = next((part[7:].strip('"') for part in said if part.startswith("detail=")), "")
    if detail in SOURCES:
        return detail
    if "collapsed" in said or "collapsed=?1" in said:
        return "shared"
    if "fwd=bypass" in said:
        return "bypassed"
    if any(part.startswith("fwd=") for part in said):
        return "generated"
    if "hit" in said or "hit=?1" in said or own == "hit":
        return "hit"
    first = headers.get("X-Cache", "").lower().split(maxsplit=1)[:1]
    return _X_CACHE.get(first[0] if first else "", "unknown")


class HttpTarget:
    """Each request is one user message. Make one with ``open_http``."""

    def __init__(
        self, session: aiohttp.ClientSession, url: URL, *, model: str, stream: bool, cold: bool
    ) -> None:
        self.name = str(url.with_user(None).with_query(None).with_fragment(None))
        self._session, self._url, self._cold = session, url, cold
        self._body: dict[str, Any] = {"model": model, "stream": stream}
        self._before: list[dict[str, str]] = []
        self._ask = self._stream if stream else self._whole

    async def begin(self) -> None:
        if self._cold:
            said = f"Load run {secrets.token_hex(8)}."
            self._before = [{"role": "system", "content": said}]

    async def ask(self, prompt: str, /) -> Reply:
        messages = [*self._before, {"role": "user", "content": prompt}]
        body = msgspec.json.encode({**self._body, "messages": messages})
        try:
            began = time.perf_counter()
            async with self._session.post(self._url, data=body) as response:
                if response.status != 200:
                    raise RequestError(f"HTTP {response.status}")
                first_token_s = await self._ask(response, began)
                return Reply(source_of(response.headers), first_token_s)
        except aiohttp.ClientError as error:
            raise RequestError(type(error).__name__) from error

    def llm_calls(self) -> int | None:
        return None

    async def _whole(self, response: aiohttp.ClientResponse, _: float) -> None:
        answer = _decoded(await response.read())
        if not answer.get("choices"):
            raise RequestError("no choices in the answer")

    async def _stream(self, response: aiohttp.ClientResponse, began: float) -> float:
        first: float | None = None
        async for line in response.content:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                if first is None:
                    raise RequestError("stream without content")
                return first
            if first is None or b'"error"' in data:
                chunk = _decoded(data)
                if "error" in chunk:
                    raise RequestError("error in the stream")
                if first is None and _has_content(chunk):
                    first = time.perf_counter() - began
        raise RequestError("stream cut short")


@asynccontextmanager
async def open_http(
    url: str,
    *,
    model: str,
    stream: bool = False,
    cold: bool = False,
    api_key: str | None = None,
    timeout_s: float = 120.0,
) -> AsyncIterator[HttpTarget]:
    """A target with as many connections as there are requests under way.

    ``cold``: each run's requests carry a system message of the run's own, so that a cache that
    scopes by it starts empty. Whoever answers later than ``timeout_s`` has not answered.
    """
    headers = {"Content-Type": "application/json"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        headers=headers,
    ) as session:
        yield HttpTarget(session, completions_url(url), model=model, stream=stream, cold=cold)
    await asyncio.sleep(0)  # lets the closed connections go


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.DecodeError:
        raise RequestError("not JSON") from None


def _has_content(chunk: dict[str, Any]) -> bool:
    return any(choice.get("delta", {}).get("content") for choice in chunk.get("choices") or ())
