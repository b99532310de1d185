"""Request bodies as Structs: what a body is checked against is what ``openapi.json`` says of it."""

from __future__ import annotations

import re
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from semcache_async.errors import PromptError
from semcache_async.serve.errors import Invalid
from semcache_async.text.prompt import check_text

__all__ = ["Form", "Text", "read_form", "read_text"]

Text = Annotated[
    str,
    Meta(
        min_length=1,
        description="Not blank, and without NUL.",
        extra_json_schema={"pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$"},
    ),
]
"""What ``read_text`` lets through."""

_RULES = (
    ("missing required field", "missing_field"),
    ("unknown field", "unknown_field"),
    (">=|<=|> |< |multiple of|length|matching regex|enum value", "out_of_range"),
    ("", "invalid_type"),
)
"""What msgspec's message says, and the word for it."""
_SHOWN = 100
"""Characters of a caller's own words in a message."""
_READ = 512
"""Characters of what msgspec says that are looked into: it repeats the caller's names."""


class Form(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A request's body. A field that may be left out may also be null."""


T = TypeVar("T", bound=msgspec.Struct)


def read_form(body: object, form: type[T]) -> T:
    """``body`` as ``form``; ``Invalid`` names the field that is wrong and the rule it breaks."""
    try:
        return msgspec.convert(body, form)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at `")
        said, path = said[:_READ], path[:_READ]
        place = re.search(r"\$([^`]*)", path)
        named = re.search(r"field `(.+)`$", said)
        parts = [place[1].lstrip(".") if place else "", named[1] if named else ""]
        field = ".".join(part for part in parts if part)[:_SHOWN]
        code = next(word for pattern, word in _RULES if re.search(pattern, said))
        wrong = "" if named or not field else f"{field}: "
        raise Invalid(f"{wrong}{said[:_SHOWN]}.", param=field or None, code=code) from None


def read_text(field: str, text: str) -> str:
    """``text`` itself if it can be looked up or kept, else ``Invalid``."""
    try:
        return check_text(field, text)
    except PromptError as error:
        raise Invalid(str(error), param=field, code="invalid_text") from None
