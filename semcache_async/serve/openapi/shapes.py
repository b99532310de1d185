"""Words to write JSON Schemas and OpenAPI operations with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

__all__ = [
    "DISTANCE",
    "ERROR",
    "ERROR_SCHEMAS",
    "JSON",
    "Schema",
    "array",
    "content",
    "count",
    "nullable",
    "number",
    "obj",
    "operation",
    "parameter",
    "ref",
    "text",
]

Schema: TypeAlias = dict[str, Any]
JSON = "application/json"
ERROR = {"Error": "What is wrong, in one sentence."}
"""The service's own form of an error: the name of its schema, and what it tells."""


def obj(
    fields: dict[str, Schema], *, required: bool | tuple[str, ...] = True, **more: Any
) -> Schema:
    """An object; ``required``: all of its fields, none, or the named ones."""
    names = list(fields) if required is True else list(required or ())
    return {"type": "object", "properties": fields, "required": names, **more}


def array(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def text(description: str = "", **more: Any) -> Schema:
    return {"type": "string", **({"description": description} if description else {}), **more}


def number(description: str = "", **more: Any) -> Schema:
    return {"type": "number", **({"description": description} if description else {}), **more}


def count(description: str = "") -> Schema:
    return {
        "type": "integer",
        "minimum": 0,
        **({"description": description} if description else {}),
    }


def nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


DISTANCE = number("Cosine distance: 0 is the same.", minimum=0, maximum=2)
ERROR_SCHEMAS: dict[str, Schema] = {
    "Error": obj(
        {
            "error": obj(
                {"message": text(), "type": text(), "param": text()},
                required=("message", "type"),
            )
        }
    ),
}


def operation(
    summary: str,
    errors: Mapping[str, str],
    *,
    body: str = "",
    answer: Schema | None = None,
    ok: int = 200,
    parameters: Iterable[Schema] = (),
    description: str = "",
    sends: Mapping[str, Schema] | None = None,
) -> Schema:
    """What one method of one path does. ``errors``: the name of their schema, and what they tell;
    ``body``: the name of its schema; ``sends``: headers of the answer."""
    success: Schema = {"description": "Done."}
    if answer is not None:
        success["content"] = answer
    if sends is not None:
        success["headers"] = {name: {"schema": schema} for name, schema in sends.items()}
    ((schema, said),) = errors.items()
    failure = {"description": said, "content": content(JSON, ref(schema))}
    built: Schema = {
        "summary": summary,
        "responses": {str(ok): success, "4XX": failure, "5XX": failure},
    }
    if description:
        built["description"] = description
    if body:
        built["requestBody"] = {"required": True, "content": content(JSON, ref(body))}
    if listed := list(parameters):
        built["parameters"] = listed
    return built


def content(kind: str, schema: Schema) -> Schema:
    return {kind: {"schema": schema}}


def parameter(name: str, place: str, schema: Schema, description: str) -> Schema:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "schema": schema,
        "description": description,
    }
