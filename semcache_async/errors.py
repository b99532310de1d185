"""Everything this package raises. Each message says what to do about it, and each error where to
read on."""

from __future__ import annotations

from functools import cached_property

__all__ = [
    "CacheClosedError",
    "ConfigError",
    "EmbeddedRedisError",
    "EmbedderUnavailableError",
    "EmbeddingError",
    "FlightCancelledError",
    "FlightFailedError",
    "FlightLostError",
    "IndexMismatchError",
    "LeaseLostError",
    "ModelError",
    "OverloadedError",
    "PromptError",
    "PromptTooLongError",
    "QuotaError",
    "QueueFullError",
    "ReentrancyError",
    "SearchModuleMissingError",
    "SemcacheError",
    "StaleWriteError",
    "StoreAuthError",
    "StoreError",
    "StoreFullError",
    "StoreUnavailableError",
    "WrongLoopError",
]


class SemcacheError(Exception):
    """Base of every error this package raises itself."""

    @property
    def docs(self) -> str:
        """The command that shows what to read on, of the nearest class that is public; "" for what
        derives from none but this one."""
        public = next(kind for kind in type(self).__mro__ if kind.__module__ == __name__)
        return "" if public is SemcacheError else f"semcache docs {public.__name__}"

    @cached_property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        """What a traceback shows below the message: made when somebody asks for it."""
        return [f"See: {self.docs}"] if self.docs else []


class ConfigError(SemcacheError, ValueError):
    """An option or argument is out of its documented range."""


class PromptError(SemcacheError, ValueError):
    """A prompt, answer or tag that cannot be cached as it stands: empty, not valid Unicode, ..."""


class PromptTooLongError(PromptError):
    """More tokens than the embedding model reads; such a prompt has no vector."""


class CacheClosedError(SemcacheError):
    """The cache was closed before, or while, this request was answered."""


class WrongLoopError(SemcacheError, RuntimeError):
    """The cache belongs to another event loop, or to the process that this one was forked from."""


class ReentrancyError(SemcacheError, RuntimeError):
    """An LLM call asked the cache for the answer that it is making itself."""


class OverloadedError(SemcacheError):
    """More is asked than can be answered in time, and this was turned away; ask again later."""


class QuotaError(OverloadedError):
    """A tenant has used its share (``CacheConfig.tenant_...``), and this was not stored."""


class QueueFullError(OverloadedError):
    """More waits for a batch than may wait; ask less at once."""


class FlightCancelledError(SemcacheError):
    """The LLM call cancelled itself; nobody who waited for it was cancelled."""


class FlightFailedError(SemcacheError):
    """The LLM call of another process, whose answer this was to be, raised what this process has
    no class for; the message says what, and ``status`` is its HTTP status, if it had one."""

    status: int | None = None


class FlightLostError(SemcacheError):
    """The process that was making this answer is gone, and a part had been handed on; ask again."""


class EmbeddingError(SemcacheError):
    """The embedder failed, or returned vectors of the wrong shape, dtype, length or value."""


class EmbedderUnavailableError(EmbeddingError):
    """The embedder cannot be reached, or answers nothing that can be used, whatever the text. It is
    not asked until a probe gets through; meanwhile the exact tier answers alone."""


class ModelError(SemcacheError):
    """The embedding model could not be fetched, verified, built or loaded."""


class EmbeddedRedisError(SemcacheError):
    """The embedded Redis cannot run here, or did not start."""


class StoreError(SemcacheError):
    """The store answered with an error."""


class StoreUnavailableError(StoreError):
    """The store did not answer in time, or cannot be reached."""


class StoreAuthError(StoreError):
    """The store refused the user name, password or permissions."""


class StoreFullError(StoreError):
    """The store is out of memory and keeps nothing new; what it has can still be read."""


class StaleWriteError(StoreError):
    """The answer began to be made before an invalidation that concerns it, so it is not kept."""


class LeaseLostError(StaleWriteError):
    """The process that made this answer was silent for longer than its lease, and another may have
    made it since, so it is not kept."""


class SearchModuleMissingError(StoreError):
    """The Redis server has no Search module (``FT.*`` commands)."""


class IndexMismatchError(StoreError):
    """An index of this name exists, but with another shape than this cache needs."""
