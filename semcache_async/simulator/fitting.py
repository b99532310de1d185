"""A value that fits a JSON Schema, as a model that is made to keep to one answers."""

from __future__ import annotations

from typing import Any

__all__ = ["fitting"]

_DEEPEST = 12
_FORMATS = {
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "date-time": "2026-01-31T12:00:00Z",
    "duration": "P1D",
    "email": "ann@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "hostname": "example.com",
}


def fitting(schema: Any, text: str) -> Any:
    """Of a schema such as programs send; ``text`` is what its strings say. Of what asks for regular
    expressions, exclusions or conditions only the rest is kept to."""
    return _value(schema, text, schema, 0)


def _value(schema: Any, text: str, root: Any, depth: int) -> Any:
    schema = _plain(schema, root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    if kind == "object":
        return _object(schema, text, root, depth)
    if kind == "array":
        few = 0 if depth >= _DEEPEST else min(1, schema.get("maxItems", 1))
        first = schema.get("prefixItems", [])
        count = max(few, schema.get("minItems", 0), len(first))
        kinds = [*first, *[schema.get("items", {})] * count][:count]
        return [_value(one, text, root, depth + 1) for one in kinds]
    if kind in ("integer", "number"):
        return _number(schema)
    if kind == "boolean":
        return True
    return _string(schema, text) if kind == "string" else None


def _plain(schema: Any, root: Any) -> dict[str, Any]:
    """The schema without references and alternatives."""
    for _ in range(_DEEPEST):
        if not isinstance(schema, dict):
            return {}
        if "$ref" in schema:
            schema = {**_named(schema["$ref"], root), **_but(schema, "$ref")}
        elif alternatives := schema.get("anyOf") or schema.get("oneOf"):
            plain = [one for one in alternatives if one != {"type": "null"}]
            chosen = (plain or alternatives)[0]
            schema = {**_but(schema, "anyOf", "oneOf"), **(chosen if chosen is not True else {})}
        elif parts := schema.get("allOf"):
            schema = _but(schema, "allOf")
            for part in (_plain(part, root) for part in parts):
                both = {**schema.get("properties", {}), **part.get("properties", {})}
                needed = [*schema.get("required", ()), *part.get("required", ())]
                schema = {**schema, **part}
                if both:
                    schema |= {"properties": both, "required": needed}
        else:
            return schema
    return {}


def _named(reference: Any, root: Any) -> dict[str, Any]:
    """What a reference within the schema means."""
    found = root
    for name in str(reference).removeprefix("#").split("/")[1:]:
        name = name.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _but(schema: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name not in names}


def _object(schema: dict[str, Any], text: str, root: Any, depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    named = list(dict.fromkeys((*schema.get("required", ()), *properties)))
    if depth >= _DEEPEST:
        named = list(schema.get("required", ())) if depth < 2 * _DEEPEST else []
    return {name: _value(properties.get(name, {}), text, root, depth + 1) for name in named}


def _number(schema: dict[str, Any]) -> Any:
    step = schema.get("multipleOf", 1)
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema.get("maximum", schema.get("exclusiveMaximum"))
    if least is None:
        return step if most is None or most > step else most // step * step - step
    value = -(-least // step) * step
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        value += step
    if most is not None and value > most:
        return (least + most) / 2
    return value


def _string(schema: dict[str, Any], text: str) -> str:
    if (form := schema.get("format")) in _FORMATS:
        return _FORMATS[form]
    return text.ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]
