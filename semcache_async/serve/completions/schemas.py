"""Whether an answer fits a JSON Schema that a caller gave: bounded, whatever is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache
from typing import Any, TypeAlias

import msgspec

__all__ = ["fits"]

_Check: TypeAlias = Callable[[Any, Any, Any, Any], Iterator[Any] | None]

_LARGEST_SCHEMA = 65_536
_MOST_STEPS = 20_000
"""Keywords looked at; a schema may send us through the same answer again and again."""
_LENGTH_PER_STEP = 16
_UNCHECKED = ("pattern", "format", "uniqueItems")
"""What may cost more than all else: others' regular expressions, and pairs of elements."""
_left: ContextVar[int] = ContextVar("left")


class _TooMuchError(Exception):
    pass


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """False too where it cannot be told within bounds: a large schema, one with regular expressions
    for names, one that is none, references to elsewhere. ``pattern``, ``format`` and
    ``uniqueItems`` are not looked at."""
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry

    written = msgspec.json.encode(schema)
    if len(written) > _LARGEST_SCHEMA or b'"patternProperties"' in written:
        return False
    token = _left.set(_MOST_STEPS)
    try:
        kind = validator_for(schema, default=Draft202012Validator)
        kind.check_schema(schema)
        return bool(_bounded(kind)(schema, registry=Registry()).is_valid(value))
    except Exception:
        return False
    finally:
        _left.reset(token)


@cache
def _bounded(kind: Any) -> Any:
    from jsonschema.validators import extend

    checks = {
        name: _counted(check) for name, check in kind.VALIDATORS.items() if name not in _UNCHECKED
    }
    return extend(kind, {**checks, **dict.fromkeys(_UNCHECKED, _nothing)})


def _counted(check: _Check) -> _Check:
    def counted(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any] | None:
        sizes = [len(part) for part in (value, instance) if isinstance(part, str | list | dict)]
        left = _left.get() - 1 - sum(sizes) // _LENGTH_PER_STEP
        if left < 0:
            raise _TooMuchError
        _left.set(left)
        return check(validator, value, instance, schema)

    return counted


def _nothing(_validator: Any, _value: Any, _instance: Any, _schema: Any) -> None:
    return None
