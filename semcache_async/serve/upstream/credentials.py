"""How a service of LLMs is shown a key, by whose it is."""

from __future__ import annotations

__all__ = ["shown_key", "standing_headers"]

_VERSION = "2023-06-01"


def shown_key(host: str, key: str) -> dict[str, str]:
    """The headers that show ``key`` to the service at ``host``; none for no key."""
    if not key:
        return {}
    if _is_at(host, "anthropic.com"):
        return {"x-api-key": key}
    bearer = {"Authorization": f"Bearer {key}"}
    return {**bearer, "api-key": key} if _is_at(host, "azure.com") else bearer


def standing_headers(host: str) -> dict[str, str]:
    """What the service at ``host`` needs besides, where a request does not say it itself."""
    return {"anthropic-version": _VERSION} if _is_at(host, "anthropic.com") else {}


def _is_at(host: str, domain: str) -> bool:
    return f".{host}".endswith(f".{domain}")
