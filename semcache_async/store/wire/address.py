"""A Redis URL, looked at before anything connects: no error may quote a part of a password."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple
from urllib.parse import SplitResult, parse_qs, parse_qsl, quote, unquote, urlencode, urlsplit

from semcache_async.errors import ConfigError

__all__ = ["Address", "Node", "check_database", "read_url", "unreadable"]

Node = tuple[str, int]
"""Host and port."""

_PORTS = {"sentinel": 26_379, "cluster": 6_379}
_SERVICE = re.compile(r"/[A-Za-z0-9_.-]+")
_OF_SENTINELS = "sentinel_username", "sentinel_password"


class Address(NamedTuple):
    """What a URL names."""

    kind: Literal["server", "sentinel", "cluster"]
    parts: SplitResult
    nodes: tuple[Node, ...] = ()
    """The sentinels, or the nodes of the cluster that are asked first."""
    service: str = ""
    """What the sentinels call the master."""

    def server(self, node: Node | None = None) -> str:
        """The URL of one server, with this one's credentials and options."""
        if node is None:
            return self.parts.geturl()
        user = self.parts.netloc.rpartition("@")[0]
        return self._url(node, user, ())

    def sentinel(self, node: Node) -> str:
        """The URL of one sentinel, with the sentinels' own credentials."""
        query = parse_qs(self.parts.query.replace("+", "%2B"))  # a plus is one, as in the user part
        name, password = (quote(query.get(key, [""])[0], safe="") for key in _OF_SENTINELS)
        return self._url(node, f"{name}:{password}" if password else "", ("db",))

    def _url(self, node: Node, user: str, without: tuple[str, ...]) -> str:
        host = f"[{node[0]}]" if ":" in node[0] else node[0]
        left = [
            (key, value)
            for key, value in parse_qsl(self.parts.query, keep_blank_values=True)
            if key not in (*_OF_SENTINELS, *without)
        ]
        scheme = self.parts.scheme.partition("+")[0]
        netloc = f"{user}@{host}:{node[1]}" if user else f"{host}:{node[1]}"
        return SplitResult(scheme, netloc, "/0", urlencode(left), "").geturl()


def unreadable() -> ConfigError:
    """The error for a URL that means nothing."""
    return ConfigError(
        "The Redis URL cannot be read; give one such as redis://host:6379/0, "
        "rediss://user:password@host:6379/0, unix:///path/redis.sock, "
        "redis+sentinel://host:26379,host:26379/SERVICE or redis+cluster://host:6379,host:6379, "
        "with every special character of the password percent-encoded (%2F for /, %40 for @, %23 "
        "for #, %3F for ?)."
    )


def read_url(url: str) -> Address:
    """What ``url`` names. Raises ``ConfigError`` unless its parts are where they belong: a password
    with a ``/``, ``#`` or ``?`` in clear would be read as a host or a path, and said in errors."""
    try:
        parts = urlsplit(url)
        scheme, _, kind = parts.scheme.partition("+")
        readable = scheme in {"redis", "rediss", "unix"} and not parts.fragment
        readable &= kind == "" or (kind in _PORTS and scheme != "unix")
        readable &= kind == "" or parts.netloc.count("@") < 2  # a user named for each host
        if scheme == "unix":
            readable &= parts.netloc == "" or parts.netloc.endswith("@")
        else:
            readable &= "@" in parts.netloc or "@" not in parts.query
        if kind == "sentinel":
            service, _, database = parts.path[1:].partition("/")
            readable &= bool(_SERVICE.fullmatch(f"/{service}")) and _is_number(database)
            address = Address("sentinel", parts, _nodes(parts, kind), service)
        elif kind == "cluster":
            readable &= _is_number(parts.path.strip("/"))
            address = Address("cluster", parts, _nodes(parts, kind))
        else:
            readable &= scheme == "unix" or _is_number(parts.path.strip("/"))
            _ = parts.port
            address = Address("server", parts)
    except (ValueError, TypeError, AttributeError):
        readable = False
    if not readable:
        raise unreadable()
    return address


def check_database(url: str) -> None:
    """Raise ``ConfigError`` for a URL of another database than 0, where Search does not work."""
    parts = urlsplit(url)
    named = parse_qs(parts.query).get("db", [])
    if parts.scheme != "unix" and not named:
        path = parts.path.strip("/")
        named = [path.partition("/")[2] if parts.scheme.endswith("+sentinel") else path]
    if any(one.lstrip("0") for one in named):
        raise ConfigError(
            "Redis Search works in database 0 only; end the URL with /0 and separate caches by "
            "their names (CacheConfig.name, SEMCACHE_NAME)."
        )


def _is_number(path: str) -> bool:
    return path == "" or path.isdecimal()


def _nodes(parts: SplitResult, kind: str) -> tuple[Node, ...]:
    """Raises ``ValueError`` where a host is missing or a port is none."""
    found = []
    for one in parts.netloc.rpartition("@")[2].split(","):
        host = urlsplit(f"//{one}")
        if not host.hostname or host.path or host.query:
            raise ValueError
        found.append((unquote(host.hostname), host.port or _PORTS[kind]))
    return tuple(found)
