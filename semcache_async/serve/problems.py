"""What may be wrong with a request, in no protocol's words: each protocol has its own form."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "Draining",
    "Forbidden",
    "Invalid",
    "NotFound",
    "Problem",
    "TooLarge",
    "TooMany",
    "TooSlow",
    "Unauthorized",
    "Unavailable",
    "UpstreamFailed",
]


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """An answer other than success. ``message`` is for the caller: it says what to do, and holds
    no prompt and no secret."""

    status = 500

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
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


class TooMany(Problem):
    """Over a limit of rate or concurrency; ``headers`` say when to come again."""

    status = 429


class UpstreamFailed(Problem):
    """The LLM's service could not be reached, or broke off."""

    status = 502


class Unavailable(Problem):
    """Redis or the model cannot serve this request now."""

    status = 503


class Draining(Unavailable):
    """This process is about to end."""
