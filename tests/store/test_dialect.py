"""Another Search than Redis's: replies as its documentation has them; no server was asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from semcache_async.errors import ConfigError, IndexMismatchError, StoreError
from semcache_async.store.entries.knn import KnnPlanner
from semcache_async.store.entries.payload import (
    Payload,
    read_entries,
    read_neighbours,
    read_results,
    write_payload,
)
from semcache_async.store.entries.removal import Removal, entries_filter
from semcache_async.store.entries.schema import IndexShape, ensure_index, is_missing_index
from semcache_async.store.keys import KeySpace
from semcache_async.store.wire.dialect import ValkeyDialect, dialect_of
from semcache_async.store.wire.line import Command
from semcache_async.store.wire.replies import reply_error
from semcache_async.types import Scope, VectorQuery
from tests.store.helpers import DIM, unit

pytestmark = pytest.mark.anyio

KEYS = KeySpace("n", "f" * 16, "")
DIGEST = KEYS.scope(Scope(tenant="a", attributes={"x": "1"}))
SHAPE = IndexShape(DIM, "float32", "hnsw")

INFO: list[Any] = [
    *(b"index_name", KEYS.index.encode()),
    *(b"index_definition", [b"key_type", b"HASH", b"prefixes", [KEYS.prefix.encode()]]),
    b"attributes",
    [
        [b"identifier", name, b"attribute", name, b"type", b"TAG", b"SEPARATOR", b","]
        for name in (b"scope", b"tenant", b"attr", b"tags")
    ]
    + [
        [
            *(b"identifier", b"vec", b"attribute", b"vec", b"type", b"VECTOR", b"index"),
            [
                *(b"capacity", 10_240, b"dimensions", DIM, b"distance_metric", b"COSINE"),
                *(b"size", b"2", b"data_type", b"FLOAT32", b"algorithm"),
                [b"name", b"HNSW", b"m", 16, b"ef_construction", 200, b"ef_runtime", 40],
            ],
        ]
    ],
    *(b"num_docs", 7, b"num_records", 14, b"hash_indexing_failures", 0),
    *(b"backfill_in_progress", b"0", b"backfill_complete_percent", b"1.000000", b"state", b"ready"),
]
"""``FT.INFO``, by docs/commands/ft.info.md of valkey-search."""


def payload(prompt: str) -> bytes:
    made = Payload(
        scope=bytes.fromhex(DIGEST.scope),
        prompt=prompt,
        text=prompt,
        created_at=1.0,
        exact_until=9.0,
        semantic_until=9.0,
        attributes={"x": "1"},
    )
    return write_payload(made)


def searched(*rows: tuple[str, str, bytes]) -> list[Any]:
    """``FT.SEARCH ... RETURN``, by docs/commands/ft.search.md of valkey-search."""
    reply: list[Any] = [len(rows)]
    for id_, distance, entry in rows:
        fields = [b"d", distance.encode(), b"entry", entry, b"scope", DIGEST.scope.encode()]
        reply += [KEYS.key(id_).encode(), fields]
    return reply


def test_who_speaks_it() -> None:
    hello = {b"server": b"redis", b"version": b"8.2.3", b"modules": [{b"name": b"search"}]}
    assert dialect_of(hello) is None
    assert dialect_of({**hello, b"server": b"valkey", b"version": b"8.1.0"}) is not None


def test_a_search_for_neighbours() -> None:
    planner = KnnPlanner(KEYS.index, graph=True)
    planner.learn(None, {b"total_results": 100_000})
    planner.learn(DIGEST, {b"total_results": 10_000})
    query = VectorQuery(Scope(tenant="a"), unit(0), 3)
    ours = planner.search(DIGEST, query, b"bytes")
    assert "HYBRID_POLICY" in str(ours[2])
    dialect = ValkeyDialect()
    (attribute,) = DIGEST.attributes
    assert dialect.command(ours) == (
        *("FT.SEARCH", KEYS.index),
        f"(@scope:{{{DIGEST.scope}}} @attr:{{{attribute}}})=>[KNN 3 @vec $v AS d]",
        *("PARAMS", 2, "v", b"bytes"),
        *("RETURN", 3, "d", b"entry", b"notes", "LIMIT", 0, 3, "DIALECT", 2),
    )
    reply = dialect.reply(ours, searched(("1", "0.25", payload("one")), ("0", "0", payload("two"))))
    found = read_neighbours(reply, KEYS.prefix.encode(), DIGEST, {"x": "1"}, 2.0)
    near = [(neighbour.entry.prompt, neighbour.distance) for neighbour in found.neighbours]
    assert near == [("two", 0.0), ("one", 0.25)]


def test_sizes_and_looking_around() -> None:
    dialect = ValkeyDialect()
    planner = KnnPlanner(KEYS.index, graph=True)
    for subject, question in planner.questions([DIGEST]).items():
        said = dialect.command(question)
        assert "PARAMS" not in said
        assert subject is not None or said[2] == "-@tenant:{none}"
        assert dialect.reply(question, [41]) == {b"total_results": 41, b"results": []}
    query, params = entries_filter(KEYS, ())
    everything: Command = ("FT.SEARCH", KEYS.index, query, *params, "LIMIT", 0, 9)
    assert dialect.command(everything)[2] == "-@tenant:{none}"
    reply = dialect.reply(everything, searched(("1", "0", payload("one"))))
    assert [
        entry.prompt for entry in read_entries(read_results(reply), KEYS.prefix.encode(), 2.0)
    ] == ["one"]
    query, params = entries_filter(KEYS, ["a", "b"])
    command = ("FT.SEARCH", KEYS.index, query, *params)
    assert dialect.command(command)[2:] == (f"@tags:{{{KEYS.tag('a')}|{KEYS.tag('b')}}}",)


async def test_an_index_is_made_or_checked() -> None:
    dialect, made = ValkeyDialect(), False

    async def one(*command: Any) -> Any:
        nonlocal made
        said = dialect.command(command)
        if said[0] == "FT.CREATE":
            made = True
            return b"OK"
        if made:
            return dialect.reply(command, INFO)
        raise reply_error(f"Index with name '{KEYS.index}' not found in database 0")

    await ensure_index(one, KEYS.index, KEYS.prefix, SHAPE)
    assert made
    with pytest.raises(IndexMismatchError, match="dimension is 8, needed is 9"):
        await ensure_index(one, KEYS.index, KEYS.prefix, SHAPE._replace(dim=9))

    async def refuse(*command: Any) -> Any:
        if command[0] == "FT.CREATE":
            raise StoreError("Redis answered: Unknown argument `FLOAT16`")
        raise StoreError(f"Redis answered: Index with name '{KEYS.index}' not found")

    with pytest.raises(ConfigError, match="float32"):
        await ensure_index(refuse, KEYS.index, KEYS.prefix, SHAPE._replace(dtype="float16"))
    assert not is_missing_index(StoreError("Redis answered: something else"))


@pytest.mark.parametrize("stuck", [0, 10, 1_500])
async def test_a_purge_goes_page_by_page(stuck: int) -> None:
    dialect = ValkeyDialect()
    keys = [f"{KEYS.prefix}{n}".encode() for n in range(2_500)]
    left = dict.fromkeys(keys)

    async def execute(commands: Sequence[Command]) -> list[Any]:
        return [dialect.reply(command, answer(dialect.command(command))) for command in commands]

    def answer(command: Command) -> Any:
        if command[0] == "TIME":
            return [b"1", b"0"]
        if command[0] == "UNLINK":
            gone = [key for key in keys[stuck:] if key in command[1:]]
            for key in gone:
                del left[key]
            return len(gone)
        assert command[:3] == ("FT.SEARCH", KEYS.index, f"@tenant:{{{KEYS.tenant('a')}}}")
        return [len(left), *list(left)[:1_000]]

    removal = Removal(KEYS, scope=None, tenant="a", tags=(), entry_ids=())
    if stuck < 1_000:
        assert await removal.run(execute) == 2_500 - stuck
    else:
        with pytest.raises(StoreError, match="did not come to the end"):
            await removal.run(execute)
    assert list(left) == keys[: max(stuck, len(left))]


def test_a_key_found_on_two_shards_counts_once() -> None:
    """``FT.SEARCH`` of Redis 8 in a cluster, while a slot moves."""
    row = {
        b"id": KEYS.key("1").encode(),
        b"extra_attributes": {
            b"d": b"0.1",
            b"entry": payload("one"),
            b"scope": DIGEST.scope.encode(),
        },
        b"values": [],
    }
    reply = {b"attributes": [], b"total_results": 2, b"warning": [], b"results": [row, dict(row)]}
    found = read_neighbours(reply, KEYS.prefix.encode(), DIGEST, {}, 2.0, wanted=2, asked=2)
    assert [neighbour.entry.prompt for neighbour in found.neighbours] == ["one"]
    assert len(read_entries(read_results(reply), KEYS.prefix.encode(), 2.0)) == 1
