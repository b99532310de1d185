"""The index: created once by whoever comes first, refused when it has another shape."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

from semcache_async.errors import ConfigError, IndexMismatchError, StoreError

__all__ = [
    "ATTRIBUTES",
    "ENTRY",
    "NOTES",
    "OWNER",
    "SCOPE",
    "TAGS",
    "TENANT",
    "VECTOR",
    "IndexShape",
    "can_be_purged",
    "ensure_index",
    "is_missing_index",
    "size_of",
]

SCHEMA_VERSION = 2

SCOPE, TENANT, ATTRIBUTES, TAGS = b"scope", b"tenant", b"attr", b"tags"
VECTOR, ENTRY, NOTES, OWNER = b"vec", b"entry", b"notes", b"owner"
"""Fields of an entry's hash. The first four hold digests alone, ``attr`` also those by which calls
find it that leave fields of their scope open; ``entry`` is the JSON payload and ``notes`` what was
learnt of it, both sealed where there are keys: the fields that are returned. ``owner`` is the scope
of all versions, where that is another one."""

_HNSW = ("M", "16", "EF_CONSTRUCTION", "200", "EF_RUNTIME", "40")


class IndexShape(NamedTuple):
    """What the index has to look like."""

    dim: int
    dtype: str
    """``float32`` or ``float16``."""
    algorithm: str
    """``hnsw`` or ``flat``."""

    def fingerprint(self, embedder: str) -> str:
        """16 hex digits for the embedder's own fingerprint, this shape and the schema version."""
        text = f"{SCHEMA_VERSION}|{self.dim}|{self.dtype}|{self.algorithm}|{embedder}"
        return blake2b(text.encode(), digest_size=8).hexdigest()

    def create_command(self, index: str, prefix: str) -> tuple[str | bytes, ...]:
        """``FT.CREATE`` for this shape."""
        options = (
            "TYPE",
            self.dtype.upper(),
            "DIM",
            str(self.dim),
            "DISTANCE_METRIC",
            "COSINE",
            *(_HNSW if self.algorithm == "hnsw" else ()),
        )
        return (
            *("FT.CREATE", index, "ON", "HASH", "PREFIX", "1", prefix, "SCHEMA"),
            *(SCOPE, "TAG", TENANT, "TAG", ATTRIBUTES, "TAG", TAGS, "TAG"),
            *(VECTOR, "VECTOR", self.algorithm.upper(), str(len(options)), *options),
        )

    def check(self, index: str, prefix: str, info: Mapping[bytes, Any]) -> None:
        """Raise ``IndexMismatchError`` unless ``FT.INFO`` (RESP3) describes this shape."""
        wanted: dict[str, object] = {
            "prefix": prefix,
            "scope": "TAG",
            "tenant": "TAG",
            "attr": "TAG",
            "tags": "TAG",
            "vec": "VECTOR",
            "algorithm": self.algorithm.upper(),
            "type": self.dtype.upper(),
            "dimension": self.dim,
            "metric": "COSINE",
        }
        found = _describe(info)
        wrong = [
            f"{name} is {found.get(name, 'absent')}, needed is {value}"
            for name, value in wanted.items()
            if found.get(name) != value
        ]
        if wrong:
            raise IndexMismatchError(
                f"The index {index!r} exists with another shape ({'; '.join(wrong)}). Choose "
                f"another CacheConfig.name, or drop it: FT.DROPINDEX {index} DD"
            )


async def ensure_index(
    one: Callable[..., Awaitable[Any]], index: str, prefix: str, shape: IndexShape
) -> None:
    """Create the index, or check the one that is there; ``one`` runs one command or raises.

    Safe for any number of processes at once: whoever comes second finds it."""
    info = await _info(one, index)
    if info is None:
        try:
            await one(*shape.create_command(index, prefix))
        except StoreError as error:
            _check_creation(error, shape)
        info = await _info(one, index)
    shape.check(index, prefix, info or {})


async def _info(one: Callable[..., Awaitable[Any]], index: str) -> Mapping[bytes, Any] | None:
    try:
        info = await one("FT.INFO", index)
    except StoreError as error:
        if is_missing_index(error):
            return None
        raise
    if not isinstance(info, dict):
        raise StoreError("FT.INFO did not answer in RESP3; use Redis 7.2 or later.")
    return info


def can_be_purged(info: Mapping[bytes, Any]) -> bool:
    """Can the index that ``FT.INFO`` (RESP3) describes be searched for whatever is invalidated?"""
    known = _describe(info)
    return all(known.get(name.decode()) == "TAG" for name in (SCOPE, TENANT, ATTRIBUTES, TAGS))


def size_of(info: Mapping[bytes, Any]) -> tuple[int, int]:
    """Entries of the index that ``FT.INFO`` (RESP3) describes, and its own bytes."""
    parts = (info.get(b"vector_index_sz_mb", 0), info.get(b"total_index_memory_sz_mb", 0))
    return int(float(info.get(b"num_docs", 0))), round(sum(map(float, parts)) * 2**20)


def is_missing_index(reply: object) -> bool:
    """Is this the error reply to a command on an index that does not exist?"""
    if not isinstance(reply, StoreError):
        return False
    text = str(reply).lower()
    return any(words in text for words in _MISSING)


_MISSING = ("unknown index name", "no such index", "index with name")
"""As Search 2, Redis 8 and valkey-search say it."""


def _check_creation(error: StoreError, shape: IndexShape) -> None:
    text = str(error).lower()
    refused = "bad arguments for vector" in text or "float16" in text
    if refused and shape.dtype == "float16":
        raise ConfigError(
            "This Redis's Search keeps no float16 vectors (2.10, Redis Stack 7.4 and Redis 8 do); "
            "set CacheConfig(vector_dtype='float32')."
        ) from None
    if "already exists" not in text:
        raise error


def _describe(info: Mapping[bytes, Any]) -> dict[str, object]:
    found: dict[str, object] = {}
    prefixes = info.get(b"index_definition", {}).get(b"prefixes", [])
    if len(prefixes) == 1:
        found["prefix"] = prefixes[0].decode()
    for attribute in info.get(b"attributes", []):
        name = attribute[b"attribute"].decode()
        found[name] = attribute[b"type"].decode()
        if name == VECTOR.decode() and found[name] == "VECTOR":
            found["algorithm"] = attribute.get(b"algorithm", b"?").decode()
            found["type"] = attribute.get(b"data_type", b"?").decode()
            found["dimension"] = attribute.get(b"dim")
            found["metric"] = attribute.get(b"distance_metric", b"?").decode()
    return found
