"""Bodies that come compressed: read as far as the limit, and no further."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

from semcache_async.serve.errors import Invalid, TooLarge

__all__ = ["decompressed"]


def decompressed(raw: bytes, encoding: str, limit: int) -> bytes:
    """``raw`` without the ``Content-Encoding``. Raises ``Invalid``; ``TooLarge`` where there are
    more than ``limit`` bytes."""
    read = _READERS.get(encoding.strip().lower())
    if read is None:
        raise Invalid(
            "This Content-Encoding is not known here; send gzip, deflate, zstd, or none.",
            code="content_encoding",
        )
    try:
        made = read(raw, limit + 1)
    except (zlib.error, EOFError, ValueError):
        raise Invalid(
            f"The body is no {encoding}, as its Content-Encoding says.", code="content_encoding"
        ) from None
    if len(made) > limit:
        raise TooLarge(f"The body is over the limit of {limit} bytes.", code="body_too_large")
    return made


def _gzip(raw: bytes, most: int) -> bytes:
    made = b""
    while raw and len(made) < most:  # it may have several members
        one = zlib.decompressobj(wbits=31)
        made += one.decompress(raw, most - len(made))
        if not one.eof and len(made) < most:
            raise EOFError
        raw = one.unused_data
    return made


def _deflate(raw: bytes, most: int) -> bytes:
    one = zlib.decompressobj()
    made = one.decompress(raw, most)
    if not one.eof and len(made) < most:
        raise EOFError
    return made


def _zstd(raw: bytes, most: int) -> bytes:
    try:
        from zstandard import ZstdDecompressor, ZstdError
    except ModuleNotFoundError:
        raise Invalid(
            "This service reads no zstd, which needs its extra semcache-async[zstd]; send gzip.",
            code="content_encoding",
        ) from None
    reader = ZstdDecompressor(max_window_size=_WINDOW).stream_reader(io.BytesIO(raw))
    made = io.BytesIO()
    try:
        while made.tell() < most and (piece := reader.read(min(_PIECE, most - made.tell()))):
            made.write(piece)
    except ZstdError as error:
        raise ValueError from error
    return made.getvalue()


_WINDOW = 8 * 2**20
_PIECE = 65_536
_READERS: dict[str, Callable[[bytes, int], bytes]] = {
    "identity": lambda raw, _: raw,
    "": lambda raw, _: raw,
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}
