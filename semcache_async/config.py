"""Every option of the cache, with its unit and range."""

from __future__ import annotations

import binascii
import math
import re
from base64 import b64decode
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from semcache_async.errors import ConfigError
from semcache_async.types import WIDENABLE

__all__ = ["GUARDS", "CacheConfig", "ModelRule", "TTLRule"]

GUARDS = (
    *("versions", "dates", "identifiers", "units", "numbers", "code", "negation", "comparison"),
    *("quantifiers", "antonyms", "roles", "conditions", "format", "question", "marks"),
    *("template", "entities", "doubt"),
)
"""Every guard there is; ``text.guards`` says what each refuses."""

DEFAULT_MODEL = "default"
"""What a cache's own model is called where it has no name."""
DEFAULT_DISTANCE, LEARNT_CEILING = 0.12, 0.3
"""``max_distance`` where it is not given: without evidence, and with."""
STRICT_DISTANCE = 0.02
"""The same without evidence, for an embedding model of which nothing was measured."""
MAX_TTL_S = 10 * 365 * 86_400.0


class TTLRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long answers of one kind live. One is meant that meets every condition named, each by any
    of its patterns; where several rules are meant, the shortest times count."""

    tags: tuple[str, ...] = ()
    """Shell patterns, of which one of its tags meets one: ``price:*``."""
    models: tuple[str, ...] = ()
    """Shell patterns of its scope's model."""
    namespaces: tuple[str, ...] = ()
    """Shell patterns of its scope's namespace."""
    words: tuple[str, ...] = ()
    """Words or phrases of the prompt, whole and in any case (``opening hours``); in scripts that
    are written without spaces, anywhere in it."""
    ttl_s: float
    """In place of ``exact_ttl_s`` and ``semantic_ttl_s``; a caller may ask for less, never more."""
    stale_ttl_s: float | None = None
    """In place of the config's, where it is given."""


class _Default(float):
    """A distance that nobody gave."""


class ModelRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose prompts another model reads: those of a scope that meets every condition named, each by
    any of its shell patterns. Of several rules the first one counts."""

    model: str
    """Its name on the hub, or a directory."""
    tenants: tuple[str, ...] = ()
    locales: tuple[str, ...] = ()
    llms: tuple[str, ...] = ()
    """Patterns of the scope's model."""
    namespaces: tuple[str, ...] = ()
    max_distance: float | None = None
    """In place of the config's, which means nothing for another model; None: what was measured of
    it, or a strict one where nothing was."""


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """How a cache decides, keeps and waits. Raises ``ConfigError`` on nonsense.

    Processes that share answers must agree on ``name``, ``secret``, ``vector_dtype``, ``index``,
    ``partitions`` and ``index_per_tenant``.
    """

    name: str = "semcache"
    """Prefix of every key and of the index: letters, digits, ``_ . : -``, at most 64."""
    model: str | None = None
    """What embeds: a model's name on the hub, or a directory; None: what SEMCACHE_MODEL says, else
    the default one."""
    models: tuple[ModelRule, ...] = ()
    """Further models, each with an index of its own, for the scopes that its rules name. They are
    loaded in the background: until one is ready, its scopes have the exact tier only."""
    max_distance: float = _Default(DEFAULT_DISTANCE)
    """Largest cosine distance (0..2) at which another prompt's answer may be served, if no guard
    speaks against it. Where it is not given: 0.12 with the default model, for traffic that
    nobody has measured, and 0.02 with a model of which nothing was; calibrate it on your own
    (``semcache calibrate``). With ``target_precision`` or ``verified`` it is the ceiling of what
    they find, and 0.30 where it is not given."""
    target_precision: float | None = None
    """The share of right ones among the semantic hits (over 0.5, below 1) that each scope's
    distance is set for, from evidence of its own traffic; None: it is ``max_distance``."""
    verified: float | None = None
    """Each entry serves other prompts only as its own verdicts allow, so that of all requests near
    it at least this share (over 0.5, below 1) get a right answer; None: its scope decides."""
    review_distance: float = 0.25
    """How near (0..0.3) a stored answer must lie to a prompt that missed to be judged."""
    audit_share: float = 0.01
    """Of the semantic hits, the share (0..1) that is judged afterwards, in the background."""
    judge_rate: float | None = 1.0
    """The judge's calls a second on average (over 0), of which a minute's may be spent at once;
    None: no limit."""
    shadow: bool = False
    """Serve nothing: decide and measure what would have been served, and always call the LLM."""
    guards: tuple[str, ...] = GUARDS
    """What of two prompts' words speaks against serving one's answer to the other, however near
    they are: names of guards; ``()`` leaves it to the distance."""
    widenable: tuple[str, ...] = ()
    """Fields of a scope (up to three of ``locale``, ``model``, ``system_prompt``, ``temperature``,
    ``parameters``, ``corpus_version``) that a call may leave open by ``widen``. It finds what was
    stored while the same fields were named here, and each entry takes 160 bytes more in Redis for
    one field, 520 for three. With ``partitions``, other fields begin with an empty cache."""
    lenient_typing: bool = True
    """May a prompt typed plainly (all in lower case, without accents) be matched by meaning with
    one that differs from it in nothing but that? What else the tokenizer drops never may be."""
    min_score: float = 0.5
    """Smallest score (0..1) of the verifier, where there is one, at which another prompt's answer
    may be served; calibrate it (``semcache calibrate FILE --verifier NAME``)."""
    neighbours: int = 3
    """Entries read per search (1..100): a dead or foreign one must not hide a good one."""

    exact_ttl_s: float = 3_600.0
    """Seconds the exact tier may serve an entry (over 0, at most ten years)."""
    semantic_ttl_s: float = 14_400.0
    """Seconds the semantic tier may serve an entry (over 0, at most ten years)."""
    ttl_jitter: float = 0.1
    """Each entry lives a random 0..ttl_jitter (0..1) shorter, so that few expire at once."""
    ttl_rules: tuple[TTLRule, ...] = ()
    """Times to live of answers that their tags, model, namespace or words tell apart."""
    stale_ttl_s: float = 0.0
    """Seconds (0 to ten years) after a tier's time to live in which it still serves an answer at
    once, while the answer is made anew in the background, once over all processes: the LLM call of
    a caller who has been answered."""
    early_refresh: float = 0.0
    """Make an answer anew before its time is up, the likelier the nearer that is and the longer
    making it took, so that what is asked all the time never ends: 1 by the rule of XFetch (Vattani
    et al. 2015), more (to 100) for earlier; 0: never."""
    sliding_ttl: bool = False
    """Does a hit begin the entry's time to live anew? Within ``max_ttl_s``, which it needs."""
    max_ttl_s: float | None = None
    """Seconds (to ten years) from when an answer is stored beyond which it is served by nobody,
    whatever slides, and whatever rules and callers say; None: no limit."""
    error_ttl_s: float = 0.0
    """Seconds (0..60) in which the same prompt is not asked of the LLM again after it raised: who
    asks gets the same error."""
    version_lease_s: float = 1.0
    """Seconds (0.05..60) that a namespace's version may be relied on: the longest that a process
    which heard nothing of ``bump_version`` goes by the old one."""

    store_timeout_s: float = 1.0
    """Seconds an operation of the store may take from the moment it was asked for, waiting and
    connecting included. The first one to take longer finds out for all: until the store is back,
    lookups miss at once."""
    lookup_budget_s: float = 10.0
    """Seconds a lookup may wait for the embedder and the search before it counts as a miss. Where
    the embedder is foreseen to take half of that, a request is turned away at once
    (``OverloadedError``), since what the cache cannot look up in time must not all become LLM
    calls; a ``lookup`` is a miss."""
    close_timeout_s: float = 5.0
    """Seconds that closing waits for answers which are there but not stored yet."""
    max_llm_calls: int = 1_000
    """LLM calls of this process under way at most (1 to a million). Where the LLM says that they
    are too many (a time-out; an error whose status is 429, 503 or 529), fewer, until it stops."""
    llm_wait_s: float = 10.0
    """Seconds an LLM call may wait for its turn before its callers get ``OverloadedError``; at once
    where it is foreseen to take longer."""
    generate_timeout_s: float = 600.0
    """Seconds an LLM call may take before its callers get ``TimeoutError``."""
    share_flights: bool = True
    """Callers in other processes on the same Redis share an LLM call under way, as those of this
    process do; one round trip more for a miss. Where the store cannot, each process calls for
    itself."""
    lease_s: float = 6.0
    """Seconds (0.1 to a day) without a sign of life after which another process takes an LLM call
    over."""
    finish_abandoned: bool = True
    """When every caller of a flight has left: finish and store the paid answer, or cancel it."""

    tenant_entries: int | None = None
    """Entries that a tenant may have (1 to a billion): what is over is delivered and not stored.
    Counted in the store every 5 s, and what this process wrote since; None, as of each quota: no
    limit."""
    tenant_writes: float | None = None
    """Answers that a tenant may store a second (0.001 to a million) in this process, a second's at
    once; what is over is delivered and not stored."""
    tenant_flights: int | None = None
    """LLM calls of a tenant under way in this process (1 to a million); its callers over that get
    ``OverloadedError``."""
    tenant_verdicts: float | None = None
    """Requests of a tenant that may be judged a second (0.001 to a million) in this process, a
    minute's at once."""

    max_prompt_bytes: int = 262_144
    """Longer prompts (UTF-8) bypass the cache."""
    max_answer_bytes: int = 1_048_576
    """Longer answers (UTF-8) are returned but not stored."""
    embedding_cache_size: int = 10_000
    """Vectors kept in memory by text, least recently used dropped first (0 = none)."""

    refuse_personal: bool = True
    """Is an answer not kept, and its LLM call not shared, where the prompt tells who asks (a name,
    an age, an e-mail address, a telephone number, a secret, ...); and not kept where the answer has
    a card, account or social security number or a secret in it? What ``store`` is given is kept."""
    min_llm_s: float = 0.0
    """Seconds (0 to a day) of LLM call below which an answer is delivered and not stored: it is
    as fast made anew."""
    local_answers: int = 0
    """Exact answers kept in this process (0 = none), by wording and scope. Redis reports changes by
    any process, so one may be served until the report arrives: usually within a millisecond, and
    with the connection lost unnoticed, 1 s + ``store_timeout_s``."""
    vector_dtype: Literal["float32", "float16"] = "float32"
    """How vectors are kept in Redis. float16 takes a third less memory, for distances that are off
    by 1e-4; it needs Search 2.10 (Redis Stack 7.4, Redis 8)."""
    index: Literal["hnsw", "flat"] = "hnsw"
    """Approximate search whose cost grows with log(entries), or exact search with all of them."""
    partitions: int = 1
    """Parts (1..64) that scopes are spread over, which a Redis Cluster keeps on different nodes: as
    many as it has masters, or a multiple. Another number begins with an empty cache."""
    index_per_tenant: bool = False
    """Are each tenant's entries in an index of their own, made when it first stores something? Then
    no tenant's are in the way of another's searches. For a few hundred tenants, in one partition:
    an index has room for 1,024 vectors from its first one (2.2 MB where they have 384 numbers), and
    what concerns all tenants asks each of them. Turned on or off, the cache begins empty."""
    connections: int = 4
    """Connections to a Redis server at most (2..100): few, each with deep pipelines; one of them is
    kept for writing. Verdicts, where there are any, are noted over one more, and other processes'
    letters are read over one for each partition."""
    secret: str = field(default="", repr=False)
    """Keys the hashes that stand for scopes, tags and prompts in Redis."""
    encryption_keys: tuple[str, ...] = field(default=(), repr=False)
    """Seal what lies in Redis with AES-256-GCM (extra: ``encryption``): 32 random bytes each, in
    base64 or hex (``openssl rand -base64 32``). The first one seals, all open; with any, what lies
    there in clear is not read. Vectors stay in clear."""

    compress_over_bytes: int | None = None
    """Entries over so many bytes (1 to 2^29) are compressed with zstd (extra: ``zstd``, which who
    reads them needs as well: without it they are misses); None: none. Sizes tell more of what is
    sealed then: whoever sees them, and may choose a part of a prompt, can try to guess the rest."""

    @property
    def has_distance(self) -> bool:
        """Did somebody give ``max_distance``?"""
        return not isinstance(self.max_distance, _Default)

    def for_model(self, measured: float | None) -> CacheConfig:
        """With what was ``measured`` of an embedding model, or a strict distance where nothing was,
        in place of one that nobody gave. What evidence finds is the same for any model."""
        if self.has_distance:
            return self
        return replace(self, max_distance=self.distance_of(measured))

    def distance_of(self, measured: float | None) -> float:
        """``max_distance`` where nobody gave it, for a model of which ``measured`` is known."""
        if self.learns:
            return LEARNT_CEILING
        return STRICT_DISTANCE if measured is None else measured

    @property
    def model_names(self) -> tuple[str, ...]:
        """Of all models, the cache's own first."""
        named = (self.model or DEFAULT_MODEL, *(rule.model for rule in self.models))
        return tuple(dict.fromkeys(named))

    @property
    def learns(self) -> bool:
        """Is a precision asked for, rather than a distance?"""
        return self.target_precision is not None or self.verified is not None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", str(self.name)):
            raise ConfigError(
                f"name={self.name!r}: use 1 to 64 letters, digits or any of '_', '.', ':', '-'."
            )
        if not self.has_distance and self.learns:
            object.__setattr__(self, "max_distance", _Default(LEARNT_CEILING))
        check_max_distance(self.max_distance)
        if self.target_precision is not None and self.verified is not None:
            raise ConfigError("Give target_precision or verified, not both.")
        for name in ("target_precision", "verified"):
            if getattr(self, name) is not None:
                _check_share(name, getattr(self, name))
        _check_range("review_distance", self.review_distance, 0.0, 0.3)
        _check_range("audit_share", self.audit_share, 0.0, 1.0)
        _check_range("min_score", self.min_score, 0.0, 1.0)
        if self.judge_rate is not None:
            _check_range("judge_rate", self.judge_rate, 0.001, 1e6)
        for name in (
            *("lenient_typing", "refuse_personal", "shadow", "index_per_tenant"),
            *("share_flights", "sliding_ttl"),
        ):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name}={getattr(self, name)!r}: must be True or False.")
        check_ttl("exact_ttl_s", self.exact_ttl_s)
        check_ttl("semantic_ttl_s", self.semantic_ttl_s)
        _check_range("ttl_jitter", self.ttl_jitter, 0.0, 1.0, below=True)
        _check_range("stale_ttl_s", self.stale_ttl_s, 0.0, MAX_TTL_S)
        _check_range("early_refresh", self.early_refresh, 0.0, 100.0)
        _check_range("error_ttl_s", self.error_ttl_s, 0.0, 60.0)
        _check_range("version_lease_s", self.version_lease_s, 0.05, 60.0)
        if self.max_ttl_s is not None:
            check_ttl("max_ttl_s", self.max_ttl_s)
        elif self.sliding_ttl:
            raise ConfigError("sliding_ttl needs max_ttl_s, so that no answer lives for ever.")
        object.__setattr__(self, "ttl_rules", _check_rules(self.ttl_rules))
        object.__setattr__(self, "models", _check_models(self.models))
        stale = [self.stale_ttl_s, *(rule.stale_ttl_s or 0.0 for rule in self.ttl_rules)]
        if self.max_ttl_s is not None and max(stale) >= self.max_ttl_s:
            raise ConfigError(
                f"max_ttl_s={self.max_ttl_s!r} must be over every stale_ttl_s, which it includes: "
                "an answer would be stale from the start."
            )
        for name in (
            *("store_timeout_s", "lookup_budget_s", "close_timeout_s"),
            *("generate_timeout_s", "llm_wait_s"),
        ):
            _check_range(name, getattr(self, name), 0.001, 86_400.0)
        _check_range("lease_s", self.lease_s, 0.1, 86_400.0)
        _check_range("min_llm_s", self.min_llm_s, 0.0, 86_400.0)
        _check_count("neighbours", self.neighbours, 1, 100)
        _check_count("max_llm_calls", self.max_llm_calls, 1, 10**6)
        _check_count("partitions", self.partitions, 1, 64)
        if self.index_per_tenant and self.partitions > 1:
            raise ConfigError(
                "index_per_tenant needs partitions=1: tenants divide the entries already."
            )
        _check_count("connections", self.connections, 2, 100)
        for name in ("tenant_writes", "tenant_verdicts"):
            if getattr(self, name) is not None:
                _check_range(name, getattr(self, name), 0.001, 1e6)
        if self.tenant_entries is not None:
            _check_count("tenant_entries", self.tenant_entries, 1, 10**9)
        if self.compress_over_bytes is not None:
            _check_count("compress_over_bytes", self.compress_over_bytes, 1, 2**29)
        if self.tenant_flights is not None:
            _check_count("tenant_flights", self.tenant_flights, 1, 10**6)
        _check_count("max_prompt_bytes", self.max_prompt_bytes, 1, 2**29)
        _check_count("max_answer_bytes", self.max_answer_bytes, 1, 2**29)
        _check_count("embedding_cache_size", self.embedding_cache_size, 0, 10**9)
        _check_count("local_answers", self.local_answers, 0, 10**9)
        object.__setattr__(self, "guards", check_guards(self.guards))
        object.__setattr__(self, "widenable", _check_fields("widenable", self.widenable))
        if len(self.widenable) > 3:
            raise ConfigError("widenable: name three fields at most.")
        _check_choice("vector_dtype", self.vector_dtype, ("float32", "float16"))
        _check_choice("index", self.index, ("hnsw", "flat"))
        if len(str(self.secret).encode()) > 64:
            raise ConfigError("secret must be a str of at most 64 bytes in UTF-8.")
        object.__setattr__(self, "encryption_keys", _check_keys(self.encryption_keys))


def check_max_distance(value: object) -> float:
    """A cosine distance threshold: finite, 0..2."""
    return _check_range("max_distance", value, 0.0, 2.0)


def _check_share(name: str, value: object) -> None:
    if _check_range(name, value, 0.5, 1.0, below=True) == 0.5:
        raise ConfigError(f"{name}={value!r}: must be over 0.5.")


def check_guards(value: object) -> tuple[str, ...]:
    """Names of guards, each one of ``GUARDS``."""
    if isinstance(value, str) or not isinstance(value, Collection):
        raise ConfigError("guards must be a collection of names; wrap a single one in a tuple.")
    if strange := [name for name in value if name not in GUARDS]:
        raise ConfigError(f"guards: there is no {strange[0]!r}; there are {', '.join(GUARDS)}.")
    return tuple(value)


def check_widen(value: object, widenable: Collection[str]) -> tuple[str, ...]:
    """What a call leaves open of its scope, all of it ``widenable``."""
    fields = _check_fields("widen", value)
    if strange := [name for name in fields if name not in widenable]:
        raise ConfigError(
            f"widen: {strange[0]!r} is not to be widened here; the operator lets it be by "
            f"CacheConfig(widenable=...), which names {', '.join(widenable) or 'nothing'}."
        )
    return fields


def _check_fields(name: str, value: object) -> tuple[str, ...]:
    """Names of fields of a scope, in the order of ``WIDENABLE``."""
    if isinstance(value, str) or not isinstance(value, Collection):
        raise ConfigError(f"{name} must be a collection of names; wrap a single one in a tuple.")
    if strange := [one for one in value if one not in WIDENABLE]:
        raise ConfigError(
            f"{name}: {strange[0]!r} cannot be left open; of a scope's fields, these can: "
            f"{', '.join(WIDENABLE)}."
        )
    return tuple(one for one in WIDENABLE if one in value)


def encryption_key(text: object) -> bytes:
    """The 32 bytes that a text of base64 (either alphabet) or hex stands for. The error does not
    show it."""
    if isinstance(text, str):
        try:
            if len(text.strip()) == 64:
                key = bytes.fromhex(text.strip())  # fewer where there are spaces among them
            else:
                plain = text.strip().rstrip("=").replace("-", "+").replace("_", "/")
                key = b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        except (ValueError, binascii.Error):
            key = b""
        if len(key) == 32:
            return key
    raise ConfigError(
        "encryption_keys: one of them is not 32 bytes in base64 or hex; make one with: "
        "openssl rand -base64 32"
    ) from None


def _check_keys(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Collection):
        raise ConfigError(
            "encryption_keys must be a collection of keys; wrap a single one in a tuple."
        )
    for key in value:
        encryption_key(key)
    return tuple(value)


def check_ttl(name: str, value: object) -> float:
    """A time to live in seconds: over 0, at most ten years."""
    checked = _check_range(name, value, 0.0, MAX_TTL_S)
    if checked < 0.001:
        raise ConfigError(
            f"{name}={value!r}: must be at least 0.001 s; to drop an entry, invalidate it."
        )
    return checked


def _check_rules(value: object) -> tuple[TTLRule, ...]:
    if not isinstance(value, Collection) or not all(isinstance(one, TTLRule) for one in value):
        raise ConfigError("ttl_rules must be a collection of TTLRule.")
    for n, rule in enumerate(value):
        check_ttl(f"ttl_rules[{n}].ttl_s", rule.ttl_s)
        if rule.stale_ttl_s is not None:
            _check_range(f"ttl_rules[{n}].stale_ttl_s", rule.stale_ttl_s, 0.0, MAX_TTL_S)
        named = (rule.tags, rule.models, rule.namespaces, rule.words)
        if not any(named) or any(isinstance(part, str) for part in named):
            raise ConfigError(
                f"ttl_rules[{n}] must name tags, models, namespaces or words, each as a list."
            )
    return tuple(value)


def _check_models(value: object) -> tuple[ModelRule, ...]:
    if not isinstance(value, Collection) or not all(isinstance(one, ModelRule) for one in value):
        raise ConfigError("models must be a collection of ModelRule.")
    for n, rule in enumerate(value):
        if rule.max_distance is not None:
            _check_range(f"models[{n}].max_distance", rule.max_distance, 0.0, 2.0)
        named = (rule.tenants, rule.locales, rule.llms, rule.namespaces)
        if not rule.model or not any(named) or any(isinstance(part, str) for part in named):
            raise ConfigError(
                f"models[{n}] must name a model, and tenants, locales, llms or namespaces, each as "
                "a list."
            )
    return tuple(value)


def check_age(value: object) -> float:
    """An age in seconds: 0 to ten years."""
    return _check_range("max_age_s", value, 0.0, MAX_TTL_S)


def check_limit(value: object, high: int = 100, name: str = "limit") -> int:
    """How many to give at most: a whole number from 1 to ``high``."""
    _check_count(name, value, 1, high)
    return int(value)  # type: ignore[call-overload, no-any-return]


def _check_range(
    name: str, value: object, low: float, high: float, *, below: bool = False
) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{name}={value!r}: must be a finite number.")
    if not low <= value <= high or (below and value == high):
        upper = "below" if below else "to"
        raise ConfigError(f"{name}={value!r}: must be {low:g} {upper} {high:g}.")
    return float(value)


def _check_count(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name}={value!r}: must be a whole number from {low} to {high}.")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name}={value!r}: must be one of {', '.join(choices)}.")
