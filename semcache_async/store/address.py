"""A Redis URL, looked at before anything connects: no error may quote a part of a password."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from semcache_async.errors import ConfigError

__all__ = ["check_database", "check_url", "unreadable"]


def unreadable() -> ConfigError:
    """The error for a URL that means nothing."""
    return ConfigError(
        "The Redis URL cannot be read; give one such as redis://host:6379/0, "
        "rediss://user:password@host:6379/0 or unix:///path/redis.sock, with every special "
        "character of the password percent-encoded (%2F for /, %40 for @, %23 for #, %3F for ?)."
    )


def check_url(url: str) -> None:
    """Raise ``ConfigError`` unless the parts of ``url`` are where they belong: a password with a
    ``/``, ``#`` or ``?`` in clear would be read as a host or a path, and said in errors."""
    try:
        parts = urlsplit(url)
        readable = parts.scheme in {"redis", "rediss", "unix"} and not parts.fragment
        if parts.scheme == "unix":
            readable &= parts.netloc == "" or parts.netloc.endswith("@")
        else:
            readable &= parts.path.strip("/").isdecimal() or parts.path in {"", "/"}
            readable &= "@" in parts.netloc or "@" not in parts.query
            _ = parts.port
    except (ValueError, TypeError, AttributeError):
        readable = False
    if not readable:
        raise unreadable()


def check_database(url: str) -> None:
    """Raise ``ConfigError`` for a URL of another database than 0, where Search does not work."""
    parts = urlsplit(url)
    named = parse_qs(parts.query).get("db", [])
    if parts.scheme != "unix" and not named:
        named = [parts.path.strip("/")]
    if any(one.lstrip("0") for one in named):
        raise ConfigError(
            "Redis Search works in database 0 only; end the URL with /0 and separate caches by "
            "CacheConfig.name."
        )
