"""Under which names the service may be asked, against DNS rebinding: a page's own name that is made
to resolve to this machine turns the page's scripts into ours as far as a browser can tell."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address

from aiohttp import web

from semcache_async.serve.errors import Forbidden
from semcache_async.serve.service import Service

__all__ = ["Hosts"]

_REMEMBERED = 1_024
_PRIVATE = ("localhost", "local", "internal", "svc", "lan")
"""Ends of names that are not in the public DNS: reserved, of a Kubernetes cluster, of a router."""


class Hosts:
    """Checks ``Host`` where somebody may ask without a key, or where names were listed. What no
    stranger's DNS can answer for always passes: addresses, names of one part (``localhost``, a
    container's), ``.local``, ``.internal``, ``.svc`` and ``.lan``, and the name that the service is
    bound to."""

    def __init__(self, service: Service) -> None:
        named = [_name(host) for host in (*service.settings.allowed_hosts, service.settings.host)]
        self._ends = tuple(name[1:] for name in named if name.startswith("*."))
        self._names = frozenset(named)
        self._checks = (service.keys.keyless or len(named) > 1) and "*" not in named
        self._passes = lru_cache(maxsize=_REMEMBERED)(self._look)

    def admit(self, request: web.Request) -> None:
        """Raises ``Forbidden`` for a strange name. A request without ``Host`` is no browser's."""
        host = request.headers.get("Host")
        if self._checks and host is not None and not self._passes(host):
            raise Forbidden(
                "The service is not known under this name; list it in allowed_hosts "
                "(--allowed-hosts, SEMCACHE_ALLOWED_HOSTS).",
                code="strange_host",
            )

    def _look(self, host: str) -> bool:
        name = _name(host)
        if name in self._names or name.endswith(self._ends):
            return True
        if not {".", ":"} & set(name) or name.rpartition(".")[2] in _PRIVATE:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True


def _name(host: str) -> str:
    """Without the port, in lower case."""
    text = host.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    name = text.rpartition(":")[0] if text.count(":") == 1 else text
    return name.removesuffix(".")
