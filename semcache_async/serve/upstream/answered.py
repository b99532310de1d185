"""What the upstream sends back: its body within limits, its errors as problems."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager

import aiohttp
import msgspec

from semcache_async.client.retries import Again, told_s
from semcache_async.client.said import error_in
from semcache_async.serve.errors import (
    UpstreamAnswered,
    UpstreamFailed,
    UpstreamTimedOut,
    UpstreamUnreached,
)
from semcache_async.serve.keys import CHALLENGE

__all__ = [
    "LONGEST_ERROR",
    "NO_RETRY",
    "Body",
    "asked_again",
    "check_status",
    "late",
    "outcome_of",
    "said_error",
    "translated",
]

NO_RETRY = {"x-should-retry": "false"}
"""Tells the SDKs that asking again would not help."""
LONGEST_ERROR = 65_536
"""Bytes of an error that are read."""

_BEGINNING = 6
"""Bytes by which a stream of events is known."""
_EVENT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?::|data:|event:|retry:|id:)")
_PASSED_ON = ("retry-after", "retry-after-ms", "x-should-retry")
_OURS_TO_SOLVE = (401, 403, 407)
"""Statuses that concern the service's own key: to a client they would look like its own."""
_OF_A_KEY = (401, 403)
_SAFE = frozenset((429, 502, 503, 529))
"""Statuses by which a service says that it did not do what it was asked. Not 504: a gateway has
waited for long enough, behind which the LLM is at work, and would be once more."""
_OUR_AFFAIR = ("upstream_key_refused", "upstream_status")


class Body:
    """The body of a response, as it comes. Its first byte has to be there at ``first_at``, by the
    loop's clock, and each further piece ``idle_s`` after the one before; any byte counts, a comment
    of a stream too, since it says that the upstream is at work. ``on_first`` is told of it."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        *,
        first_at: float,
        idle_s: float,
        on_first: Callable[[], None] | None = None,
    ) -> None:
        self.response = response
        self._due_at = first_at
        self._idle_s = idle_s
        self._on_first = on_first
        self._began = False
        self._ahead = b""

    async def is_stream(self) -> bool:
        """Is it a stream of events, rather than JSON? Servers name the kind of either as they like,
        or not at all. Raises ``UpstreamFailed`` for what is neither."""
        kind = self.response.content_type
        if kind in ("text/event-stream", "application/json"):
            return kind == "text/event-stream"
        while len(self._ahead.lstrip()) < _BEGINNING and (data := await self._next()):
            self._ahead += data
        if _EVENT.match(self._ahead):
            return True
        if self._ahead.lstrip().startswith(b"{"):
            return False
        raise UpstreamFailed(
            "The upstream's answer is no stream of events.", code="upstream_garbage"
        )

    async def pieces(self, most: int) -> AsyncGenerator[bytes, None]:
        """Raises ``UpstreamFailed`` over ``most`` bytes."""
        if self._ahead:
            yield self._ahead
        while data := await self._next():
            most -= len(data)
            if most < 0:
                raise UpstreamFailed("The upstream's answer is too long.", code="upstream_too_long")
            yield data

    async def whole(self, most: int) -> bytes:
        """Raises as ``pieces`` does."""
        return b"".join([data async for data in self.pieces(most)])

    async def beginning(self, most: int) -> bytes:
        """``most`` bytes, or all of them where there are fewer."""
        read = bytearray()
        while len(read) < most and (data := await self._next()):
            read += data
        return bytes(read)

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout_at(self._due_at):
                data = await self.response.content.readany()
        except TimeoutError as error:
            if self._began:
                raise late(f"sent nothing for {self._idle_s:g} s in mid-answer") from error
            raise late("did not begin to answer in time") from error
        if not self._began and self._on_first is not None:
            self._on_first()
        self._began = True
        self._due_at = asyncio.get_running_loop().time() + self._idle_s
        return data


def late(what: str) -> UpstreamTimedOut:
    """The problem of an upstream that did that. The LLM may be at work still: whoever asked again
    would have it paid twice."""
    return UpstreamTimedOut(f"The upstream {what}.", code="upstream_timeout", headers=NO_RETRY)


def asked_again(error: Exception) -> Again | None:
    """Whether a call that failed so may be made once more."""
    if isinstance(error, UpstreamUnreached):
        return Again("unreached", at_once=error.at_once)
    if not isinstance(error, UpstreamAnswered) or error.status not in _SAFE:
        return None
    headers = {name.lower(): value for name, value in error.headers.items()}
    if headers.get("x-should-retry") == "false":
        return None
    return Again(str(error.status), told_s(headers))


def outcome_of(error: UpstreamFailed) -> str:
    """What a call that failed so is counted as."""
    if isinstance(error, UpstreamAnswered) or error.code in _OUR_AFFAIR:
        return "error"
    if error.code == "upstream_timeout":
        return "timeout"
    return "unreached" if error.code == "upstream_unreachable" else "broken"


async def check_status(body: Body, *, callers_key: bool) -> None:
    """Raises ``UpstreamFailed`` for anything but a 200, ``UpstreamAnswered`` if the caller may see
    what it says. ``callers_key``: it was asked with the caller's own."""
    response = body.response
    status = response.status
    if status == 200:
        return
    callers_to_solve = callers_key and status in _OF_A_KEY
    if status in _OURS_TO_SOLVE and not callers_to_solve:
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
    if callers_to_solve:
        headers |= CHALLENGE
    raise said_error(status, await body.beginning(LONGEST_ERROR), headers)


def said_error(status: int, body: bytes, headers: Mapping[str, str]) -> UpstreamAnswered:
    """The upstream's error, its ``body`` as it is if it is in OpenAI's form, else with one that
    stands for it."""
    error, as_it_is = error_in(body)
    message = error.message or f"The upstream answered {status}."
    if not as_it_is:
        body = msgspec.json.encode({"error": msgspec.structs.replace(error, message=message)})
    return UpstreamAnswered(status, body, message, headers)


@contextmanager
def translated() -> Iterator[None]:
    """aiohttp's errors as ours. Their texts may hold addresses, which stay in ``__cause__``."""
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise UpstreamUnreached(
            "The upstream cannot be reached in time.", status=504, code="upstream_timeout"
        ) from error
    except TimeoutError as error:
        raise late("did not begin to answer in time") from error
    except aiohttp.ClientSSLError as error:  # asking again would find the same certificate
        raise UpstreamFailed(
            "The upstream cannot be reached by TLS.", code="upstream_unreachable"
        ) from error
    except aiohttp.ClientConnectorError as error:
        raise UpstreamUnreached(
            "The upstream cannot be reached.", code="upstream_unreachable"
        ) from error
    except (aiohttp.ClientError, OSError, ValueError):
        raise UpstreamFailed(
            "The upstream broke off or does not speak HTTP.", code="upstream_broke_off"
        ) from None  # aiohttp's may hold the headers, and with them the key
