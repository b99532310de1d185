"""Scopes that could be confused are not equal; nonsense is refused where it is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache_async import Answer, CacheConfig, Scope, Source
from semcache_async.errors import ConfigError
from semcache_async.store.keys import KeySpace
from semcache_async.text import guards
from semcache_async.types import EntryKey, scope_or_tenant

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
values = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-3, 3) | texts
scopes = st.builds(
    Scope,
    tenant=texts,
    locale=texts,
    model=texts,
    system_prompt=texts,
    temperature=st.none() | st.floats(0, 2),
    parameters=st.dictionaries(texts, values, max_size=3),
    corpus_version=texts,
    attributes=st.dictionaries(texts, texts, max_size=3),
)


@given(scopes, scopes, texts, texts)
def test_two_keys_in_redis_are_one_only_if_scope_and_prompt_are(
    one: Scope, other: Scope, prompt: str, another: str
) -> None:
    keys = KeySpace("name", "fingerprint", "secret")
    for a, b in [(one, other), (one, one)]:
        same = keys.entry_id(EntryKey(a, prompt)) == keys.entry_id(EntryKey(b, another))
        assert same == (a == b and prompt == another)


def backwards(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: mapping[key] for key in reversed(list(mapping))}


@given(scopes)
def test_order_of_mappings_does_not_count(scope: Scope) -> None:
    again = Scope(
        tenant=scope.tenant,
        locale=scope.locale,
        model=scope.model,
        system_prompt=scope.system_prompt,
        temperature=scope.temperature,
        parameters=backwards(scope.parameters),
        corpus_version=scope.corpus_version,
        attributes=backwards(scope.attributes),
    )
    assert again == scope
    assert hash(again) == hash(scope)


def test_values_of_another_type_are_another_scope() -> None:
    kinds: list[Any] = [1, True, 1.0, "1"]
    scopes = [Scope(parameters={"n": kind}) for kind in kinds]
    keys = KeySpace("name", "fingerprint", "")
    assert len(set(scopes)) == len({keys.scope(scope).scope for scope in scopes}) == 4
    assert Scope(temperature=1) == Scope(temperature=1.0)
    zeros = [Scope(temperature=zero, parameters={"n": zero}) for zero in (0.0, -0.0)]
    assert keys.scope(zeros[0]) == keys.scope(zeros[1])


def test_a_scope_cannot_be_changed_from_outside() -> None:
    attributes = {"a": "1"}
    scope = Scope(attributes=attributes)
    attributes["a"] = "2"
    assert scope == Scope(attributes={"a": "1"})
    with pytest.raises(AttributeError):
        scope.tenant = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    "fields",
    [
        {"tenant": None},
        {"model": 7},
        {"system_prompt": "\ud800"},
        {"temperature": "hot"},
        {"temperature": float("nan")},
        {"temperature": True},
        {"parameters": [1]},
        {"parameters": {"a": [1]}},
        {"parameters": {"a": {"b": 1}}},
        {"parameters": {1: "a"}},
        {"parameters": {"a": float("inf")}},
        {"parameters": {"a": b"x"}},
        {"attributes": {"a": 1}},
        {"attributes": "a=1"},
    ],
)
def test_nonsense_in_a_scope(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^Scope\."):
        Scope(**fields)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("name", ""),
        ("name", "a b"),
        ("name", "a{b}"),
        ("name", "x" * 65),
        ("max_distance", -0.01),
        ("max_distance", 2.01),
        ("max_distance", float("nan")),
        ("max_distance", "0.1"),
        ("exact_ttl_s", 0),
        ("exact_ttl_s", -1),
        ("semantic_ttl_s", float("inf")),
        ("semantic_ttl_s", 1e12),
        ("ttl_jitter", 1.0),
        ("ttl_jitter", -0.1),
        ("neighbours", 0),
        ("neighbours", 2.5),
        ("connections", 1),
        ("store_timeout_s", 0),
        ("lookup_budget_s", -1),
        ("generate_timeout_s", None),
        ("embedding_cache_size", -1),
        ("local_answers", True),
        ("vector_dtype", "float64"),
        ("index", "HNSW"),
        ("secret", "x" * 65),
    ],
)
def test_nonsense_in_a_config(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=option):
        CacheConfig(**{option: value})


def test_a_config_is_frozen_and_hides_its_secret() -> None:
    config = CacheConfig(secret="hush")
    assert "hush" not in repr(config)
    with pytest.raises(AttributeError):
        config.max_distance = 0.2  # type: ignore[misc]
    with pytest.raises(TypeError):
        CacheConfig("name")  # type: ignore[call-arg]


@given(st.floats(0, 2))
def test_similarity_is_one_minus_distance(distance: float) -> None:
    answer = Answer(text="t", source=Source.SEMANTIC, distance=distance)
    assert answer.similarity == 1.0 - distance
    assert Answer(text="t", source=Source.GENERATED).similarity is None


def test_a_tenant_alone_is_all_that_it_has_and_a_scope_is_meant_whole() -> None:
    assert scope_or_tenant({}) == (None, None)
    assert scope_or_tenant({"tenant": "a", "model": None}) == (None, "a")
    assert scope_or_tenant({"tenant": "a", "model": "m"}) == (Scope(tenant="a", model="m"), None)
    assert scope_or_tenant({"model": "m"}) == (Scope(model="m"), None)


def test_guards_are_named_and_known() -> None:
    assert set(CacheConfig().guards) == {*guards.GUARDS, guards.DOUBT}
    assert CacheConfig(guards=["numbers"]).guards == ("numbers",)  # type: ignore[arg-type]
    assert CacheConfig(guards=()).guards == ()
    for wrong in ("numbers", ("nonsense",), 7):
        with pytest.raises(ConfigError, match="guards"):
            CacheConfig(guards=wrong)  # type: ignore[arg-type]
