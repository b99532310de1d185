"""What every store has to pass, as checks for a test runner of one's own::

    @pytest.mark.parametrize("check", store_conformance, ids=lambda check: check.__name__)
    async def test_conformance(check):
        await check(open_my_store)

``open_my_store(ahead)`` is an async context manager that gives a store for vectors of 8 numbers, of
which calls may leave locale and model open (``CacheConfig.widenable``). Every call opens the same
data; for the store it gives, its clock is ``ahead()`` seconds ahead. A check raises
``AssertionError`` and says what was expected.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

from semcache_async.errors import StaleWriteError
from semcache_async.protocols import Store
from semcache_async.testing.case import CaseData, expect, standing, unit_vector
from semcache_async.types import Entry, EntryKey, VectorQuery

__all__ = ["OpenStore", "store_conformance"]

OpenStore: TypeAlias = Callable[[Callable[[], float]], AbstractAsyncContextManager[Store]]
Check: TypeAlias = Callable[[OpenStore], Awaitable[None]]


async def what_is_put_is_found(open_store: OpenStore) -> None:
    async with open_store(standing) as store:
        data = CaseData(store)
        scope = data.scope(attributes={"plan": "pro"})
        record = data.record("q", 10, scope, tags=(data.tag("t"),))
        (id_,) = await data.put(record)
        entry = await data.entry("q", scope)
        assert entry is not None, "what was put is not fetched"
        expect("id", entry.id, id_)
        expect("prompt and text", (entry.prompt, entry.text), ("q", "answer to q"))
        expect("tags", tuple(entry.tags), (data.tag("t"),))
        expect("attributes", dict(entry.attributes), {"plan": "pro"})
        expect("created_at", entry.created_at, record.started_at)
        assert entry.exact_until > store.now(), "exact_until lies in the past"
        (near,) = await data.near(20, scope)
        expect("the neighbour's entry", near.entry, entry)
        assert abs(near.distance - (1 - math.cos(math.radians(10)))) < 1e-3, near.distance
        expect("an unknown key", await data.entry("other", scope), None)


async def nearest_first_and_no_more_than_asked(open_store: OpenStore) -> None:
    async with open_store(standing) as store:
        data = CaseData(store)
        await data.put(*[data.record(f"at {n}", n) for n in (50, 10, 30, 0, 20, 40)])
        expect("near 12", await data.prompts(12), ["at 10", "at 20", "at 0"])
        expect("one of them", await data.prompts(12, neighbours=1), ["at 10"])
        expect("all", len(await data.prompts(12, neighbours=10)), 6)
        await data.put(data.record("exact only", None))
        assert "exact only" not in await data.prompts(12, neighbours=10), "it has no vector"
        assert await data.entry("exact only") is not None, "no vector, but an exact answer"


async def scopes_never_meet(open_store: OpenStore) -> None:
    async with open_store(standing) as store:
        data = CaseData(store)
        scopes = [
            *(data.scope("a"), data.scope("A"), data.scope("a|b"), data.scope("*")),
            *(data.scope("a", locale="de"), data.scope("a", model="m")),
            *(data.scope("a", system_prompt="s"), data.scope("a", corpus_version="1")),
            *(data.scope("a", temperature=0.0), data.scope("a", temperature=1.0)),
            *(data.scope("a", parameters={"n": 1}), data.scope("a", parameters={"n": True})),
        ]
        records = [data.record("q", 0, scope, text=str(n)) for n, scope in enumerate(scopes)]
        expect("different ids", len(set(await data.put(*records))), len(scopes))
        for n, scope in enumerate(scopes):
            entry = await data.entry("q", scope)
            expect(f"fetched in {scope}", entry and entry.text, str(n))
            found = [near.entry.text for near in await data.near(0, scope, neighbours=50)]
            expect(f"found in {scope}", found, [str(n)])


async def fields_are_left_open(open_store: OpenStore) -> None:
    async with open_store(standing) as store:
        data = CaseData(store)
        plan = {"plan": "pro"}
        here = data.scope(locale="de", model="m", temperature=0.5)
        scopes = {
            "here": here,
            "locale": data.scope(locale="fr", model="m", temperature=0.5, attributes=plan),
            "model": data.scope(locale="de", model="n", temperature=0.5),
            "both": data.scope(locale="", model="", temperature=0.5, attributes=plan),
            "temperature": data.scope(locale="de", model="m", temperature=None),
            "tenant": data.scope("b", locale="de", model="m", temperature=0.5),
        }
        await data.put(
            *[data.record(name, n, scope) for n, (name, scope) in enumerate(scopes.items())]
        )
        for scope, widen, expected in [
            (here, (), ["here"]),
            (here, ("locale",), ["here", "locale"]),
            (here, ("model",), ["here", "model"]),
            (here, ("locale", "model"), ["here", "locale", "model", "both"]),
            (scopes["both"], ("locale", "model"), ["locale", "both"]),
            (scopes["both"], ("locale",), ["both"]),
            (scopes["tenant"], ("locale", "model"), ["tenant"]),
        ]:
            (found,) = await store.search([VectorQuery(scope, unit_vector(0), 9, 0.0, widen)])
            assert not isinstance(found, Exception), found
            expect(f"found with {widen} open", [near.prompt for near in found], expected)
            for near in found:
                own = scope.covers(scopes[near.prompt])
                expect(f"{near.prompt} is of another scope", near.widened, not own)
        expect("the exact tier leaves nothing open", await data.entry("locale", here), None)


async def attributes_narrow(open_store: OpenStore) -> None:
    async with open_store(standing) as store:
        data = CaseData(store)
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
            expect(f"found with {named}", found, expected)
        expect("the exact tier has them equal", await data.entry("q"), None)


async def one_key_holds_one_entry(open_store: OpenStore) -> None:
    async with open_store(standing) as store:
        data = CaseData(store)
        (first,) = await data.put(data.record("q", 0, tags=(data.tag("old"),)))
        (second,) = await data.put(data.record("q", 0, text="new", tags=(data.tag("new"),)))
        expect("the id", second, first)
        expect("neighbours", [near.entry.text for near in await data.near(0)], ["new"])
        expect("by the old tag", await store.remove(tags=[data.tag("old")]), 0)
        await data.put(data.record("q", None, text="newest"))
        expect("without a vector", await data.prompts(0), [])
        entry = await data.entry("q")
        expect("the text", entry and entry.text, "newest")


async def each_tier_ends_by_itself(open_store: OpenStore) -> None:
    passed = 0.0
    async with open_store(lambda: passed) as store:
        data = CaseData(store)
        await data.put(
            data.record("exact", 0, exact_ttl_s=300.0, semantic_ttl_s=100.0),
            data.record("semantic", 10, exact_ttl_s=100.0, semantic_ttl_s=300.0),
        )
        passed = 50.0
        expect("early", await data.prompts(0), ["exact", "semantic"])
        passed = 200.0
        expect("the semantic tier, later", await data.prompts(0), ["semantic"])
        assert await data.entry("exact") is not None, "the exact tier ended early"
        expect("the exact tier, later", await data.entry("semantic"), None)
        passed = 400.0
        expect("the semantic tier, at last", await data.prompts(0), [])
        expect("the exact tier, at last", await data.entry("exact"), None)


async def age_counts_from_the_start(open_store: OpenStore) -> None:
    passed = 0.0
    async with open_store(lambda: passed) as store:
        data = CaseData(store)
        record = data.record("q", 0, exact_ttl_s=100.0)
        passed = 60.0
        await data.put(record)
        passed = 120.0
        entry = await data.entry("q")
        assert entry is not None, "the time to live counts from the writing"
        expect("created_at", entry.created_at, record.started_at)


async def dead_and_old_ones_hide_nobody(open_store: OpenStore) -> None:
    passed = 0.0
    async with open_store(lambda: passed) as store:
        data = CaseData(store)
        short: dict[str, Any] = {"exact_ttl_s": 1_000.0, "semantic_ttl_s": 100.0}
        await data.put(*[data.record(f"dead {n}", n / 100, **short) for n in range(20)])
        passed = 200.0
        await data.put(*[data.record(f"old {n}", 1 + n / 100) for n in range(5)])
        passed = 300.0
        since = store.now()
        await data.put(data.record("new", 5), data.record("newer", 6))
        expect("the nearest", await data.prompts(0, neighbours=1), ["old 0"])
        expect("recent ones", await data.prompts(0, neighbours=2, since=since), ["new", "newer"])
        expect(
            "no more of them", await data.prompts(0, neighbours=9, since=since), ["new", "newer"]
        )


async def conditions_of_a_removal_intersect(open_store: OpenStore) -> None:
    async with open_store(standing) as store:
        data = CaseData(store)
        a, b = data.scope("a"), data.scope("b", attributes={"x": "1"})
        german = data.scope("a", locale="de")
        red, green = data.tag("red"), data.tag("green")

        async def left(expected: Collection[str]) -> None:
            found = []
            for scope in (a, b, german):
                found += await data.prompts(0, scope, neighbours=9)
            expect("left", sorted(found), sorted(expected))

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
            expect(f"removed by {conditions}", await store.remove(**conditions), 0)
        await left("123456")
        expect("any tag", await store.remove(scope=a, tags=[green, red]), 2)
        await left("3456")
        expect("a tenant's tag", await store.remove(tenant=a.tenant, tags=[red]), 1)
        await left("356")
        expect("a tenant", await store.remove(tenant=a.tenant), 1)
        await left("36")
        expect("ids of a scope", await store.remove(scope=data.scope("b"), entry_ids=ids[:3]), 1)
        await left("6")
        expect("a scope", await store.remove(scope=data.scope("b")), 1)
        await left("")


async def what_began_before_an_invalidation_is_refused(open_store: OpenStore) -> None:
    async with open_store(standing) as store, open_store(standing) as other:
        data = CaseData(store)
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
            expect(f"fetched after {conditions}", await data.entry("q", scope), None)
            again = CaseData(other)
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

    async with open_store(standing) as store:
        data = CaseData(store)
        seed = data.scope("a", parameters={"seed": 2**70})
        derived = data.scope("a", model=Derived("m"))
        ids = await data.put(
            data.record("1", 1),
            data.record("2", 2, seed),
            data.record(Derived("3"), 3, derived, text=Derived("t"), tags=(Derived("x"),)),
        )
        expect("different ids", len(set(ids)), 3)
        entry = await data.entry("3", data.scope("a", model="m"))
        expect("a derived str", entry and entry.text, "t")
        queries = [VectorQuery(scope, unit_vector(0), 9) for scope in (data.scope(), seed, derived)]
        found = await store.search(queries)
        prompts = [one if isinstance(one, Exception) else [n.prompt for n in one] for one in found]
        expect("each query's own", prompts, [["1"], ["2"], ["3"]])
        keys = [EntryKey(data.scope(), "1"), EntryKey(data.scope(), "2"), EntryKey(seed, "2")]
        fetched = [isinstance(one, Entry) for one in await store.fetch(keys)]
        expect("each key's own", fetched, [True, False, True])
        for nothing in (await store.fetch([]), await store.search([]), await store.put([])):
            expect("an empty batch", list(nothing), [])


store_conformance: tuple[Check, ...] = (
    what_is_put_is_found,
    nearest_first_and_no_more_than_asked,
    scopes_never_meet,
    fields_are_left_open,
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
