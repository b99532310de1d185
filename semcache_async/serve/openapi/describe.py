"""The description, put together from what each protocol says of itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from semcache_async import __version__
from semcache_async.serve.protocol import Access, Protocol, Route

__all__ = ["describe"]

_REF = "#/components/schemas/{name}"
_ADMIN = "For admins: it concerns every tenant."


_PLACE = re.compile(r"\{(\w+):[^{}]+\}")


def describe(protocols: Iterable[Protocol]) -> dict[str, Any]:
    """OpenAPI 3.1. Bodies are described by what checks them."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    structs: list[type[msgspec.Struct]] = []
    for protocol in protocols:
        schemas |= protocol.schemas
        structs += protocol.structs
        for route in protocol.routes:
            path = _PLACE.sub(r"{\1}", route.path)
            paths.setdefault(path, {})[route.method.lower()] = _operation(protocol, route)
    _, found = msgspec.json.schema_components(structs, ref_template=_REF)
    for schema in found.values():
        schema["description"] = " ".join(inspect.cleandoc(schema["description"]).split())
        del schema["title"]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "semcache",
            "version": __version__,
            "description": "A semantic cache in front of an LLM, in four protocols.",
        },
        "security": [{}, {"key": []}],
        "paths": paths,
        "components": {
            "schemas": {**schemas, **found},
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, also as x-api-key or api-key; without a keys file, "
                    "none is needed.",
                }
            },
        },
    }


def _operation(protocol: Protocol, route: Route) -> dict[str, Any]:
    described = {"tags": [protocol.name], **route.operation}
    if route.access is Access.OPEN:
        described["security"] = [{}]
    elif route.access is Access.ADMIN:
        described["description"] = " ".join((described.get("description", ""), _ADMIN)).strip()
    return described
