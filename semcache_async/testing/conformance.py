"""What every store has to pass, as checks for a test runner of one's own::

    @pytest.mark.parametrize("check", store_conformance, ids=lambda check: check.__name__)
    async def test_conformance(check):
        await check(open_my_store)

``open_my_store(ahead)`` is an async context manager that gives a store for vectors of 8 numbers.
Every call opens the same data; for the store it gives, its clock is ``ahead()`` seconds ahead. A
check raises ``AssertionError`` and says what was expected.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from secrets import token_hex
from typing import Any, TypeAlias

import numpy as np

from semcache_async.errors import StaleWriteError
from semcache_async.protocols import Store
from semcache_async.types import Entry, EntryKey, Neighbour, Record, Scope, Vector, VectorQuery

__all__ = ["OpenStore", "store_conformance"]

OpenStore: TypeAlias = Callable[[Callable[[], float]], AbstractAsyncContextManager[Store]]
Check: TypeAlias = Callable[[OpenStore], Awaitable[None]]


class _Data:
    """Names of one check's own, and shorthands."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.mark = token_hex(8)

    def scope(self, tenant: str = "a", **fields: Any) -> Scope:
        return Scope(tenant=f"{tenant} {self.mark}", **fields)

    def tag(self, name: str) -> str:
        return f"{name} {self.mark}"

    def record(
        self, prompt: str, degrees: float | None, scope: Scope | None = None, **changes: Any
    ) -> Record:
        fields: dict[str, Any] = {
            "key": EntryKey(scope or self.scope(), prompt),
            "prompt": prompt,
            "text": f"answer to {prompt}",
            "vector": None if degrees is None else _unit(degrees),
            "tags": (),
            "exact_ttl_s": 600.0,
            "semantic_ttl_s": 600.0,
            "started_at": self.store.now(),
        }
        return Record(**(fields | changes))

    async def put(self, *records: Record) -> list[str]:
        ids = []
        for outcome in await self.store.put(records):
            assert isinstance(outcome, str), f"put answered {outcome!r}, not with an id"
            ids.append(outcome)
        return ids

    async def entry(self, prompt: str, scope: Scope | None = None) -> Entry | None:
        (found,) = await self.store.fetch([EntryKey(scope or self.scope(), prompt)])
        assert not isinstance(found, Exception), f"fetch answered {found!r}"
        return found

    async def near(
        self, degrees: float, scope: Scope | None = None, neighbours: int = 3, since: float = 0.0
    ) -> list[Neighbour]:
        query = VectorQuery(scope or self.scope(), _unit(degrees), neighbours, since)
        (found,) = await self.store.search([query])
        assert not isinstance(found, Exception), f"search answered {found!r}"
        return list(found)

    async def prompts(self, degrees: float, *rest: Any, **options: Any) -> list[str]:
        return [one.entry.prompt for one in await self.near(degrees, *rest, **options)]


def _unit(degrees: float) -> Vector:
    vector = np.zeros(8, np.float32)
    vector[0], vector[1] = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return vector


def _same(what: str, found: object, expected: object) -> None:
    assert found == expected, f"{what}: {found!r}, expected {expected!r}"


def _zero() -> float:
    return 0.0


async def what_is_put_is_found(open_store: OpenStore) -> None:
    async with open_store(_zero) as store:
        data = _Data(store)
        scope = data.scope(attributes={"plan": "pro"})
        record = data.record("q", 10, scope, tags=(data.tag("t"),))
        (id_,) = await data.put(record)
        entry = await data.entry("q", scope)
        assert entry is not None, "what was put is not fetched"
        _same("id", entry.id, id_)
        _same("prompt and text", (entry.prompt, entry.text), ("q", "answer to q"))
        _same("tags", tuple(entry.tags), (data.tag("t"),))
        _same("attributes", dict(entry.attributes), {"plan": "pro"})
        _same("created_at", entry.created_at, record.started_at)
        assert entry.exact_until > store.now(), "exact_until lies in the past"
        (near,) = await data.near(20, scope)
        _same("the neighbour's entry", near.entry, entry)
        assert abs(near.distance - (1 - math.cos(math.radians(10)))) < 1e-3, near.distance
        _same("an unknown key", await data.entry("other", scope), None)


async def nearest_first_and_no_more_than_asked(open_store: OpenStore) -> None:
    async with open_store(_zero) as store:
        data = _Data(store)
        await data.put(*[data.record(f"at {n}", n) for n in (50, 10, 30, 0, 20, 40)])
        _same("near 12", await data.prompts(12), ["at 10", "at 20", "at 0"])
        _same("one of them", await data.prompts(12, neighbours=1), ["at 10"])
        _same("all", len(await data.prompts(12, neighbours=10)), 6)
        await data.put(data.record("exact only", None))
        assert "exact only" not in await data.prompts(12, neighbours=10), "it has no vector"
        assert await data.entry("exact only") is not None, "no vector, but an exact answer"


async def scopes_never_meet(open_store: OpenStore) -> None:
    async with open_store(_zero) as store:
        data = _Data(store)
        scopes = [
            *(data.scope("a"), data.scope("A"), data.scope("a|b"), data.scope("*")),
            *(data.scope("a", locale="de"), data.scope("a", model="m")),
            *(data.scope("a", system_prompt="s"), data.scope("a", corpus_version="1")),
            *(data.scope("a", temperature=0.0), data.scope("a", temperature=1.0)),
            *(data.scope("a", parameters={"n": 1}), data.scope("a", parameters={"n": True})),
        ]
        records = [data.record("q", 0, scope, text=str(n)) for n, scope in enumerate(scopes)]
        _same("different ids", len(set(await data.put(*records))), len(scopes))
        for n, scope in enumerate(scopes):
            entry = await data.entry("q", scope)
            _same(f"fetched in {scope}", entry and entry.text, str(n))
            found = [near.entry.text for near in await data.near(0, scope, neighbours=50)]
            _same(f"found in {scope}", found, [str(n)])


async def attributes_narrow(open_store: OpenStore) -> None:
    async with open_store(_zero) as store:
        data = _Data(store)
        carried = {"a": "1|2", "b": "*"}
        await data.put(data.record("q", 0, data.scope(attributes=carried)))
        for named, expected in [
            ({}, ["q"]),
            ({"a": "1|2"}, ["q"]),
            (carried, ["q"]),
            ({"a": "1"}, []),
            ({"a": "*"}, []),
            ({**carried, "c": ""}, []),
        ]:
            found = await data.prompts(0, data.scope(attributes=named))
            _same(f"found with {named}", found, expected)
        _same("the exact tier has them equal", await data.entry("q"), None)


async def one_key_holds_one_entry(open_store: OpenStore) -> None:
    async with open_store(_zero) as store:
        data = _Data(store)
        (first,) = await data.put(data.record("q", 0, tags=(data.tag("old"),)))
        (second,) = await data.put(data.record("q", 0, text="new", tags=(data.tag("new"),)))
        _same("the id", second, first)
        _same("neighbours", [near.entry.text for near in await data.near(0)], ["new"])
        _same("by the old tag", await store.remove(tags=[data.tag("old")]), 0)
        await data.put(data.record("q", None, text="newest"))
        _same("without a vector", await data.prompts(0), [])
        entry = await data.entry("q")
        _same("the text", entry and entry.text, "newest")


async def each_tier_ends_by_itself(open_store: OpenStore) -> None:
    passed = 0.0
    async with open_store(lambda: passed) as store:
        data = _Data(store)
        await data.put(
            data.record("exact", 0, exact_ttl_s=300.0, semantic_ttl_s=100.0),
            data.record("semantic", 10, exact_ttl_s=100.0, semantic_ttl_s=300.0),
        )
        passed = 50.0
        _same("early", await data.prompts(0), ["exact", "semantic"])
        passed = 200.0
        _same("the semantic tier, later", await data.prompts(0), ["semantic"])
        assert await data.entry("exact") is not None, "the exact tier ended early"
        _same("the exact tier, later", await data.entry("semantic"), None)
        passed = 400.0
        _same("the semantic tier, at last", await data.prompts(0), [])
        _same("the exact tier, at last", await data.entry("exact"), None)


async def age_counts_from_the_start(open_store: OpenStore) -> None:
    passed = 0.0
    async with open_store(lambda: passed) as store:
        data = _Data(store)
        record = data.record("q", 0, exact_ttl_s=100.0)
        passed = 60.0
        await data.put(record)
        passed = 120.0
        entry = await data.entry("q")
        assert entry is not None, "the time to live counts from the writing"
        _same("created_at", entry.created_at, record.started_at)


async def dead_and_old_ones_hide_nobody(open_store: OpenStore) -> None:
    passed = 0.0
    async with open_store(lambda: passed) as store:
        data = _Data(store)
        short: dict[str, Any] = {"exact_ttl_s": 1_000.0, "semantic_ttl_s": 100.0}
        await data.put(*[data.record(f"dead {n}", n / 100, **short) for n in range(20)])
        passed = 200.0
        await data.put(*[data.record(f"old {n}", 1 + n / 100) for n in range(5)])
        passed = 300.0
        since = store.now()
        await data.put(data.record("new", 5), data.record("newer", 6))
        _same("the nearest", await data.prompts(0, neighbours=1), ["old 0"])
        _same("recent ones", await data.prompts(0, neighbours=2, since=since), ["new", "newer"])
        _same("no more of them", await data.prompts(0, neighbours=9, since=since), ["new", "newer"])


async def conditions_of_a_removal_intersect(open_store: OpenStore) -> None:
    async with open_store(_zero) as store:
        data = _Data(store)
        a, b = data.scope("a"), data.scope("b", attributes={"x": "1"})
        german = data.scope("a", locale="de")
        red, green = data.tag("red"), data.tag("green")

        async def left(expected: Collection[str]) -> None:
            found = []
            for scope in (a, b, german):
                found += await data.prompts(0, scope, neighbours=9)
            _same("left", sorted(found), sorted(expected))

        ids = await data.put(
            data.record("1", 1, a, tags=(red, green)),
            data.record("2", 2, a, tags=(green,)),
            data.record("3", 3, b, tags=(red,)),
            data.record("4", 4, german, tags=(red,)),
            data.record("5", 5, german),
            data.record("6", 6, b),
        )
        nobodys: list[dict[str, Any]] = [
            {},
            {"tags": [data.tag("nobody's")]},
            {"entry_ids": ["nonsense"]},
            {"scope": a, "tags": [red], "entry_ids": ids[1:]},
            {"scope": data.scope("b", attributes={"x": "2"})},
            {"tenant": b.tenant, "scope": a},
            {"tenant": b.tenant, "tags": [green]},
            {"tenant": b.tenant, "entry_ids": ids[:2]},
        ]
        for conditions in nobodys:
            _same(f"removed by {conditions}", await store.remove(**conditions), 0)
        await left("123456")
        _same("any tag", await store.remove(scope=a, tags=[green, red]), 2)
        await left("3456")
        _same("a tenant's tag", await store.remove(tenant=a.tenant, tags=[red]), 1)
        await left("356")
        _same("a tenant", await store.remove(tenant=a.tenant), 1)
        await left("36")
        _same("ids of a scope", await store.remove(scope=data.scope("b"), entry_ids=ids[:3]), 1)
        await left("6")
        _same("a scope", await store.remove(scope=data.scope("b")), 1)
        await left("")


async def what_began_before_an_invalidation_is_refused(open_store: OpenStore) -> None:
    async with open_store(_zero) as store, open_store(_zero) as other:
        data = _Data(store)
        scope, price = data.scope(attributes={"plan": "pro"}), data.tag("price")
        (own,) = await data.put(data.record("q", 0, scope, tags=(price,)))
        concerning: list[dict[str, Any]] = [
            {"scope": scope},
            {"scope": data.scope()},
            {"tenant": scope.tenant},
            {"tags": [price]},
            {"tags": [data.tag("else"), price]},
            {"scope": scope, "tags": [price]},
            {"tenant": scope.tenant, "tags": [price]},
            {"tenant": scope.tenant, "scope": scope},
            {"entry_ids": [own]},
        ]
        for conditions in concerning:
            stale = data.record("q", 0, scope, tags=(price,), text="stale")
            bystander = data.record("r", 0, data.scope("b"), tags=(data.tag("b"),))
            await other.remove(**conditions)
            refused, kept = await store.put([stale, bystander])
            assert isinstance(refused, StaleWriteError), f"{conditions}: {refused!r}"
            assert isinstance(kept, str), f"{conditions}: a bystander got {kept!r}"
            _same(f"fetched after {conditions}", await data.entry("q", scope), None)
            again = _Data(other)
            again.mark = data.mark
            await again.put(again.record("q", 0, scope, tags=(price,)))
        elsewhere: list[dict[str, Any]] = [
            {},
            {"scope": data.scope(locale="de")},
            {"tenant": data.scope("b").tenant},
            {"tags": [data.tag("else")]},
            {"scope": scope, "tags": [data.tag("else")]},
            {"tenant": data.scope("b").tenant, "tags": [price]},
            {"tenant": data.scope("b").tenant, "scope": scope},
            {"entry_ids": ["0" * 32]},
        ]
        for conditions in elsewhere:
            flight = data.record("q", 0, scope, tags=(price,))
            await other.remove(**conditions)
            (kept,) = await store.put([flight])
            assert isinstance(kept, str), f"{conditions} refused {kept!r}"


async def items_answer_for_themselves(open_store: OpenStore) -> None:
    class Derived(str):
        __slots__ = ()

    async with open_store(_zero) as store:
        data = _Data(store)
        seed = data.scope("a", parameters={"seed": 2**70})
        derived = data.scope("a", model=Derived("m"))
        ids = await data.put(
            data.record("1", 1),
            data.record("2", 2, seed),
            data.record(Derived("3"), 3, derived, text=Derived("t"), tags=(Derived("x"),)),
        )
        _same("different ids", len(set(ids)), 3)
        entry = await data.entry("3", data.scope("a", model="m"))
        _same("a derived str", entry and entry.text, "t")
        queries = [VectorQuery(scope, _unit(0), 9) for scope in (data.scope(), seed, derived)]
        found = await store.search(queries)
        prompts = [one if isinstance(one, Exception) else [n.prompt for n in one] for one in found]
        _same("each query's own", prompts, [["1"], ["2"], ["3"]])
        keys = [EntryKey(data.scope(), "1"), EntryKey(data.scope(), "2"), EntryKey(seed, "2")]
        fetched = [isinstance(one, Entry) for one in await store.fetch(keys)]
        _same("each key's own", fetched, [True, False, True])
        for nothing in (await store.fetch([]), await store.search([]), await store.put([])):
            _same("an empty batch", list(nothing), [])


store_conformance: tuple[Check, ...] = (
    what_is_put_is_found,
    nearest_first_and_no_more_than_asked,
    scopes_never_meet,
    attributes_narrow,
    one_key_holds_one_entry,
    each_tier_ends_by_itself,
    age_counts_from_the_start,
    dead_and_old_ones_hide_nobody,
    conditions_of_a_removal_intersect,
    what_began_before_an_invalidation_is_refused,
    items_answer_for_themselves,
)
"""Every check, each by itself."""
