"""Names in Redis for hostile scopes: no two are one, and what a query may find is what it finds."""

from __future__ import annotations

import asyncio
from itertools import combinations
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from semcache_async.store.keys import KeySpace, is_entry_index
from semcache_async.store.redis_store import RedisStore
from semcache_async.types import WIDENABLE, EntryKey, Scope, VectorQuery
from tests.store.helpers import open_store, record, unit

TEXTS = (
    *("", "a", "A", "b", "a|b", "a,b", "a b", "a:b", "{a}", "*", "\0", "a\0", "null", "true", "1"),
    *(
        "1.0",
        '"',
        '"a"',
        '["a"]',
        "[]",
        "\\",
        "\\u0061",
        "é",
        "e\u0301",
        "\U0001d41a",
        "$s",
        "@scope:{x}",
    ),
    *(")=>[KNN 1 @vec $v]", "0" * 32),
)
LIKE = (
    (0, 0.0, -0.0, False, None, "", "0", "false", "null"),
    (1, 1.0, True, "1", "true", "1.0"),
    (2**53, 2.0**53, 2**53 + 1, str(2**53)),
    (2**63, 2.0**63, 2**63 - 1, -(2**63), -(2**63) - 1),
    (2**70, 2.0**70, 2**70 + 1, '["int","0x400000000000000000"]', hex(2**70)),
)
"""Values that an encoding might take for each other."""
PAIRS = [pair for like in LIKE for pair in combinations(like, 2)]
few = st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
values = (
    st.sampled_from([value for kind in LIKE for value in kind])
    | few
    | st.integers()
    | st.floats(-1e9, 1e9)
)
FIELDS: dict[str, Any] = {
    **dict.fromkeys(("tenant", "locale", "model", "system_prompt", "corpus_version"), few),
    "namespace": few,
    "epoch": st.integers(0, 2),
    "temperature": st.none() | st.sampled_from([0, 0.0, -0.0, 1, 1.0, 0.5]),
    "parameters": st.dictionaries(few, values, max_size=2),
    "attributes": st.dictionaries(few, few, max_size=2),
}


def scope_of(**fields: Any) -> Scope:
    """A version is one of a namespace."""
    return Scope(**fields | {"epoch": fields["epoch"] if fields["namespace"] else 0})


scopes = st.builds(scope_of, **FIELDS)
OPEN = ("locale", "parameters")


@st.composite
def alike(draw: st.DrawFn) -> tuple[Scope, Scope]:
    """A scope, and one that was made from it by what might be overlooked: a text in another field,
    a parameter that is an attribute, a value of another type."""
    one = draw(scopes)
    fields = {name: getattr(one, name) for name in FIELDS}
    texts = [name for name in FIELDS if isinstance(fields[name], str)]
    first, second = draw(st.permutations(texts))[:2]
    kind = draw(st.sampled_from(["parameters", "attributes"]))
    how = draw(st.sampled_from(["swap", "move", "join", "turn", "shift", "retype", "other"]))
    if how == "swap":
        fields[first], fields[second] = fields[second], fields[first]
    elif how == "move":
        fields[first], fields[second] = "", fields[first]
    elif how == "join":
        fields[first], fields[second] = fields[first] + fields[second], ""
    elif how == "turn":
        fields["attributes"] = {n: v for n, v in one.parameters.items() if isinstance(v, str)}
        fields["parameters"] = dict(one.attributes)
    elif how == "shift":
        pairs = [(n, v) for n, v in fields[kind].items() if isinstance(v, str)]
        fields[kind] = {name + value[:1]: value[1:] for name, value in pairs}
    elif how == "retype":
        value, other = draw(st.sampled_from(PAIRS))
        one = msgspec.structs.replace(one, parameters={"n": value})
        fields["parameters"] = {"n": other}
    else:
        name = draw(st.sampled_from(sorted(FIELDS)))
        fields[name] = draw(FIELDS[name])
    return one, scope_of(**fields)


def keys(**options: Any) -> KeySpace:
    return KeySpace("name", "0" * 16, "secret", **options)


def test_two_values_make_two_scopes() -> None:
    made = {Scope(parameters={"n": value}) for like in LIKE for value in like}
    assert len(made) == len({keys().scope(scope).scope for scope in made})
    assert len(made) == sum(map(len, LIKE)) - 1  # there is one zero


@settings(max_examples=400)
@given(alike(), few, few)
def test_two_scopes_make_two_of_everything(
    pair: tuple[Scope, Scope], prompt: str, another: str
) -> None:
    one, other = pair
    space = keys()
    a, b = space.scope(one), space.scope(other)
    bare = [msgspec.structs.replace(scope, attributes={}) for scope in pair]
    assert (a.scope == b.scope) == (bare[0] == bare[1])
    assert (a.seed == b.seed) == (one == other)
    assert (a.tenant == b.tenant) == (one.tenant == other.tenant)
    assert (set(a.attributes) <= set(b.attributes)) == (
        one.attributes.items() <= other.attributes.items()
    )
    same = space.entry_id(EntryKey(one, prompt)) == space.entry_id(EntryKey(other, another))
    assert same == (one == other and prompt == another)


@settings(max_examples=400)
@given(
    alike(), st.sampled_from(list(combinations(WIDENABLE, 1)) + list(combinations(WIDENABLE, 3)))
)
def test_what_is_left_open_is_all_that_may_differ(
    pair: tuple[Scope, Scope], fields: tuple[str, ...]
) -> None:
    one, other = (msgspec.structs.replace(scope, attributes={}) for scope in pair)
    space = keys(widenable=fields)
    a, b = space.widened(one, fields), space.widened(other, fields)
    assert (a.wide == b.wide) == one.covers(other, widen=fields)
    assert (a.wide in space.carried(other)) == one.covers(other, widen=fields)
    apart = not one.unversioned().covers(other.unversioned(), widen=fields)
    assert (space.home(one) != space.home(other)) == apart
    less = space.widened(one, fields[1:]) if fields[1:] else space.scope(one)
    assert a.wide != less.wide


@given(st.lists(few, min_size=1, max_size=4), scopes)
def test_no_digest_is_one_of_another_kind(texts: list[str], scope: Scope) -> None:
    """Whatever is in ``attr`` was not made from a tag, a tenant or a name that callers choose."""
    space = keys(widenable=OPEN)
    digest, carried = space.scope(scope), space.carried(scope)
    named = {name for text in texts for name in (space.tag(text), space.tenant(text))}
    pairs = {part for a in texts for b in texts for part in space.attributes({a: b})}
    mine = {digest.scope, digest.seed.hex()}
    kinds = (set(carried), pairs | set(digest.attributes), named | {digest.tenant}, mine)
    for one, other in combinations(kinds, 2):
        assert not one & other
    assert all(
        len(part) == 32 and not set(part) - set("0123456789abcdef") for part in set.union(*kinds)
    )


@given(few, few)
def test_fences_of_two_are_two(one: str, other: str) -> None:
    assume(one != other)
    space = keys()
    fences: list[set[str]] = []
    for text in (one, other):
        digest = space.scope(Scope(tenant=text))
        fences.append(
            {
                *space.removal_fences(digest, None, (), ()),
                *space.removal_fences(None, space.tenant(text), (), ()),
                *space.removal_fences(None, None, (space.tag(text),), ()),
                *space.removal_fences(digest, None, (space.tag(text),), ()),
            }
        )
    assert len(fences[0]) == len(fences[1]) == 4
    assert not fences[0] & fences[1]


def test_another_caches_index_is_not_ones_own() -> None:
    space = keys()
    assert is_entry_index(space.index, "name")
    for index in (f"x{space.index}", f"{space.index}0", space.claims, "name:{p0}:x", "nam.:{p0}:"):
        assert not is_entry_index(index, "name")
    other = KeySpace("name", "1" * 16, "", "p0")
    strange = [KeySpace("nam", "1" * 16, "").index, KeySpace("name", "1" * 16, "", "p1").index]
    assert [one.index for one in space.siblings([other.index, space.index, *strange])] == [
        other.index
    ]


def test_a_tenants_index_is_a_sibling_of_the_common_one() -> None:
    space = keys()
    one, other = (space.of_tenant(space.tenant(tenant)) for tenant in "ab")
    assert is_entry_index(one.index, "name")
    assert not one.prefix.startswith(space.prefix)
    assert one.prefix.startswith(space.tenants_prefix)
    assert one.entry_id(EntryKey(Scope(), "q")) == space.entry_id(EntryKey(Scope(), "q"))
    listed = [space.index, one.index, other.index]
    assert {found.index for found in space.siblings(listed)} == {one.index, other.index}
    (mine,) = space.siblings(listed, one.only)
    assert (mine.index, mine.prefix, mine.only) == (one.index, one.prefix, one.only)


@pytest.mark.parametrize("widen", [(), OPEN[:1], OPEN])
def test_the_filter_in_redis_is_what_a_scope_covers(
    redis_url: str, name: str, widen: tuple[str, ...]
) -> None:
    """The exact tier, the search and the removal, for scopes that are easily taken for one."""

    async def holds(store: RedisStore, several: list[Scope]) -> None:
        records = [record(store, "q", 0, scope, text=str(n)) for n, scope in enumerate(several)]
        ids = [str(id_) for id_ in await store.put(records)]
        assert len(set(ids)) == len(several)
        fetched = await store.fetch([one.key for one in records])
        assert [getattr(one, "text", one) for one in fetched] == [str(n) for n in range(len(ids))]
        asked = [VectorQuery(scope, unit(1), 20, 0.0, widen) for scope in several]
        for scope, found in zip(several, await store.search(asked), strict=True):
            assert not isinstance(found, Exception)
            covered = {n for n, one in enumerate(several) if scope.covers(one, widen=widen)}
            assert {int(near.entry.text) for near in found} == covered
        doomed = {id_ for id_, one in zip(ids, several, strict=True) if several[0].covers(one)}
        would = await store.would_remove(scope=several[0], examples=20)
        assert {entry.id for entry in would.examples} == doomed
        assert await store.remove(scope=several[0], entry_ids=ids) == len(doomed)
        assert await store.remove(entry_ids=ids) == len(ids) - len(doomed)

    with asyncio.Runner() as runner:
        opened = open_store(redis_url, name, widenable=OPEN)
        store = runner.run(opened.__aenter__())

        @settings(max_examples=60, deadline=None)
        @given(st.lists(alike(), min_size=1, max_size=4))
        def check(pairs: list[tuple[Scope, Scope]]) -> None:
            several = list(dict.fromkeys(scope for pair in pairs for scope in pair))
            runner.run(holds(store, several))

        try:
            check()
        finally:
            runner.run(opened.__aexit__(None, None, None))
