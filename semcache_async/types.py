"""The nouns of the cache: what goes in, what comes out, and what is kept."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from semcache_async.errors import ConfigError

__all__ = [
    "WIDENABLE",
    "Affected",
    "Answer",
    "Claim",
    "Entry",
    "EntryKey",
    "Letter",
    "ModelState",
    "Neighbour",
    "Piece",
    "Produced",
    "Record",
    "Rival",
    "Scope",
    "Source",
    "Timings",
    "Vector",
    "VectorQuery",
    "cosine_distance",
    "scope_or_tenant",
]

Vector: TypeAlias = NDArray[np.float32]
"""One embedding: float32 ``[dim]``, unit length."""


def cosine_distance(one: Vector, other: Vector) -> float:
    """0..2, of two unit vectors."""
    return max(0.0, 1.0 - float(one @ other))


Parameter: TypeAlias = str | int | float | bool | None

WIDENABLE = ("locale", "model", "system_prompt", "temperature", "parameters", "corpus_version")
"""Fields of a scope that a call may leave open, where the operator lets it. Never the tenant."""


class Source(StrEnum):
    """Where an answer came from."""

    EXACT = "exact"
    SEMANTIC = "semantic"
    SHARED = "shared"
    """Another caller's flight answered it."""
    GENERATED = "generated"
    """This caller's own flight called the LLM."""
    BYPASSED = "bypassed"
    """The LLM was called without reading or writing the cache."""


class FrozenMapping(Mapping[str, Parameter]):
    """An immutable, hashable mapping with sorted keys. Equality is strict: 1 is not True."""

    __slots__ = ("_identity", "_items")

    def __init__(self, items: Mapping[str, Parameter] = {}) -> None:
        self._items = {key: items[key] for key in sorted(items)}
        self._identity = tuple((key, type(v), v) for key, v in self._items.items())
        hash(self._identity)

    def __getitem__(self, key: str) -> Parameter:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FrozenMapping) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __repr__(self) -> str:
        return repr(self._items)


_EMPTY = FrozenMapping()
_SLIDES = 16
"""Times at most that hits write down, in one lifetime, that it begins anew."""
_TEXTS = ("tenant", "locale", "model", "system_prompt", "corpus_version", "namespace")


class Scope(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """What must be equal for an answer to be shared. A hard boundary.

    ``attributes`` are the one soft part, **and no isolation**: a lookup finds entries that carry
    *at least* the attributes it names, so ``Scope(tenant="a")`` also finds what was stored with
    ``Scope(tenant="a", attributes={"user": "alice"})``, never the other way round. What must not
    be shared goes into a field, such as ``tenant``.

    Raises ``ConfigError`` for a field of the wrong type or a non-finite number.
    """

    tenant: str = ""
    locale: str = ""
    model: str = ""
    system_prompt: str = ""
    temperature: float | None = None
    parameters: Mapping[str, Parameter] = _EMPTY
    """Every other generation parameter: ``top_p``, ``seed``, ``response_format``, ..."""
    corpus_version: str = ""
    namespace: str = ""
    """The versioned namespace that answers depend on, of whatever tenant: ``bump_version`` makes
    all older ones of it unreachable."""
    attributes: Mapping[str, str] = _EMPTY  # type: ignore[assignment]
    epoch: int = 0
    """The namespace's version: set by the cache, as of when it was asked."""

    def __post_init__(self) -> None:
        for name in _TEXTS:
            object_setattr(self, name, _text(name, getattr(self, name)))
        if self.temperature is not None:
            object_setattr(self, "temperature", _finite("temperature", self.temperature))
        if type(self.epoch) is not int:
            raise ConfigError(f"Scope.epoch must be an int, not {type(self.epoch).__name__}.")
        if self.epoch and not self.namespace:
            raise ConfigError("Scope.epoch is a namespace's version, and none is named.")
        parameters = {**_frozen("parameters", self.parameters)}
        for key, value in parameters.items():
            if isinstance(value, str):
                parameters[key] = _text(f"parameters[{key!r}]", value)
            elif isinstance(value, float):
                parameters[key] = _finite(f"parameters[{key!r}]", value)
            elif not isinstance(value, int | None):
                raise ConfigError(
                    f"Scope.parameters[{key!r}] is a {type(value).__name__}; give a str, int, "
                    "float, bool or None (encode anything else as JSON text)."
                )
        object_setattr(self, "parameters", FrozenMapping(parameters))
        attributes = _frozen("attributes", self.attributes)
        checked = {key: _text(f"attributes[{key!r}]", value) for key, value in attributes.items()}
        object_setattr(self, "attributes", FrozenMapping(checked) if checked else _EMPTY)

    def unversioned(self) -> Scope:
        """What it has in common with those of its namespace's other versions."""
        return msgspec.structs.replace(self, epoch=0) if self.epoch else self

    def covers(self, other: Scope, *, widen: Collection[str] = ()) -> bool:
        """Would a lookup in this scope find what was stored in ``other``: all fields equal but
        those of ``widen``, and every attribute of this scope carried by the other?"""
        free = {name: getattr(self, name) for name in ("attributes", *widen)}
        alike = msgspec.structs.replace(other, **free) == self
        return alike and self.attributes.items() <= other.attributes.items()


object_setattr = msgspec.structs.force_setattr


def scope_or_tenant(fields: Mapping[str, Any]) -> tuple[Scope | None, str | None]:
    """What an operator means who names these fields of a scope (None: not named): a tenant alone
    is everything that it has; with anything more, or without a tenant, the scope is meant whole.
    """
    named = {name: value for name, value in fields.items() if value is not None}
    if set(named) == {"tenant"}:
        return None, named["tenant"]
    return (Scope(**named) if named else None), None


def _text(name: str, value: object) -> str:
    """``value`` as a plain str, whatever subclass it is of."""
    if not isinstance(value, str):
        raise ConfigError(f"Scope.{name} must be a str, not {type(value).__name__}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"Scope.{name} holds a lone surrogate, which UTF-8 cannot carry; decode it properly."
        ) from error
    return str.__str__(value)


def _finite(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"Scope.{name} must be a finite number, not {value!r}.")
    return float(value) + 0.0  # no -0.0, which is written otherwise than the 0.0 it equals


def _frozen(name: str, value: object) -> FrozenMapping:
    if isinstance(value, FrozenMapping):
        return value
    if not isinstance(value, Mapping):
        raise ConfigError(f"Scope.{name} must be a mapping, not {type(value).__name__}.")
    plain = {_text(f"{name} key", key): value[key] for key in value}
    try:
        return FrozenMapping(plain)
    except TypeError as error:  # an unhashable value
        raise ConfigError(
            f"Scope.{name} holds a list or a dict; encode it as JSON text first."
        ) from error


class EntryKey(NamedTuple):
    """What the exact tier looks up. One entry at most is stored under one key."""

    scope: Scope
    normalised: str


class Entry(msgspec.Struct, frozen=True):
    """A stored answer as the store gives it back: alive, whole and of the scope asked for."""

    id: str
    prompt: str
    text: str
    created_at: float
    """When its answer began to be made: Unix seconds by the store's clock (``Store.now``)."""
    exact_until: float
    """Until when the exact tier may serve it, by the same clock."""
    tags: tuple[str, ...] = ()
    attributes: Mapping[str, str] = {}
    semantic_until: float = math.inf
    """Until when the semantic tier may serve it."""
    stale_s: float = 0.0
    """So many seconds before a tier's end, it is past its time to live there: served still, and
    made anew."""
    made_s: float = 0.0
    """Seconds that making its answer took."""
    validated_at: float = 0.0
    """When somebody last found its answer right; 0 where nobody has."""
    slid_at: float = 0.0
    """When its times to live began that a hit begins anew; 0 where none does."""

    def is_stale(self, now: float, *, exact: bool = False) -> bool:
        """Is it past its time to live in the semantic tier, or the ``exact`` one?"""
        return self.stale_s > 0.0 and now >= self.fresh_until(exact=exact)

    def fresh_until(self, *, exact: bool = False) -> float:
        """Until when its time to live lasts there."""
        return (self.exact_until if exact else self.semantic_until) - self.stale_s

    def slid(self, now: float, longest_s: float) -> Entry | None:
        """This entry with its times begun anew, to end ``longest_s`` after its answer began to be
        made at the latest; None where too little of them has passed to be worth writing down."""
        begun, end = self.slid_at, self.created_at + longest_s
        passed = now - begun
        shorter = min(self.exact_until, self.semantic_until) - begun
        if (
            not begun
            or passed * _SLIDES < shorter
            or min(self.exact_until, self.semantic_until) >= end
        ):
            return None
        return msgspec.structs.replace(
            self,
            exact_until=max(self.exact_until, min(end, self.exact_until + passed)),
            semantic_until=max(self.semantic_until, min(end, self.semantic_until + passed)),
            slid_at=now,
        )


class Affected(msgspec.Struct, frozen=True):
    """What a removal would delete, had it been one."""

    count: int
    examples: list[Entry]
    """Some of the entries, newest first; those that cannot be read are counted only."""


class Neighbour(msgspec.Struct, frozen=True):
    """A stored entry near a prompt, with its cosine distance (0..2)."""

    distance: float
    entry: Entry
    refused_by: str | None = None
    """What speaks against serving it, where that was looked at: ``erased`` (they differ in what the
    model cannot see), the name of a guard, ``doubt``, ``verdict`` (it lies as far off as what was
    judged wrong), ``unverified`` (its entry has too few verdicts yet), ``distance``,
    ``verifier`` (it scored the two below ``min_score``) or ``unscored`` (it could not)."""
    notes: bytes | None = None
    """What ``EvidenceStore.annotate`` left with the entry."""
    widened: bool = False
    """Is it of another scope, which ``VectorQuery.widen`` let in?"""

    @property
    def prompt(self) -> str:
        return self.entry.prompt


class Owner(NamedTuple):
    """Whose evidence it is, as a store names them."""

    scope: str
    tenant: str
    model: str = ""
    """Which of several models' distances it is of; "": the cache's own."""


class ModelState(msgspec.Struct, frozen=True, kw_only=True):
    """One of a cache's models at a moment."""

    name: str
    ready: bool
    trouble: str | None
    """Why it could not be loaded, where it could not; it is tried again."""
    memory_bytes: int
    """By how much this process grew while it was loaded."""
    unready: int
    """Prompts that had the exact tier only, as it was not ready."""
    embedded_texts: int
    entries: int | None = None
    index_bytes: int | None = None
    """None where the store was not asked, or does not say."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge is asked: would ``stored_text``, the answer to ``matched_prompt``, have been
    right for ``prompt``?"""

    prompt: str
    matched_prompt: str
    stored_text: str
    fresh_text: str | None
    """What the LLM answered to ``prompt``; None where it was not asked."""
    distance: float
    """Cosine distance of the two prompts, 0..2."""
    scope: Scope


class VectorQuery(NamedTuple):
    """What the semantic tier looks up: the nearest entries of one scope. Two queries are one when
    they share the very same vector object."""

    scope: Scope
    vector: Vector
    neighbours: int
    created_after: float = 0.0
    """Older entries are none: Unix seconds by the store's clock."""
    widen: tuple[str, ...] = ()
    """Fields of the scope, of ``WIDENABLE`` and in that order, that need not be equal."""

    def __hash__(self) -> int:
        return hash((self.scope, id(self.vector), self.neighbours, self.created_after, self.widen))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, VectorQuery)
            and self.vector is other.vector
            and self.neighbours == other.neighbours
            and self.created_after == other.created_after
            and self.widen == other.widen
            and self.scope == other.scope
        )


class Record(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What to store. ``vector`` is None for a prompt that only the exact tier may serve."""

    key: EntryKey
    prompt: str
    text: str
    vector: Vector | None
    tags: tuple[str, ...]
    exact_ttl_s: float
    semantic_ttl_s: float
    started_at: float
    """When the answer began to be made, in Unix seconds by the store's clock (``Store.now``): an
    invalidation that came later refuses it, and its age counts from then."""
    stale_s: float = 0.0
    """The last seconds of both tiers' times, in which it is stale."""
    made_s: float = 0.0
    """Seconds that making the answer took."""
    slides: bool = False
    """Do hits begin its times anew?"""
    claim: str | None = None
    """The claim under which it was made: once that stands no longer, the record is refused."""


class Claim(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A flight that asks to lead, as the store shows it to other processes for as long as its
    lease lasts."""

    id: str
    """32 hex digits that nothing else has: the fencing token of what is made under it."""
    inbox: str
    """Where its process is written to."""
    key: EntryKey
    prompt: str
    vector: Vector | None
    tags: tuple[str, ...]
    reach: float
    """The cosine distance within which it asks for others; negative: those of the same key."""


class Rival(NamedTuple):
    """A claim that stood before: of the same key, or near."""

    distance: float
    """Cosine distance to the claim that is told of it; not a number where one has no vector."""
    prompt: str
    claim: str
    inbox: str
    same_key: bool
    notes: bytes | None = None


class Letter(NamedTuple):
    """What one process writes to another about a claim."""

    claim: str
    body: bytes
    """Empty where the claim was withdrawn by an invalidation."""


class Piece(NamedTuple):
    """One token of a text, special ones left out, and the part of the text it stands for."""

    id: int
    start: int
    end: int


class Produced(NamedTuple):
    """What an LLM call made."""

    text: str
    keep: bool = True
    """False: deliver it, but don't store it."""


class Timings(msgspec.Struct, frozen=True):
    """Seconds that one request spent waiting in each stage; 0.0 for a stage it skipped."""

    exact_s: float = 0.0
    embed_s: float = 0.0
    search_s: float = 0.0
    generate_s: float = 0.0
    """The whole flight: second look, LLM call and store."""
    total_s: float = 0.0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answered prompt."""

    text: str
    source: Source
    distance: float | None = None
    """Cosine distance to the prompt that was answered: 0.0 for an exact hit, None for an answer
    generated for this very caller."""
    matched_prompt: str | None = None
    """The prompt the answer was made for; None for an answer generated for this very caller."""
    entry_id: str | None = None
    """None where nothing was stored."""
    widened: bool = False
    """Is the entry of another scope, which the call let in by ``widen``?"""
    age_s: float = 0.0
    """Seconds since its LLM call began."""
    last_validated: float = 0.0
    """When that was, or when somebody last found it right: Unix seconds by the store's clock."""
    stale: bool = False
    """Past its time to live, and being made anew (``CacheConfig.stale_ttl_s``)."""
    timings: Timings = Timings()
    refused: tuple[Neighbour, ...] = ()
    """Stored answers within reach that were not served, each with what spoke against it, nearest
    first."""
    shadow: Neighbour | None = None
    """In shadow mode: the stored answer that would have been served."""

    @property
    def similarity(self) -> float | None:
        """``1 - distance``, for people."""
        return None if self.distance is None else 1.0 - self.distance
