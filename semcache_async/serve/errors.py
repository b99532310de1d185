"""What may be wrong with a request, in no protocol's words, and which error is which problem: one
table, by type. How a problem looks is each protocol's own (``Protocol.render``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from semcache_async.errors import (
    CacheClosedError,
    ConfigError,
    EmbeddingError,
    OverloadedError,
    PromptError,
    QuotaError,
    SemcacheError,
    StaleWriteError,
    StoreError,
    StoreFullError,
)

__all__ = [
    "Draining",
    "Forbidden",
    "Invalid",
    "NotFound",
    "Problem",
    "TooLarge",
    "TooSlow",
    "Unauthorized",
    "Unavailable",
    "UpstreamAnswered",
    "UpstreamFailed",
    "UpstreamTimedOut",
    "UpstreamUnreached",
    "problem_of",
    "translated",
]


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """An answer other than success. ``message`` is for the caller: it says what to do, and holds
    no prompt and no secret."""

    status = 500

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if status is not None:
            self.status = status
        self.param = param
        """The field that is wrong, as a path: ``messages[0].content``."""
        self.code = code
        """A short machine-readable word, such as ``duplicate_key``."""
        self.headers = dict(headers or {})


class Invalid(Problem):
    """The request makes no sense."""

    status = 400


class Unauthorized(Problem):
    """No key, or one that is not known."""

    status = 401


class Forbidden(Problem):
    """The key may not do that."""

    status = 403


class NotFound(Problem):
    """No such path, model, cache or entry."""

    status = 404


class TooSlow(Problem):
    """The request's body did not arrive in time."""

    status = 408


class TooLarge(Problem):
    """The body is over the limit."""

    status = 413


class UpstreamFailed(Problem):
    """The LLM's service could not be reached, or broke off."""

    status = 502


class UpstreamTimedOut(UpstreamFailed):
    """The LLM's service did not answer in time."""

    status = 504


class UpstreamUnreached(UpstreamFailed):
    """The LLM's service has not read what it was to be asked."""

    def __init__(
        self, message: str, *, status: int | None = None, code: str, at_once: bool = False
    ) -> None:
        super().__init__(message, status=status, code=code)
        self.at_once = at_once
        """It may be asked again without a pause: only the connection was an old one."""


class UpstreamAnswered(UpstreamFailed):
    """The LLM's service answered with an error of its own: its status, its words and what its
    headers say of trying again are the caller's to see."""

    def __init__(self, status: int, body: bytes, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(message, status=status, code="upstream_error", headers=headers)
        self.args = (f"The upstream answered {status}.",)  # its own words may hold a prompt
        self.body = body
        """What it sent, in OpenAI's form."""

    @property
    def no_such_path(self) -> bool:
        """Does it not know the path, or nothing by that name?"""
        return self.status in (404, 405, 501)


class Unavailable(Problem):
    """Redis or the model cannot serve this request now."""

    status = 503


class Draining(Unavailable):
    """This process is about to end."""


# -- which error is which problem


def _refused(error: Any) -> Problem:
    return Invalid(str(error), code="invalid_value")


def _of_aiohttp(error: Any) -> Problem:
    texts = {
        404: "There is no such path here.",
        405: "This path does not know that method.",
        413: "The body is over the limit.",
    }
    return Invalid(
        texts.get(error.status, f"{error.reason}."),
        status=error.status,
        code=error.reason.lower().replace(" ", "_"),
        headers={name: error.headers[name] for name in ("Allow",) if name in error.headers},
    )


_PROBLEMS: dict[type[Exception], Callable[[Any], Problem]] = {
    PromptError: _refused,
    ConfigError: _refused,
    StoreFullError: lambda _: Unavailable(
        "Redis is out of memory and keeps nothing new.", code="database_out_of_memory"
    ),
    StaleWriteError: lambda _: Unavailable(
        "An invalidation came while this was being kept; send it again.",
        code="invalidated_meanwhile",
    ),
    StoreError: lambda _: Unavailable(
        "Redis cannot serve this request now; try again.", code="redis_unavailable"
    ),
    EmbeddingError: lambda _: Unavailable(
        "The embedding model cannot serve this request now; try again.", code="embedder_unavailable"
    ),
    CacheClosedError: lambda _: Draining(
        "This process is about to end; try again.", code="draining"
    ),
    QuotaError: lambda _: Problem(
        "The tenant has used its share, and this is not stored; send it again later.",
        status=429,
        code="quota",
        headers={"Retry-After": "5"},
    ),
    OverloadedError: lambda _: Problem(
        "More is asked at once than can wait; ask again in a moment.",
        status=429,
        code="overloaded",
        headers={"Retry-After": "1"},
    ),
    SemcacheError: lambda _: Unavailable("The cache cannot serve this request now; try again."),
    TimeoutError: lambda _: UpstreamTimedOut(
        "The upstream did not answer in time.", code="upstream_timeout"
    ),
    web.HTTPException: _of_aiohttp,
}
"""By type; an error that is not named counts as its nearest base."""


def problem_of(error: Exception, *, param: str | None = None) -> Problem | None:
    """The problem that ``error`` is, or None for one that nobody expected. ``param``: the field
    that a refusal concerns."""
    if isinstance(error, Problem):
        return error
    for kind in type(error).__mro__:
        if kind in _PROBLEMS:
            problem = _PROBLEMS[kind](error)
            if isinstance(problem, Invalid):
                problem.param = param
            problem.__cause__ = error
            return problem
    return None


@contextmanager
def translated(param: str) -> Iterator[None]:
    """What the cache raises, as a problem with the field ``param``."""
    try:
        yield
    except SemcacheError as error:
        raise problem_of(error, param=param) or error from error
