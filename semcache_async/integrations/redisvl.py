"""RedisVL's cache of answers, by its own signatures: change the import and go on::

    from semcache_async.integrations.redisvl import SemanticCache

Distances need no conversion: cosine, 0..2, there as here. ``docs/integrations/redisvl.md`` says
what differs. RedisVL itself is not needed.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, wraps
from hashlib import sha256
from threading import Lock
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import numpy as np
from numpy.typing import NDArray

from semcache_async import cache as core
from semcache_async.complaints import Complaints
from semcache_async.config import MAX_TTL_S, CacheConfig
from semcache_async.errors import ConfigError, EmbeddingError, SemcacheError
from semcache_async.integrations.threads import Background
from semcache_async.types import Scope

__all__ = ["SemanticCache"]

P = ParamSpec("P")
T = TypeVar("T")

_SCOPE = Scope(parameters={"api": "redisvl"})
"""Its entries, whose texts are JSON, meet no others of the same name."""
_FARTHEST = 2.0
_MOST = 100
_OWN = ("entry_id", "prompt", "response", "inserted_at", "updated_at", "metadata", "key")
_SYNTAX = re.escape(",.<>{}[]\"':;!@#$%^&*()-+=~|/?\\")
_CLAUSE = re.compile(
    rf"[\s()]*@(?P<field>[^\s@:{{}}()|]+):\{{(?P<value>(?:\\.|[^{_SYNTAX}])+)\}}[\s()]*", re.DOTALL
)
"""An equality of a tag, as RedisVL writes it."""
_TLS = ("ca_certs", "certfile", "keyfile", "password", "cert_reqs", "check_hostname")


class _Kept(msgspec.Struct):
    """What is stored as an answer's text."""

    response: str
    inserted_at: float
    updated_at: float
    filters: dict[str, str]
    metadata: dict[str, Any] | None


@dataclass
class _Settings:
    name: str
    separators: Mapping[str, str | None]
    """By filterable field: what stands between several tags in one text."""
    distance_threshold: float = 0.1
    ttl: int | None = None


class _Answers:
    """RedisVL's methods, in the event loop of ``cache``."""

    def __init__(self, cache: core.SemanticCache, settings: _Settings) -> None:
        self._cache = cache
        self._settings = settings
        self._complaints = Complaints()

    async def check(
        self,
        prompt: str | None = None,
        vector: list[float] | None = None,
        num_results: int = 1,
        return_fields: list[str] | None = None,
        filter_expression: Any = None,
        distance_threshold: float | None = None,
    ) -> list[dict[str, Any]]:
        """The nearest entries within ``distance_threshold`` (None: the cache's) that may be served.
        Where Redis or the embedder fails there are none, and the log says so."""
        _refuse(vector)
        if not prompt:
            raise ValueError("Either prompt or vector must be specified.")
        if return_fields and not isinstance(return_fields, list):
            raise TypeError("Return fields must be a list of values.")
        scope = _scope(self._attributes(filter_expression))
        limit = self._settings.distance_threshold
        if distance_threshold is not None:
            limit = _checked(distance_threshold)
        answer = await self._cache.lookup(prompt, scope=scope, max_distance=limit)
        if answer is None or answer.entry_id is None:
            return []
        found = {answer.entry_id: (answer.matched_prompt, answer.text, answer.distance)}
        if num_results > 1:
            try:
                most = min(_MOST, num_results + self._cache.config.neighbours)
                for near in await self._cache.nearest(prompt, scope=scope, limit=most):
                    if near.refused_by is None and near.distance <= limit:
                        others = near.prompt, near.entry.text, near.distance
                        found.setdefault(near.entry.id, others)
            except SemcacheError as error:
                self._complaints.warn("RedisVL's check has the nearest entry alone", error)
        shown = [self._shown(entry_id, *hit, return_fields) for entry_id, hit in found.items()]
        return [hit for hit in shown if hit is not None][: max(0, num_results)]

    async def store(
        self,
        prompt: str,
        response: str,
        vector: list[float] | None = None,
        metadata: dict[str, Any] | None = None,
        filters: dict[str, Any] | None = None,
        ttl: int | None = None,
    ) -> str:
        """Keep a response, in place of the one that this prompt had with these filters. Returns
        the key by which ``update`` and ``drop`` know it."""
        _refuse(vector)
        now = time.time()
        named = {name: self._text(name, value) for name, value in (filters or {}).items()}
        kept = _Kept(response, now, now, named, metadata)
        return await self._keep(prompt, kept, ttl or self._settings.ttl or MAX_TTL_S)

    async def update(self, /, key: str, **kwargs: Any) -> None:
        """Replace the ``response`` or the ``metadata`` of an entry and begin its time to live anew;
        nothing where there is no such entry."""
        if strange := kwargs.keys() - {"response", "metadata"}:
            raise ConfigError(
                f"{min(strange)!r} cannot be updated here, response and metadata can: store the "
                "entry anew, and drop the old one."
            )
        _check_metadata(kwargs.get("metadata", {}))
        if kwargs:
            kwargs["updated_at"] = time.time()
        await self._keep_again(key, self._settings.ttl, **kwargs)

    async def expire(self, key: str, ttl: int | None = None) -> None:
        """Give an entry ``ttl`` seconds from now (None: the cache's own, if it has any)."""
        seconds = self._settings.ttl if ttl is None else ttl
        if seconds:
            await self._keep_again(key, seconds)

    async def drop(self, ids: list[str] | None = None, keys: list[str] | None = None) -> None:
        """Forget entries, by id or by key."""
        if ids is None and keys is None:
            raise ValueError("At least one of ids or keys must be provided.")
        if named := [*(ids or ()), *map(self._id, keys or ())]:
            await self._cache.invalidate(scope=_SCOPE, entry_ids=named)

    async def clear(self) -> None:
        """Forget every entry. ``delete`` does the same: an empty index may stay."""
        await self._cache.invalidate(scope=_SCOPE)

    async def _keep(self, prompt: str, kept: _Kept, ttl_s: float) -> str:
        if not isinstance(kept.response, str):
            raise TypeError("The response must be a string.")
        if kept.metadata is not None:
            _check_metadata(kept.metadata)
        text = json.dumps(msgspec.structs.asdict(kept), ensure_ascii=False)
        scope = _scope(kept.filters)
        return self._key(await self._cache.store(prompt, text, scope=scope, ttl_s=float(ttl_s)))

    async def _keep_again(self, key: str, ttl: int | None, **changed: Any) -> None:
        """For ``ttl`` seconds, or those that the entry has left."""
        found = await self._cache.would_invalidate(scope=_SCOPE, entry_ids=[self._id(key)])
        for entry in found.examples[:1]:
            kept = _read(entry.text)
            if kept is not None:
                left_s = max(entry.exact_until, entry.semantic_until) - time.time()
                kept = msgspec.structs.replace(kept, **changed)
                await self._keep(entry.prompt, kept, ttl or min(MAX_TTL_S, max(0.001, left_s)))

    def _shown(
        self,
        entry_id: str,
        prompt: str | None,
        text: str,
        distance: float | None,
        fields: list[str] | None,
    ) -> dict[str, Any] | None:
        kept = _read(text)
        if kept is None:
            return None
        hit = {
            "entry_id": entry_id,
            "prompt": prompt,
            "response": kept.response,
            "vector_distance": distance,
            "inserted_at": kept.inserted_at,
            "updated_at": kept.updated_at,
            **({} if kept.metadata is None else {"metadata": kept.metadata}),
            **{
                name: kept.filters[name]
                for name in self._settings.separators
                if name in kept.filters
            },
        }
        if fields:
            hit = {name: value for name, value in hit.items() if name in fields}
        return {**hit, "key": self._key(entry_id)}

    def _key(self, entry_id: str) -> str:
        return f"{self._settings.name}:{entry_id}"

    def _id(self, key: str) -> str:
        return key.removeprefix(f"{self._settings.name}:")

    def _text(self, name: str, value: object) -> str:
        """A filter's value as Redis would keep it."""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ConfigError(f"filters[{name!r}] is a {type(value).__name__}; give a str.")
        text, separator = str(value), self._settings.separators.get(name)
        if separator and separator in text:
            raise ConfigError(
                f"filters[{name!r}] holds {separator!r}, which separates several tags, and one is "
                f"kept here: give each a field of its own, or, if it is one, the field another "
                'separator: {"name": ..., "type": "tag", "attrs": {"separator": "|"}}.'
            )
        return text

    def _attributes(self, expression: object) -> dict[str, str]:
        """What entries have to carry to meet a filter."""
        kinds = {kind.__name__ for kind in type(expression).__mro__}
        if expression is not None and not kinds & {"str", "FilterExpression"}:
            raise TypeError("filter_expression must be a FilterExpression or a string.")
        rest = "" if expression is None else str(expression).strip()
        attributes: dict[str, str] = {}
        while rest and rest != "*":
            clause = _CLAUSE.match(rest)
            value = clause and re.sub(r"\\(.)", r"\1", clause["value"], flags=re.DOTALL)
            if clause is None or attributes.setdefault(clause["field"], value or "") != value:
                raise ConfigError(
                    f"The filter {str(expression)!r} is more than equalities of tags joined by &, "
                    'such as (Tag("a") == "x") & (Tag("b") == "y"), and only those are served '
                    "here: make one check for each alternative, and keep a range or a pattern as a "
                    "tag of its own."
                )
            rest = rest[clause.end() :]
        if strange := attributes.keys() - self._settings.separators.keys():
            raise ConfigError(
                f"The filter names {min(strange)!r}, which is not among the filterable_fields."
            )
        return attributes


class _Running(NamedTuple):
    background: Background
    answers: _Answers
    close: Callable[[], object]
    """At exit, too, and when nobody has the cache any longer."""


def _plain(
    method: Callable[Concatenate[_Answers, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SemanticCache, P], T]:
    """A method that blocks its thread."""

    @wraps(method)
    def called(self: SemanticCache, /, *args: P.args, **kwargs: P.kwargs) -> T:
        background, answers, _ = self._open()
        return background.wait(lambda: method(answers, *args, **kwargs))

    return called


def _awaited(
    method: Callable[Concatenate[_Answers, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SemanticCache, P], Coroutine[Any, Any, T]]:
    """A coroutine function for any event loop."""

    @wraps(method)
    async def called(self: SemanticCache, /, *args: P.args, **kwargs: P.kwargs) -> T:
        running = self._opened()
        if running is None:
            running = await asyncio.to_thread(self._open)
        background, answers, _ = running
        return await asyncio.wrap_future(
            background.submit(lambda: method(answers, *args, **kwargs))
        )

    return called


class SemanticCache:
    """What ``redisvl.extensions.cache.llm.SemanticCache`` is, by this package's cache: for threads
    and for any event loop, opened by the first call, in a thread of its own.

    ``config``: guards and all else that RedisVL has no argument for; its ``max_distance``, where it
    is given, bounds every threshold. Raises ``ValueError`` or ``TypeError`` for what makes no sense
    or cannot be done here, and says what to do instead.
    """

    def __init__(
        self,
        name: str = "llmcache",
        distance_threshold: float = 0.1,
        ttl: int | None = None,
        vectorizer: Any = None,
        filterable_fields: Sequence[Mapping[str, Any]] | None = None,
        redis_client: Any = None,
        redis_url: str = "redis://localhost:6379",
        connection_kwargs: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        create_index: bool = True,
        *,
        config: CacheConfig | None = None,
    ) -> None:
        if not create_index:
            raise ConfigError(
                "create_index=False: this cache makes its own index, of another shape than "
                "RedisVL's; semcache docs redis#users has the rules that its user needs."
            )
        fields = list(filterable_fields or ())
        if taken := [field["name"] for field in fields if field["name"] in _OWN]:
            raise ConfigError(f"{taken[0]} is a reserved field name of the cache.")
        separators = {
            field["name"]: (field.get("attrs") or {}).get("separator", ",")
            if field.get("type") == "tag"
            else None
            for field in fields
        }
        self._settings = _Settings(name, separators)
        self.set_threshold(distance_threshold)
        self.set_ttl(ttl)
        config = config or CacheConfig(ttl_jitter=0.0)
        if not (config.has_distance or config.learns):
            config = replace(config, max_distance=_FARTHEST)
        self._config = replace(config, name=f"semcache-{name}", share_flights=False)
        self._embedder = None if vectorizer is None else _Vectors(vectorizer)
        self._redis_url = _address(redis_client, redis_url, connection_kwargs or {})
        self._lock = Lock()
        self._running: _Running | None = None

    check, acheck = _plain(_Answers.check), _awaited(_Answers.check)
    store, astore = _plain(_Answers.store), _awaited(_Answers.store)
    update, aupdate = _plain(_Answers.update), _awaited(_Answers.update)
    expire, aexpire = _plain(_Answers.expire), _awaited(_Answers.expire)
    drop, adrop = _plain(_Answers.drop), _awaited(_Answers.drop)
    clear, aclear = _plain(_Answers.clear), _awaited(_Answers.clear)
    delete, adelete = clear, aclear

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def distance_threshold(self) -> float:
        """Cosine distance, 0..2."""
        return self._settings.distance_threshold

    def set_threshold(self, distance_threshold: float) -> None:
        self._settings.distance_threshold = _checked(distance_threshold)

    @property
    def ttl(self) -> int | None:
        """Seconds; None: what is stored stays."""
        return self._settings.ttl

    def set_ttl(self, ttl: int | None = None) -> None:
        if ttl and not isinstance(ttl, int):
            raise ConfigError(f"TTL must be an integer value, got {ttl}")
        self._settings.ttl = ttl or None

    def disconnect(self) -> None:
        """Close; the next call opens it again."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.close()

    async def adisconnect(self) -> None:
        await asyncio.to_thread(self.disconnect)

    def __enter__(self) -> SemanticCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()

    async def __aenter__(self) -> SemanticCache:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.adisconnect()

    def __repr__(self) -> str:
        return (
            f"SemanticCache(name={self.name!r}, distance_threshold={self.distance_threshold}, "
            f"ttl={self.ttl})"
        )

    def _opened(self) -> _Running | None:
        """What runs in this process."""
        running = self._running
        return running if running is not None and running.background.is_open else None

    def _open(self) -> _Running:
        with self._lock:
            running = self._opened()
            if running is None:
                config = replace(
                    self._config,
                    sliding_ttl=self.ttl is not None,
                    max_ttl_s=self._config.max_ttl_s or MAX_TTL_S,
                )
                opening = partial(
                    core.SemanticCache.open,
                    self._redis_url,
                    config=config,
                    embedder=self._embedder,
                )
                background = Background(opening)
                answers = _Answers(background.cache, self._settings)
                close = weakref.finalize(self, background.close)
                running = self._running = _Running(background, answers, close)
            return running


class _Vectors:
    """A vectorizer of RedisVL's as an embedder."""

    def __init__(self, vectorizer: Any) -> None:
        if not callable(getattr(vectorizer, "embed_many", None)) or not vectorizer.dims:
            raise TypeError("Must provide a valid redisvl.vectorizer class.")
        self._vectorizer = vectorizer
        self.dim = int(vectorizer.dims)
        told = [type(vectorizer).__qualname__, str(vectorizer.model), self.dim]
        self.fingerprint = sha256(json.dumps(told).encode()).hexdigest()

    def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        try:
            found = np.asarray(self._vectorizer.embed_many(list(texts)), np.float32)
        except ValueError as error:  # which its vectorizers raise for an outage, too
            raise EmbeddingError("The vectorizer failed; its own error is the cause.") from error
        with np.errstate(invalid="ignore"):
            units: NDArray[np.float32] = found / np.linalg.norm(found, axis=-1, keepdims=True)
        return units


def _scope(attributes: Mapping[str, str]) -> Scope:
    return msgspec.structs.replace(_SCOPE, attributes=attributes)


def _read(text: str) -> _Kept | None:
    try:
        return msgspec.convert(json.loads(text), _Kept)
    except (ValueError, RecursionError):
        return None  # nothing that was stored here


def _refuse(vector: object) -> None:
    if vector is not None:
        raise ConfigError(
            "vector= is not taken here, since guards compare prompts: leave it away, and give the "
            "vectorizer that made it, SemanticCache(vectorizer=...); it is asked once for a prompt."
        )


def _checked(threshold: float) -> float:
    if not 0 <= float(threshold) <= _FARTHEST:
        raise ConfigError(f"Distance must be between 0 and 2, got {threshold}")
    return float(threshold)


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict):
        raise TypeError("If specified, cached metadata must be a dictionary.")


def _address(client: Any, url: str, options: Mapping[str, Any]) -> str:
    """The URL of the server that a client of redis-py's was made for, or that ``url`` names with
    options of such a client."""
    if client is None and not options:
        return url
    if client is None:
        import redis

        client = redis.Redis.from_url(url, **options)
    pool: Any = getattr(client, "connection_pool", None)
    known: dict[str, Any] = getattr(pool, "connection_kwargs", {})
    host, path = known.get("host"), known.get("path")
    if not (host or path) or known.get("credential_provider"):
        raise ConfigError(
            "Of this redis_client the server cannot be told; give its redis_url: redis://, "
            "rediss://, unix://, redis+sentinel:// or redis+cluster://."
        )
    user, password = known.get("username") or "", known.get("password") or ""
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
    if path:
        return f"unix://{login}{quote(path)}?" + urlencode({"db": known.get("db") or 0})
    tls = "SSL" in pool.connection_class.__name__
    given = {f"ssl_{name}": known.get(f"ssl_{name}") for name in _TLS} if tls else {}
    query = urlencode({name: value for name, value in given.items() if value is not None})
    server = f"[{host}]" if ":" in str(host) else host
    place = f"{server}:{known.get('port') or 6379}/{known.get('db') or 0}"
    return f"redis{'s' if tls else ''}://{login}{place}" + (f"?{query}" if query else "")
