"""What is said to a service of embeddings, and what it says, which is believed of nothing: one URL,
one key, one deadline for a request with its retries, and a bound for what is read."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import aiohttp
import msgspec
import numpy as np
from numpy.typing import NDArray
from yarl import URL

from semcache_async.client.retries import Again, Retries, told_s
from semcache_async.client.said import error_in
from semcache_async.errors import (
    ConfigError,
    EmbedderUnavailableError,
    PromptError,
)

__all__ = ["Answer", "DownError", "Service", "TextRefusedError", "open_service"]

_RETRY_SHARE = 0.1
_ANSWER, _A_NUMBER = 65_536, 32
"""Bytes of an answer at most, and for each number in it: ``-1.2345678901234567e-01`` in a list that
is indented."""
_MOST_NUMBERS = 32_768
"""Of a vector: Redis keeps no longer ones."""
_MUCH = 131_072
"""Bytes of an answer that is read on a thread: some milliseconds of work."""
_REFUSALS = (400, 413, 422)
_RETRIED = frozenset((408, 429, 500, 502, 503, 504, 529))
_TOO_LONG = re.compile(r"too (?:long|large)|maximum context|context length|less than \d+ tokens")
"""What llama.cpp says with a 500, and others with any other status."""
_NAN = re.compile(rb"(?<=[\[,\s])NaN")
"""A number, and no letters of a vector in base64."""
_SAID = 200
"""Characters of the service's own words that are shown."""


class Answer(NamedTuple):
    """What came for some texts."""

    vectors: NDArray[np.float32]
    """In the texts' order, of unit length; not a number where the service gave nonsense."""
    tokens: int | None
    """What the service counts; None where it does not."""
    model: str
    """What it calls the model."""


class DownError(EmbedderUnavailableError):
    """The service cannot be used now. ``said``: its own words, which may hold a part of a text."""

    def __init__(self, message: str, *, again: Again | None = None, said: str = "") -> None:
        super().__init__(message)
        self.again = again
        self.said = said


class TextRefusedError(PromptError):
    """The service does not embed what it was sent. ``said``: as above."""

    def __init__(self, message: str, *, said: str = "") -> None:
        super().__init__(message)
        self.said = said


class _Item(msgspec.Struct):
    embedding: str | list[float | None]
    index: int | None = None


class _Told(msgspec.Struct):
    data: list[_Item]
    model: Any = None
    usage: Any = None


@asynccontextmanager
async def open_service(
    url: str, *, key: str, options: Mapping[str, Any], timeout_s: float
) -> AsyncIterator[Service]:
    """The service at ``url``, without or with ``/embeddings`` at its end. ``options``: what every
    request says besides its texts."""
    try:
        target = URL(url)
    except ValueError as error:
        raise ConfigError(f"The embedder's URL makes no sense: {error}.") from None
    if not target.path.rstrip("/").endswith("/embeddings"):
        target = target.joinpath("embeddings").with_query(target.query)
    host = target.host or ""
    headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
    if key and (f".{host}".endswith(".azure.com") or "api-version" in target.query):
        headers["api-key"] = key
    elif key:
        headers["Authorization"] = f"Bearer {key}"
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeout_s / 2),
        auto_decompress=False,
    ) as session:
        yield Service(session, target, key, options, timeout_s)


class Service:
    """Make one with ``open_service``."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: URL,
        key: str,
        options: Mapping[str, Any],
        timeout_s: float,
    ) -> None:
        self.options = dict(options)
        self.requests = self.retries = 0
        """Requests, and those of them that were made once more."""
        self.url = str(url)
        self.name = f"{url.host}:{url.port}" if url.explicit_port else str(url.host)
        self._session = session
        self._url = url
        self._key = key
        self._timeout_s = timeout_s
        self._retries = Retries(
            _RETRY_SHARE,
            again=lambda error: error.again if isinstance(error, DownError) else None,
            name="retries",
            count=self._count,
        )

    async def ask(self, texts: Sequence[str], dim: int | None) -> Answer:
        """The vectors of the texts, in one request. ``dim``: how long they have to be, where that
        is known. Raises ``DownError`` or ``TextRefusedError``."""
        data = msgspec.json.encode({**self.options, "input": texts})
        try:
            async with asyncio.timeout(self._timeout_s):
                call = partial(self._once, data, len(texts), dim)
                return await self._retries.calling(call, self._timeout_s)
        except TimeoutError:
            raise DownError(f"{self.name} did not answer within {self._timeout_s:g} s.") from None

    async def _once(self, data: bytes, count: int, dim: int | None) -> Answer:
        self.requests += 1
        try:
            async with self._session.post(self._url, data=data, allow_redirects=False) as response:
                if response.status != 200:
                    told = await _read(response, _ANSWER, cut=True)
                    raise self._failure(response.status, response.headers, told)
                numbers = count * (dim or _MOST_NUMBERS)
                told = await _read(response, _ANSWER + numbers * _A_NUMBER)
        except aiohttp.ClientSSLError:  # of these errors some hold the headers, and the key
            raise DownError(f"{self.name} cannot be reached by TLS.") from None
        except aiohttp.ServerDisconnectedError:
            raise self._broken(at_once=True) from None
        except (aiohttp.ClientError, OSError, RuntimeError):
            raise self._broken() from None
        read = partial(_answer, told, count, dim)
        try:
            return await asyncio.to_thread(read) if len(told) > _MUCH else read()
        except ValueError as error:
            raise DownError(f"{self.name} answers what cannot be used: {error}") from None

    def _broken(self, *, at_once: bool = False) -> Exception:
        if self._session.closed:
            return DownError("The embedder was closed.")
        return DownError(
            f"{self.name} cannot be reached, or broke off.", again=Again("unreached", None, at_once)
        )

    def _failure(self, status: int, headers: Mapping[str, str], told: bytes) -> Exception:
        said = error_in(told)[0].message.replace(self._key or "\0", "(the key)")[:_SAID]
        if status in _REFUSALS or (status >= 400 and _TOO_LONG.search(said)):
            return TextRefusedError(
                f"The embeddings' service refused a text ({status}), which is too long for the "
                "model, as a rule.",
                said=said,
            )
        if status in (401, 403, 407):
            return DownError(f"{self.name} refused the key ({status}).", said=said)
        if status < 400:
            return DownError(f"{self.name} answered {status}; redirects are not followed.")
        known = {name.lower(): value for name, value in headers.items()}
        may = status in _RETRIED and known.get("x-should-retry") != "false"
        return DownError(
            f"{self.name} answered {status}.",
            again=Again(str(status), told_s(known)) if may else None,
            said=said,
        )

    def _count(self, name: str, _reason: str) -> None:
        self.retries += name == "retries"


async def _read(response: aiohttp.ClientResponse, most: int, *, cut: bool = False) -> bytes:
    """The body; raises ``DownError`` beyond ``most`` bytes, or leaves the rest unread."""
    read = bytearray()
    while len(read) <= most and (data := await response.content.readany()):
        read += data
    if len(read) > most:
        response.close()
        if not cut:
            raise DownError(f"{response.url.host} answers with more than {most:,} bytes.")
    return bytes(read[:most])


def _answer(told: bytes, count: int, dim: int | None) -> Answer:
    """Raises ``ValueError``, which tells nothing of the texts."""
    try:
        found = msgspec.json.decode(_NAN.sub(b"null", told), type=_Told)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ValueError("no list of vectors") from None
    items = found.data
    if len(items) != count:
        raise ValueError(f"{len(items)} vectors for {count} texts")
    numbers = [n if item.index is None else item.index for n, item in enumerate(items)]
    if sorted(numbers) != list(range(count)):
        raise ValueError("vectors that belong to no text, or several to one")
    rows = [_row(items[at].embedding) for at in sorted(range(count), key=numbers.__getitem__)]
    lengths = sorted({len(row) for row in rows})
    if dim is None and len(lengths) == 1 and 0 < lengths[0] <= _MOST_NUMBERS:
        dim = lengths[0]
    if dim is None or lengths != [dim]:
        wanted = f"not {dim}" if dim else f"each has to have as many, to {_MOST_NUMBERS:,}"
        raise ValueError(f"vectors of {' or '.join(map(str, lengths[:3]))} numbers; {wanted}")
    matrix = np.array(rows)
    with np.errstate(all="ignore"):
        matrix /= np.sqrt(np.einsum("ij,ij->i", matrix, matrix))[:, None]
        vectors = matrix.astype(np.float32)
    return Answer(vectors, _tokens(found.usage), found.model if type(found.model) is str else "")


def _row(embedding: str | list[float | None]) -> NDArray[np.float64]:
    if isinstance(embedding, str):
        read = np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
        return read.astype(np.float64)
    return np.array(embedding, np.float64)


def _tokens(usage: Any) -> int | None:
    told = usage if isinstance(usage, dict) else {}
    for name in ("total_tokens", "prompt_tokens"):
        if type(tokens := told.get(name)) is int and 0 <= tokens < 2**31:
            return tokens
    return None
