"""A request's body as JSON: strict and bounded, whatever is sent."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import Any, NoReturn

import msgspec
from aiohttp import StreamReader, web

from semcache_async.serve.errors import Invalid, TooLarge, TooSlow
from semcache_async.serve.http.encodings import decompressed
from semcache_async.serve.service import Service

__all__ = ["parse_json", "parse_object", "read_body", "read_json", "too_large"]

_log = logging.getLogger(__name__)

MAX_DEPTH = 64
"""Arrays and objects within each other, at most."""
MAX_CONTAINERS = 65_536
"""Arrays and objects in all, at most: they take far more to make than bytes to send."""
_STRING = re.compile(rb'(?s)"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)')
_ALIKE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_NAMED = 65_536
"""Bytes of a body in which a key that occurs twice is looked for by its name: that is slow."""
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_fit_64_bits = msgspec.msgpack.Encoder().encode


async def read_json(request: web.Request, service: Service) -> dict[str, Any]:
    """The JSON object that the request carries. Raises as ``read_body`` and ``parse_object``."""
    return parse_object(await read_body(request, service))


async def read_body(request: web.Request, service: Service) -> bytes:
    """The request's body, decompressed. Raises ``Invalid``, ``TooLarge`` or ``TooSlow``; of a body
    over the limit no more than the limit is read."""
    limit = service.settings.max_body_bytes
    length = request.content_length
    if length is not None and length > limit:
        raise too_large(limit)
    content = request.content
    raw = content.read_nowait() if content.is_eof() else await _read(content, service)
    if len(raw) > limit:
        raise too_large(limit)
    if (encoding := request.headers.get("Content-Encoding")) is not None:
        raw = decompressed(raw, encoding, limit)
    if service.settings.log_prompts:
        shown = {"path": request.path, "body": raw.decode(errors="replace")}
        _log.info("A request's body", extra=shown)
    return raw


async def _read(content: StreamReader, service: Service) -> bytes:
    limit, timeout_s = service.settings.max_body_bytes, service.settings.body_timeout_s
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            while chunk := await content.readany():
                chunks.append(chunk)
                size += len(chunk)
                if size > limit:
                    raise too_large(limit)
    except TimeoutError:
        raise TooSlow(
            f"The body did not arrive within {timeout_s:g} s.", code="body_timeout"
        ) from None
    except (web.RequestPayloadError, web.HTTPException, ValueError):
        raise Invalid("The body breaks HTTP's own rules.", code="malformed_body") from None
    return b"".join(chunks)


def too_large(limit: int) -> TooLarge:
    """The problem of a body over ``limit`` bytes."""
    return TooLarge(f"The body is over the limit of {limit} bytes.", code="body_too_large")


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in ``raw``. Raises as ``parse_json``, and for anything else."""
    value = parse_json(raw)
    if type(value) is not dict:
        raise Invalid("The body must be a JSON object.", code="not_an_object")
    return value


def parse_json(raw: bytes) -> Any:
    """The JSON value in ``raw``. Raises ``Invalid``: for what is not JSON, ambiguous (duplicate
    keys) or beyond what others parse alike (depth, numbers, lone surrogates)."""
    _check_brackets(raw)
    try:
        value = _decode(raw)
        rewritten = _encode(value)
        _fit_64_bits(value)
    except UnicodeDecodeError:
        raise Invalid("The body is not valid UTF-8.", code="invalid_utf8") from None
    except (msgspec.ValidationError, OverflowError):
        raise Invalid("A number does not fit into 64 bits.", code="number_out_of_range") from None
    except msgspec.DecodeError as error:
        raise Invalid(_why(raw, error), code="invalid_json") from None
    except RecursionError:
        _too_deep()
    if _strings(rewritten) != _strings(raw):
        _duplicate(raw)
    return value


def _check_brackets(raw: bytes) -> None:
    """Refuse what is nested too deep, or holds too many arrays and objects, before any is made."""
    if raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH:
        return
    left = _STRING.sub(b"", raw).translate(_ALIKE, _NO_BRACKETS)
    if left.count(b"[") > MAX_CONTAINERS:
        raise Invalid(
            f"The body holds more than {MAX_CONTAINERS} arrays and objects.",
            code="too_many_values",
        )
    for _ in range(MAX_DEPTH):
        if b"[]" not in left:
            return
        left = left.replace(b"[]", b"")  # the innermost
    if b"[]" in left:
        _too_deep()


def _strings(text: bytes) -> int:
    """Twice the number of strings, keys included: a duplicate key's first value is dropped when
    it is decoded, so that what is written from it has fewer."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return text.count(b'"')


def _why(raw: bytes, error: msgspec.DecodeError) -> str:
    if not raw.strip():
        return "The body is empty; send a JSON object."
    if raw.startswith(b"\xef\xbb\xbf"):
        return "The body starts with a byte order mark; send plain UTF-8."
    if re.search(rb"\\u[dD][89a-fA-F]", raw) and "truncated" in str(error):
        return "A string holds half a surrogate pair."
    return f"The body is not valid JSON: {str(error).removeprefix('JSON is malformed: ')}."


def _too_deep() -> NoReturn:
    raise Invalid(
        f"Arrays and objects are nested more than {MAX_DEPTH} deep.", code="too_deep"
    ) from None


def _duplicate(raw: bytes) -> NoReturn:
    def check(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for key, _ in pairs:
            if key in seen:
                shown = key if len(key) <= 64 and key.isprintable() else None
                which = "A key" if shown is None else f"The key {shown!r}"
                raise Invalid(
                    f"{which} occurs twice in one object.", param=shown, code="duplicate_key"
                )
            seen.add(key)

    if len(raw) <= _NAMED:
        json.loads(raw, object_pairs_hook=check)
    raise Invalid("A key occurs twice in one object.", code="duplicate_key")
