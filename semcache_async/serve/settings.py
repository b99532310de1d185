"""Every option of the service, one row each; where its value comes from is said at
``read_settings``."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from semcache_async.config import CacheConfig
from semcache_async.errors import ConfigError
from semcache_async.serve.options import (
    ENV,
    Option,
    Patterns,
    Row,
    check_ranges,
    convert,
    ended,
    flag_of,
    option,
    read_file,
    rows_of,
    variable_of,
)

__all__ = [
    "DEFAULT",
    "HEADERS",
    "OPTIONS",
    "Patterns",
    "Settings",
    "UpstreamTable",
    "read_settings",
    "strange_variables",
]

_WHERE, _LLM, _CACHE, _LEARN = "Where it listens", "The LLM", "The cache", "What it learns"
_MODEL = "The embedding model"
_WHO, _BYPASS, _LIMITS, _REVIEW = "Who may ask", "What bypasses the cache", "Limits", "Review"
_UPSTREAM_KEYS = (variable_of("upstream_key"), "OPENAI_API_KEY")
_EMBEDDINGS_KEYS = {"api.openai.com": "OPENAI_API_KEY", "azure.com": "AZURE_OPENAI_API_KEY"}
"""Where SEMCACHE_EMBEDDINGS_KEY holds no key, these do, for their own hosts alone."""
_OTHER_VARIABLES = {
    *(variable_of(name) for name in ("config", "url", "redis_url", "api_key", "upstream_key")),
    *(variable_of(name) for name in ("model_dir", "cache_dir", "backend", "simulator_api_key")),
    *(variable_of(name) for name in ("stream_url", "embeddings_key")),
}
"""What the commands read besides the service's options."""
_KUBERNETES = re.compile(rf"{ENV}(?:\w+_)?(?:SERVICE_(?:HOST|PORT)|PORT_\d+_(?:TCP|UDP))")
"""What Kubernetes sets in every pod next to a service whose name begins with semcache."""
HEADERS = ("traceparent", "tracestate", "user-agent", "http-referer", "x-title")
"""What says who asks and why, and has no influence on the answer."""
_NEVER = re.compile(
    r"authorization|cookie|host|connection|expect|te|upgrade|api-key|x-api-key"
    r"|(content|proxy|transfer|accept|keep)-.*",
    re.IGNORECASE,
)
"""Headers that are the service's own affair."""
_OVERRULED = {
    "upstream_url": ("simulate_llm",),
    "upstreams": ("simulate_llm",),
    "simulate_llm": ("upstream_url", "upstreams"),
}
"""Whoever names an LLM overrules those of the other kind."""
DEFAULT = "default"
"""What the upstream of ``upstream_url``, or the simulated one, is called."""
_Api: TypeAlias = Literal["chat", "completions", "messages", "responses", "embeddings"]


class UpstreamTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of several upstreams."""

    name: str
    """What metrics and the log call it."""
    url: str
    """Its base URL."""
    models: tuple[str, ...]
    """Shell patterns of the models that it serves, case and all."""
    key_env: str = ""
    """The variable that holds its key; "": it has none."""
    apis: tuple[_Api, ...] = ()
    """Which it speaks; (): that is found out by asking."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What ``semcache serve`` is told. Raises ``ConfigError`` on nonsense."""

    host: str = option("127.0.0.1", "Address; 0.0.0.0 for every interface.", group=_WHERE)
    port: int = option(8080, "TCP port; 0 for a free one.", group=_WHERE, low=0, high=65_535)
    workers: int = option(1, "Processes that share the port.", group=_WHERE, low=1, high=256)

    upstream_url: str | None = option(
        None,
        "Base URL of an OpenAI-compatible service, such as https://api.openai.com/v1. Its key: "
        "SEMCACHE_UPSTREAM_KEY or OPENAI_API_KEY. With a query where it needs one: Azure's "
        "api-version.",
        group=_LLM,
    )
    upstreams: tuple[UpstreamTable, ...] = option(
        (),
        "Further upstreams by the models they serve: in the file a table [[upstreams]] each, with "
        "name, url, models (shell patterns; the first match counts), key_env (the variable that "
        "holds its key) and apis; elsewhere a list in JSON. upstream_url has all other models.",
        group=_LLM,
        shown="none",
    )
    simulate_llm: bool = option(
        False, "Answer from a simulated LLM instead of upstream_url.", group=_LLM
    )
    upstream_key: str = field(default="", repr=False)
    """The key for upstream_url. Read from SEMCACHE_UPSTREAM_KEY or OPENAI_API_KEY alone."""
    upstream_keys: dict[str, str] = field(default_factory=dict, repr=False)
    """Those of ``upstreams``, by the variable that each was read from."""
    upstream_headers: tuple[str, ...] = option(
        HEADERS,
        "Headers of a request that go upstream with it; with commas. Those that are not here by "
        "default are part of the scope.",
        group=_LLM,
        shown=", ".join(HEADERS),
    )
    upstream_query: tuple[str, ...] = option(
        ("api-version",),
        "Fields of a request's query that go upstream with it, as part of the scope; with commas.",
        group=_LLM,
        shown="api-version",
    )
    upstream_connect_timeout_s: float = option(
        10.0, "Seconds to connect to the upstream.", group=_LLM, low=0.001, high=3_600
    )
    upstream_first_byte_timeout_s: float = option(
        300.0,
        "Seconds from a request to the first byte of its answer; one that is not streamed comes as "
        "a whole at its end.",
        group=_LLM,
        low=0.001,
        high=86_400,
    )
    upstream_idle_timeout_s: float = option(
        120.0,
        "Seconds between two bytes of an answer; comments in a stream count.",
        group=_LLM,
        low=0.001,
        high=86_400,
    )
    upstream_timeout_s: float = option(
        600.0,
        "Seconds for one whole call of the upstream, its retries included.",
        group=_LLM,
        low=0.001,
        high=86_400,
    )
    upstream_retry_share: float = option(
        0.1,
        "Retries of the upstream for each call, on average, and six a minute besides; 0 for none.",
        group=_LLM,
        low=0,
        high=1,
    )
    usd_per_million_tokens_in: float = option(
        2.5,
        "Price of prompt tokens, for the estimate of what hits save.",
        group=_LLM,
        low=0,
        high=1e6,
    )
    usd_per_million_tokens_out: float = option(
        10.0, "Price of completion tokens, likewise.", group=_LLM, low=0, high=1e6
    )

    embeddings_url: str | None = option(
        None,
        "Embed by this OpenAI-compatible service instead of a model in this process: EVERY PROMPT "
        "IS SENT THERE. Its base URL, such as https://api.openai.com/v1, or a deployment of "
        "Azure's with its api-version. Its key: SEMCACHE_EMBEDDINGS_KEY, and for those two also "
        "OPENAI_API_KEY and AZURE_OPENAI_API_KEY.",
        group=_MODEL,
        shown="embed in this process",
    )
    embeddings_model: str | None = option(
        None, "The name of its model.", group=_MODEL, shown="none"
    )
    embeddings_key: str = field(default="", repr=False)
    """The key for embeddings_url. Read from variables alone."""
    embeddings_dimensions: int | None = option(
        None,
        "Ask it for vectors of so many numbers, as some models can give.",
        group=_MODEL,
        shown="the model's own",
    )
    embeddings_prefix: str = option(
        "", 'What its model wants before each text: "query: ".', group=_MODEL, shown="none"
    )
    embeddings_revision: str = option(
        "",
        "Whatever tells its model from another one of the same name: a new one, a new index.",
        group=_MODEL,
        shown="none",
    )
    embeddings_window: int = option(
        512,
        "Tokens that its model reads, by an estimate. Longer prompts are not sent, and "
        "have the exact tier only.",
        group=_MODEL,
        low=1,
        high=10**6,
    )
    embeddings_texts: int = option(
        32, "Texts in one request to it.", group=_MODEL, low=1, high=2_048
    )
    embeddings_timeout_s: float = option(
        5.0,
        "Seconds for one request to it, its retries included; after that it counts as down, and "
        "the exact tier answers alone until it is back.",
        group=_MODEL,
        low=0.001,
        high=3_600,
    )
    usd_per_million_tokens_embedded: float = option(
        0.0, "Its price, which is counted.", group=_MODEL, low=0, high=1e6
    )

    judge_model: str | None = option(
        None,
        "A model of the upstream that says whether stored answers are right, after callers were "
        "answered; without one, only people do.",
        group=_LEARN,
        shown="none",
    )

    redis_url: str | None = option(
        None,
        "Redis URL (redis://, rediss://, unix://, redis+sentinel://, redis+cluster://), or "
        "embedded:DIRECTORY; without one, an embedded Redis that ends with the service.",
        group=_CACHE,
        shown="an embedded Redis",
        secret=True,
    )
    verifier: str | None = option(
        None,
        "A cross-encoder, by name or directory, that compares two prompts before one's answer is "
        "served to the other; min_score is what it has to give.",
        group=_CACHE,
        shown="none",
    )
    corpus_version: str = option(
        "",
        "Part of every scope: a new one makes all earlier answers unreachable.",
        group=_CACHE,
        shown="none",
    )

    api_keys_file: Path | None = option(
        None,
        "Hashed API keys with their tenants (TOML or JSON); without it everybody is an admin.",
        group=_WHO,
        shown="everybody may do everything",
    )
    allow_anonymous: bool = option(
        False,
        'With API keys: answer requests that bring none too, as the tenant "" and no admin.',
        group=_WHO,
    )
    pass_keys: bool = option(
        False,
        "Callers bring their own keys for the upstream, which go there in place of the service's; "
        "each key is a tenant of its own. Needs the cache's secret; without api_keys_file.",
        group=_WHO,
    )
    hide_similarity: bool = option(
        False,
        "Tell callers neither similarity nor distance: both say what others have asked.",
        group=_WHO,
    )
    cors_origins: tuple[str, ...] = option(
        (),
        "Origins whose pages may read the answers: https://host[:port], app://name and the like, "
        "null, or *; with commas.",
        group=_WHO,
        shown="none",
    )
    allowed_hosts: tuple[str, ...] = option(
        (),
        "Names by which the service may be asked, besides addresses and local names: host.example, "
        "*.example, or * for any; with commas. Checked where requests without a key are answered, "
        "and wherever a name is given.",
        group=_WHO,
        shown="local names",
    )
    log_prompts: bool = option(False, "Write prompts into the log.", group=_WHO)

    max_temperature: float = option(
        0.99,
        "Requests with a higher temperature bypass it: who asks for one of 1 or more, and several "
        "times, wants several answers.",
        group=_BYPASS,
        low=0,
        high=2,
    )
    bypass_tools: bool = option(True, "Requests that offer tools bypass it.", group=_BYPASS)
    pure_tools: tuple[str, ...] = option(
        (),
        "Names of tools whose calls and results depend on the conversation alone, * for any; with "
        "commas. Requests that offer only such are answered from the cache, for the very same "
        "conversation; calls of them are kept.",
        group=_BYPASS,
        shown="none",
    )
    bypass_n: bool = option(True, "Requests for several choices bypass it.", group=_BYPASS)
    bypass_images: bool = option(
        True, "Requests with images, audio or files bypass it.", group=_BYPASS
    )
    bypass_personal: Patterns = option(
        True,
        "Prompts about the asker's own person or things bypass it: on, off, or in the file a list "
        "of regular expressions.",
        group=_BYPASS,
        shown="on",
    )
    bypass_time_bound: Patterns = option(
        True,
        "Prompts whose right answer changes with time, likewise.",
        group=_BYPASS,
        shown="on",
    )
    bypass_anew: Patterns = option(
        True,
        "Prompts that ask for something new each time (a joke, a password), likewise.",
        group=_BYPASS,
        shown="on",
    )

    min_answer_usd: float = option(
        0.0,
        "An answer whose tokens cost less, by the prices above, is not stored; one that says "
        "nothing of its tokens is.",
        group=_CACHE,
        low=0,
        high=1_000,
    )
    across_apis: bool = option(
        False,
        "Answers of plain text are shared between chat completions, messages and responses, "
        "whatever limit of tokens a request has: a longer stored answer is none for it.",
        group=_CACHE,
    )
    kept_by_id: bool = option(
        False,
        "Where keys have several tenants: callers may name what the upstream keeps (an earlier "
        "response, a conversation, a file) by its id. Whoever knows an id can read what it names, "
        "of any tenant.",
        group=_WHO,
    )
    finish_reasons: tuple[str, ...] = option(
        ("stop", "eos", "eos_token", "end", "end_turn", "stop_sequence", "completed"),
        "What upstreams call the end of an answer that is whole, in any case; others are not "
        "stored; with commas.",
        group=_CACHE,
        shown="stop, eos, eos_token, end, end_turn, stop_sequence, completed",
    )
    mask: tuple[str, ...] = option(
        (),
        "Regular expressions of what counts for nothing where requests are compared, in system "
        "messages as in prompts: a clock, an id; with commas, or in the file a list.",
        group=_CACHE,
        shown="none",
    )

    regenerate_s: float = option(
        0.0,
        "Seconds within which the same request by the same key asks for another answer: it reads "
        "nothing, and the new answer replaces the stored one. 0: never.",
        group=_CACHE,
        low=0,
        high=86_400,
    )

    max_body_bytes: int = option(
        8 * 2**20,
        "Bytes of a request's body, compressed or not. The default holds an image of 6 MB, and "
        "what is sent to do harm within it holds up a worker for a second at most.",
        group=_LIMITS,
        low=1_024,
        high=2**29,
    )
    body_timeout_s: float = option(
        20.0,
        "Seconds in which a body must have arrived whole.",
        group=_LIMITS,
        low=0.001,
        high=3_600,
    )
    keepalive_timeout_s: float = option(
        75.0,
        "Seconds that a connection may take to send the headers of its first request, or of the "
        "next.",
        group=_LIMITS,
        low=0.001,
        high=3_600,
    )
    worker_timeout_s: float = option(
        30.0,
        "Seconds without a sign of life after which one of several workers is killed and replaced.",
        group=_LIMITS,
        low=1,
        high=3_600,
    )
    drain_timeout_s: float = option(
        30.0,
        "Seconds that requests under way may take once the service is told to end.",
        group=_LIMITS,
        low=0,
        high=3_600,
    )

    otel: bool = option(
        False,
        "Tell OpenTelemetry of requests and metrics, by OTLP over HTTP; the variables "
        "OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME and so on say where to and how. Needs "
        "semcache-async[otel].",
        group=_REVIEW,
    )
    review_keep: int = option(
        1_000,
        "Hits near the threshold kept for review; 0 for none.",
        group=_REVIEW,
        low=0,
        high=10**6,
    )
    review_fraction: float = option(
        0.5,
        "Hits whose distance is at least this part of max_distance are near it.",
        group=_REVIEW,
        low=0,
        high=1,
    )

    cache: CacheConfig = field(default_factory=CacheConfig)
    """The cache's own options."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if not self.host:
            raise ConfigError("host is empty; 0.0.0.0 listens on every interface.")
        if self.upstream_url is not None:
            _check_url("upstream_url", self.upstream_url)
        if self.embeddings_url is not None:
            _check_url("embeddings_url", self.embeddings_url)
        if (self.embeddings_url is None) is not (self.embeddings_model is None):
            raise ConfigError(
                "Give embeddings_url and embeddings_model together, or neither; without a URL the "
                "model of this process is used."
            )
        if self.embeddings_url is not None and self.cache.model is not None:
            raise ConfigError("Give model or embeddings_url, not both.")
        if self.simulate_llm and (self.upstream_url is not None or self.upstreams):
            raise ConfigError("Give upstream_url and upstreams, or simulate_llm, not both.")
        _check_upstreams(self.upstreams)
        if self.pass_keys:
            self._check_pass_keys()
        for origin in self.cors_origins:
            if origin != "*" and not re.fullmatch(
                r"null|[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s]+", origin
            ):
                raise ConfigError(
                    f"cors_origins: {origin!r} is no origin; use scheme://host[:port], null or *."
                )
        for name in self.upstream_headers:
            if _NEVER.fullmatch(name) or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise ConfigError(
                    f"upstream_headers: {name!r} cannot be passed on; it is no header's name, or "
                    "the service's own affair."
                )
        for host in self.allowed_hosts:
            if not re.fullmatch(r"\*|(\*\.)?[^\s/:@*]+", host):
                raise ConfigError(
                    f"allowed_hosts: {host!r} is no name; use host.example, without scheme and "
                    "port, *.example or *."
                )
        if "parameters" in self.cache.widenable:
            raise ConfigError(
                "widenable: a service's parameters hold the conversation before a prompt, and the "
                "API of the answer; they cannot be left open here."
            )
        for name in ("bypass_personal", "bypass_time_bound", "bypass_anew", "mask"):
            _check_patterns(name, getattr(self, name))
        for key in (self.upstream_key, self.embeddings_key, *self.upstream_keys.values()):
            if not key.isascii() or not key.isprintable():
                raise ConfigError("A service's key has characters that no HTTP header can carry.")

    def _check_pass_keys(self) -> None:
        if self.api_keys_file is not None:
            raise ConfigError(
                "Give pass_keys or api_keys_file, not both: a key of the service that was mistyped "
                "or withdrawn would go to the upstream."
            )
        if not self.cache.secret:
            raise ConfigError(
                "pass_keys needs the cache's secret, which makes tenants of keys that cannot be "
                "guessed from them; set SEMCACHE_SECRET, to what openssl rand -hex 32 prints."
            )

    @property
    def remote(self) -> dict[str, Any] | None:
        """What ``embed.open_embedder`` is told of the service that embeds; None: nobody does."""
        if self.embeddings_url is None:
            return None
        return {
            "url": self.embeddings_url,
            "model": self.embeddings_model,
            "key": self.embeddings_key,
            "dimensions": self.embeddings_dimensions,
            "prefix": self.embeddings_prefix,
            "revision": self.embeddings_revision,
            "window": self.embeddings_window,
            "most_texts": self.embeddings_texts,
            "timeout_s": self.embeddings_timeout_s,
            "usd_per_million_tokens": self.usd_per_million_tokens_embedded,
        }

    @property
    def upstream_names(self) -> tuple[str, ...]:
        """Of all upstreams, in the order in which models are looked for."""
        names = tuple(table.name for table in self.upstreams)
        return names if names and self.upstream_url is None else (*names, DEFAULT)


_CACHE_FLAGS = {
    "name": Option(help="Prefix of the cache's keys in Redis.", group=_CACHE),
    "model": Option(
        help="What embeds: a model's name on the hub, or a directory.",
        group=_CACHE,
        shown="the default one",
    ),
    "max_distance": Option(
        help="Largest cosine distance at which another prompt's answer is served.",
        group=_CACHE,
        low=0,
        high=2,
        shown="0.12; 0.30 with a target",
    ),
    "min_score": Option(
        help="Smallest score of the verifier at which another prompt's answer is served.",
        group=_CACHE,
        low=0,
        high=1,
    ),
    "target_precision": Option(
        help="The share of right ones among the semantic hits that each scope's distance is set "
        "for, from verdicts on its own traffic; max_distance is the most.",
        group=_LEARN,
        low=0.5,
        high=1,
        shown="off",
    ),
    "verified": Option(
        help="Instead of that: serve from an entry only as its own verdicts allow, so that this "
        "share of the requests near it gets a right answer.",
        group=_LEARN,
        low=0.5,
        high=1,
        shown="off",
    ),
    "shadow": Option(
        help="Serve nothing: always ask the LLM, and tell what would have been served.",
        group=_LEARN,
    ),
    "audit_share": Option(
        help="Of the semantic hits, the share that is judged afterwards.",
        group=_LEARN,
        low=0,
        high=1,
    ),
    "judge_rate": Option(
        help="Calls of the judge a second, on average.", group=_LEARN, low=0.001, high=1e6
    ),
    "exact_ttl_s": Option(
        help="Seconds that an answer serves the very same prompt.", group=_CACHE, shown="1 h"
    ),
    "semantic_ttl_s": Option(
        help="Seconds that an answer serves other wordings.", group=_CACHE, shown="4 h"
    ),
    "local_answers": Option(
        help="Answers kept in each process's memory too.", group=_CACHE, low=0, high=10**9
    ),
}
"""Options of the cache that are flags too; all are variables and keys of the file."""
_NO_OPTIONS = ("cache", "upstream_key", "upstream_keys", "embeddings_key")
_OWN = {name: row for name, row in rows_of(Settings).items() if name not in _NO_OPTIONS}
_CACHED = rows_of(CacheConfig, _CACHE_FLAGS)
_TABLES = {"": _OWN, "cache": _CACHED}
OPTIONS: dict[str, Row] = _CACHED | _OWN
"""Every option by name, the cache's too."""


def read_settings(
    flags: Mapping[str, Any],
    *,
    env: Mapping[str, str] | None = None,
    file: Path | None = None,
    asks_llm: bool = True,
) -> Settings:
    """Settings from ``flags`` (by field name; the cache's fields too; None: not given), else from
    environment variables (SEMCACHE_ and the field's name in capitals), else from a TOML file (by
    field name, the cache's under ``[cache]``), else the defaults.

    With ``asks_llm`` there must be an upstream. Raises ``ConfigError``.
    """
    env = os.environ if env is None else env
    keys = variable_of("encryption_keys")
    if keys in env and not env[keys].strip(" \t\n,"):
        raise ConfigError(
            f"{keys} is set and holds no key, so that nothing would be sealed; unset it if that is "
            "meant, else make a key with: openssl rand -base64 32"
        )
    told = {"": {}, "cache": {}} if file is None else _read_file(file)
    own, cached = told[""], told["cache"]
    from_env = {name: text for name in OPTIONS if (text := _from_env(name, env)) is not None}
    from_flags = {name: value for name, value in flags.items() if value is not None}
    for shown, given in ((variable_of, from_env), (flag_of, from_flags)):
        for one, others in _OVERRULED.items():
            for other in others:
                if given.get(one) and not given.get(other):
                    own.pop(other, None)
        for name, value in given.items():
            into = own if name in _OWN else cached
            into[name] = convert(shown(name), value, OPTIONS[name])
    key = next((env[name] for name in _UPSTREAM_KEYS if env.get(name)), "").strip()
    if asks_llm and not any(own.get(name) for name in _OVERRULED):
        raise ConfigError(
            "No LLM to ask: name one with --upstream-url (such as https://api.openai.com/v1), or "
            "try the service with --simulate-llm."
        )
    embeddings_key = _read_embeddings_key(own.get("embeddings_url"), env)
    keys_of = _read_keys(own.get("upstreams", ()), env) if asks_llm else {}
    return Settings(
        **own,
        upstream_key=key,
        upstream_keys=keys_of,
        embeddings_key=embeddings_key,
        cache=CacheConfig(**cached),
    )


def strange_variables(
    env: Mapping[str, str] | None = None, *, named: Collection[str] = ()
) -> list[str]:
    """What to say of each variable that looks like an option and is none, a slip of the pen as a
    rule. ``named``: those that an option names."""
    known = {variable_of(name) for name in OPTIONS} | _OTHER_VARIABLES | set(named)
    told = []
    for name, text in sorted((os.environ if env is None else env).items()):
        if not name.startswith(ENV) or name in known:
            continue
        if _KUBERNETES.match(name) or text.startswith("tcp://"):
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        told.append(f"There is no option {name}{ended(near)}")
    return told


def _from_env(name: str, env: Mapping[str, str]) -> str | None:
    text = env.get(variable_of(name), "")
    text = text if name == "embeddings_prefix" else text.strip()  # which may end with a space
    if name == "port" and text.startswith("tcp://"):
        return None  # what Kubernetes sets in every pod next to a service named semcache
    return text or None


def _read_file(path: Path) -> dict[str, dict[str, Any]]:
    return read_file(path, _TABLES, refused=_NO_KEYS_IN_FILES)


_NO_KEYS_IN_FILES = {
    "upstream_key": "keep the upstream's key out of files; set SEMCACHE_UPSTREAM_KEY.",
    "embeddings_key": "keep the embedder's key out of files; set SEMCACHE_EMBEDDINGS_KEY.",
}


def _read_embeddings_key(url: str | None, env: Mapping[str, str]) -> str:
    host = f".{urlsplit(url or '').hostname or ''}"
    named = [name for domain, name in _EMBEDDINGS_KEYS.items() if host.endswith(f".{domain}")]
    known = (env.get(name, "").strip() for name in (variable_of("embeddings_key"), *named))
    return next(filter(None, known), "") if url else ""


def _read_keys(upstreams: Sequence[UpstreamTable], env: Mapping[str, str]) -> dict[str, str]:
    keys = {}
    for table in filter(lambda table: table.key_env, upstreams):
        keys[table.key_env] = key = env.get(table.key_env, "").strip()
        if not key:  # the name is not repeated: it may be a key, put in its variable's place
            raise ConfigError(
                f"upstreams: the variable that key_env of {table.name} names is not set; it holds "
                "that upstream's key."
            )
    return keys


def _check_upstreams(upstreams: Sequence[UpstreamTable]) -> None:
    seen = {DEFAULT}
    for table in upstreams:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", table.name):
            raise ConfigError("upstreams: a name is 1 to 64 letters, digits, '-', '_' or '.'.")
        where = f"upstreams: {table.name}"
        if table.name in seen:
            raise ConfigError(f"{where} is the name of another one; give each its own.")
        seen.add(table.name)
        _check_url(f"{where}: url", table.url)
        if not table.models or not all(table.models):
            raise ConfigError(f'{where}: models must name some, such as "gpt-*", or "*" for all.')
        if table.key_env and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", table.key_env):
            raise ConfigError(f"{where}: key_env must be the name of a variable, not a key.")


def _check_url(name: str, url: str) -> None:
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?(\?[^\s#]*)?", url):
        raise ConfigError(
            f"{name} must be http(s)://host[:port][/path][?query], without a user or fragment."
        )


def _check_patterns(name: str, patterns: Patterns) -> None:
    for pattern in () if isinstance(patterns, bool) else patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(f"{name}: {pattern!r} is no regular expression ({error}).") from error
