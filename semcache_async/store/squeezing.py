"""Compression of what is long: squeezed before it is sealed, expanded once it was opened.

Only entries are: what processes say to each other must be read by those without zstd, too.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from semcache_async.errors import ConfigError

if TYPE_CHECKING:
    from zstandard import ZstdCompressor, ZstdDecompressor

__all__ = ["PLAIN", "SQUEEZED", "Squeezer"]

SQUEEZED = b"\x28\xb5\x2f\xfd"
"""How a frame of zstd begins, and no payload does."""
_LEVEL = 3

_logger = logging.getLogger("semcache_async")


class Squeezer:
    """Squeezes what is over ``over`` bytes (None: nothing), and expands what makes no more than
    ``most`` bytes. For one thread."""

    def __init__(self, *, over: int | None = None, most: int = 2**20) -> None:
        self._over = over
        self._most = most
        self._compressor: ZstdCompressor | None = None
        self._decompressor: ZstdDecompressor | None = None
        self._said: set[str] = set()
        self.unread = 0
        """How often something was read that could not be expanded."""
        if over is not None:
            try:
                from zstandard import ZstdCompressor
            except ImportError as error:
                raise ConfigError(
                    'compress_over_bytes needs zstandard: pip install "semcache-async[zstd]".'
                ) from error
            self._compressor = ZstdCompressor(level=_LEVEL)

    def squeeze(self, data: bytes) -> bytes:
        """``data``, or what stands for it in fewer bytes. What would not be expanded stays."""
        if self._compressor is None or self._over is None:
            return data
        if not self._over < len(data) <= self._most:
            return data
        made = self._compressor.compress(data)
        return made if len(made) < len(data) else data

    def expand(self, data: bytes) -> bytes | None:
        """What was squeezed; None for what cannot be read here."""
        if not data.startswith(SQUEEZED):
            return data
        made = None
        try:
            import zstandard
        except ImportError:
            self._refuse('reading it needs zstandard: pip install "semcache-async[zstd]"')
            return None
        self._decompressor = self._decompressor or zstandard.ZstdDecompressor()
        try:
            if 0 <= zstandard.frame_content_size(data) <= self._most:
                made = self._decompressor.decompress(data)
        except zstandard.ZstdError:
            pass
        if made is None:
            self._refuse("it was changed, or would be larger than what is stored here")
        return made

    def _refuse(self, why: str) -> None:
        self.unread += 1
        if why not in self._said:
            self._said.add(why)
            _logger.warning("something compressed in Redis counts as a miss: %s", why)


PLAIN = Squeezer()
"""Squeezes nothing."""
