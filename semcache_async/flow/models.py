"""Which model reads which scope: the cache's own, and those that the rules of its config name.

The others are loaded in the background, one after the other, and one that cannot be had is tried
again. Until a model is ready its scopes have the exact tier only, which is counted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from fnmatch import translate
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import anyio.to_thread
import msgspec

from semcache_async.config import STRICT_DISTANCE, CacheConfig, ModelRule
from semcache_async.flow.vectors import Vectors, open_vectors
from semcache_async.flow.wording import Wording
from semcache_async.protocols import Embedder
from semcache_async.types import ModelState, Scope

__all__ = [
    *("Load", "Models", "Reader", "Room"),
    *("measured_of", "open_models", "say_unmeasured", "weighed"),
]

_AGAIN_S = 60.0
"""After which what could not be loaded is tried again."""
_SCOPES = 4_096
_STATM = Path("/proc/self/statm")
_said: set[str] = set()
"""Fingerprints of embedders of which nothing was measured, as was said."""
_log = logging.getLogger("semcache_async")

T = TypeVar("T")
Load: TypeAlias = Callable[[str | None], Embedder]
"""From a model's name or directory (None: the default one) to its embedder; it may block."""
Size: TypeAlias = Callable[[], Awaitable[tuple[int, int]]]
"""Entries of an index, and its bytes."""
Add: TypeAlias = Callable[[str, int, str, float], Awaitable[Any]]
"""Makes the store of a model, by its name, its dim, its fingerprint and how far it may serve."""


def weighed(make: Callable[[], T]) -> tuple[T, int]:
    """What ``make`` gives, and by how many bytes this process has grown meanwhile (0 where the
    system does not tell)."""
    before = _resident()
    made = make()
    return made, max(0, _resident() - before)


def _resident() -> int:
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def measured_of(embedder: Embedder) -> float | None:
    """The ``max_distance`` that was found to suit it, if one was."""
    found: float | None = getattr(embedder, "max_distance", None)
    return found


def say_unmeasured(embedder: Embedder, config: CacheConfig) -> None:
    """Once for each of which nothing was measured, where its distance is not found by evidence."""
    if measured_of(embedder) is not None or config.learns or embedder.fingerprint in _said:
        return
    _said.add(embedder.fingerprint)
    _log.warning(
        "No distance was measured for %r: another prompt's answer is served within %g only. Find "
        "the one that suits your questions (semcache calibrate FILE, for this model) and give it "
        "as max_distance.",
        *(embedder, STRICT_DISTANCE),
    )


class Reader:
    """One model: ready, or still to come."""

    def __init__(self, name: str, config: CacheConfig) -> None:
        """``name``: "" for the cache's own."""
        self.name = self.index = name
        """``index``: of the model whose index has its entries: of two names for one, the first."""
        self.shown = name or config.model_names[0]
        self.vectors: Vectors | None = None
        """None: it is still to come."""
        self.wording = Wording(None, lenient=config.lenient_typing, guards=config.guards)
        self.size: Size | None = None
        self.memory_bytes = 0
        self.suited: float | None = None
        """The ``max_distance`` that was found to suit it."""
        self.trouble: str | None = None
        """Why it could not be loaded."""
        self.unready = 0
        """Prompts that had the exact tier only, as it was still to come."""

    def begin(self, vectors: Vectors, size: Size | None, memory_bytes: int) -> None:
        """It is ready."""
        self.wording.read_by(vectors.embedder)
        self.size, self.memory_bytes, self.trouble = size, memory_bytes, None
        self.vectors = vectors

    def state(self) -> ModelState:
        """What it is doing."""
        vectors = self.vectors
        return ModelState(
            name=self.shown,
            ready=vectors is not None,
            trouble=self.trouble,
            memory_bytes=self.memory_bytes,
            unready=self.unready,
            embedded_texts=0 if vectors is None else vectors.texts,
        )

    async def measured(self) -> ModelState:
        """The same, with what its index holds. Raises a ``StoreError``."""
        if self.size is None:
            return self.state()
        entries, size = await self.size()
        return msgspec.structs.replace(self.state(), entries=entries, index_bytes=size)


class Room(NamedTuple):
    """What reads a scope, and how far it serves."""

    reader: Reader
    max_distance: float
    measured: bool
    """Is anything known of the model's distances?"""


class Models:
    """The models of one cache. Make them with ``open_models``."""

    def __init__(self, vectors: Vectors, memory_bytes: int, config: CacheConfig) -> None:
        self._config = config
        self.vectors = vectors
        """Those of the cache's own."""
        own = Reader("", config)
        own.suited = measured_of(vectors.embedder)
        own.begin(vectors, None, memory_bytes)
        self.own = Room(own, config.max_distance, measured_of(vectors.embedder) is not None)
        named = {config.model: own}
        for rule in config.models:
            named.setdefault(rule.model, Reader(rule.model, config))
        self.readers = list(dict.fromkeys((own, *named.values())))
        self.only = None if config.models else self.own
        """Where there is but one."""
        self._rules = [(rule, _meeting(rule), named[rule.model]) for rule in config.models]
        self._find = lru_cache(maxsize=_SCOPES)(self._look)
        self.tried = asyncio.Event()
        """Each model is ready, or has failed to be."""
        if self.only is not None:
            self.tried.set()

    def of(self, scope: Scope) -> Room:
        """What reads a scope."""
        if self.only is not None:
            return self.only
        return self._find(scope.tenant, scope.locale, scope.model, scope.namespace)

    @property
    def rooms(self) -> list[Room]:
        """All there are, the cache's own first."""
        return [self.own, *(self._room(rule, reader) for rule, _, reader in self._rules)]

    def name_of(self, scope: Scope) -> str:
        """The model whose index a scope has, "" for the cache's own."""
        return self.of(scope).reader.index

    def named(self, name: str) -> Reader:
        """That model; the cache's own where there is none of that name."""
        return next((one for one in self.readers if one.name == name), self.own.reader)

    def ready(self) -> list[tuple[Reader, Vectors]]:
        """Those at work."""
        return [(one, one.vectors) for one in self.readers if one.vectors is not None]

    @asynccontextmanager
    async def loading(self, load: Load, add: Add) -> AsyncIterator[None]:
        """Meanwhile, the others become ready."""
        async with AsyncExitStack() as stack:
            task = asyncio.create_task(self._load_all(load, add, stack))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _load_all(self, load: Load, add: Add, stack: AsyncExitStack) -> None:
        left = [reader for reader in self.readers if reader.vectors is None]
        while True:
            for reader in list(left):
                try:
                    await self._load(reader, load, add, stack)
                    left.remove(reader)
                except Exception as error:
                    reader.trouble = str(error)
                    _log.error(
                        "the model %s cannot be used (%s); until it can, what it is to read has "
                        "the exact tier only. It is tried again in %.0f s.",
                        *(reader.name, error, _AGAIN_S),
                    )
            self.tried.set()
            if not left:
                return
            await asyncio.sleep(_AGAIN_S)

    async def _load(self, reader: Reader, load: Load, add: Add, stack: AsyncExitStack) -> None:
        embedder, grown = await anyio.to_thread.run_sync(
            weighed, partial(load, reader.name), abandon_on_cancel=True
        )
        mine = [rule for rule, _, other in self._rules if other is reader]
        reader.suited = measured_of(embedder)
        if any(rule.max_distance is None for rule in mine):
            say_unmeasured(embedder, self._config)
        reach = max(self._room(rule, reader).max_distance for rule in mine)
        for other, same in self.ready():
            if same.embedder.fingerprint == embedder.fingerprint:
                reader.index = other.index
                reader.begin(same, None, 0)
                break
        else:
            vectors = await stack.enter_async_context(_vectors(embedder, self._config))
            store = await add(reader.name, embedder.dim, embedder.fingerprint, reach)
            reader.begin(vectors, store.size, grown)
        self._find.cache_clear()
        _log.info("the model %s is ready (%.0f MB)", reader.name, grown / 1e6)

    def _look(self, *fields: str) -> Room:
        for rule, meets, reader in self._rules:
            if meets(fields):
                return self._room(rule, reader)
        return self.own

    def _room(self, rule: ModelRule, reader: Reader) -> Room:
        reach = rule.max_distance
        if reach is None:
            reach = self._config.distance_of(reader.suited)
        return Room(reader, reach, reader.suited is not None)


def _meeting(rule: ModelRule) -> Callable[[Sequence[str]], bool]:
    """Tells whether tenant, locale, LLM and namespace meet a rule."""
    parts = (rule.tenants, rule.locales, rule.llms, rule.namespaces)
    patterns = [re.compile("|".join(map(translate, one or ("*",)))) for one in parts]
    return lambda fields: all(map(re.Pattern.fullmatch, patterns, fields))


def _vectors(embedder: Embedder, config: CacheConfig) -> AbstractAsyncContextManager[Vectors]:
    return open_vectors(
        embedder, remembered=config.embedding_cache_size, wait_s=config.lookup_budget_s / 2
    )


@asynccontextmanager
async def open_models(
    embedder: Embedder, memory_bytes: int, config: CacheConfig
) -> AsyncIterator[Models]:
    """With the cache's own at work; ``Models.load`` brings the others. Raises as ``open_vectors``
    does."""
    async with _vectors(embedder, config) as vectors:
        yield Models(vectors, memory_bytes, config)
