"""What a request asks of the cache."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from semcache_async.serve.completions.control import NO_WISHES, Control, read_control
from semcache_async.serve.errors import Invalid


@pytest.mark.parametrize(
    ("cache", "headers", "expected"),
    [
        ({}, {}, NO_WISHES),
        ({}, {"Accept": "*/*"}, NO_WISHES),
        ({"no-cache": True}, {}, Control(read=False)),
        ({"no-store": True}, {}, Control(write=False)),
        ({"no-store": False, "no-cache": None}, {}, Control()),
        ({"ttl": 60}, {}, Control(ttl_s=60.0)),
        ({"ttl": 0.5, "s-maxage": 7.5}, {}, Control(ttl_s=0.5, max_age_s=7.5)),
        ({"s-maxage": 0}, {}, Control(read=False)),
        ({"namespace": "shop"}, {}, Control(namespace="shop")),
        ({}, {"cache-control": "no-cache"}, Control(read=False)),
        ({}, {"Cache-Control": "No-Store , max-age=60"}, Control(write=False, max_age_s=60.0)),
        ({}, {"Cache-Control": 'max-age="60"'}, Control(max_age_s=60.0)),
        ({}, {"Cache-Control": "max-age=0"}, Control(read=False)),
        ({}, {"Cache-Control": "max-age=" + "9" * 400}, Control(max_age_s=315_360_000.0)),
        ({}, {"Cache-Control": "only-if-cached, foo=bar,,"}, Control(only_if_cached=True)),
        ({"s-maxage": 5}, {"Cache-Control": "max-age=9"}, Control(max_age_s=5.0)),
        ({}, {"x-semcache-max-distance": "0.02"}, Control(max_distance=0.02)),
        ({}, {"X-Semcache-Similarity-Threshold": "0.75"}, Control(max_distance=0.25)),
        (
            {},
            {"x-semcache-max-distance": "0.5", "x-semcache-similarity-threshold": "0.75"},
            Control(max_distance=0.25),
        ),
        ({}, {"x-semcache-locale": "de-CH"}, Control(locale="de-CH")),
        ({}, {"x-semcache-tags": "a, b:1,a,"}, Control(tags=("a", "b:1"))),
        ({}, {"x-semcache-widen": " model,,locale"}, Control(widen=("model", "locale"))),
    ],
)
def test_wishes(cache: dict[str, Any], headers: dict[str, str], expected: Control) -> None:
    assert read_control(cache, CIMultiDict(headers)) == expected


@pytest.mark.parametrize(
    ("cache", "field"),
    [
        ({"no-cache": 1}, "cache.no-cache"),
        ({"no-store": "true"}, "cache.no-store"),
        ({"ttl": 0}, "cache.ttl"),
        ({"ttl": -1}, "cache.ttl"),
        ({"ttl": float("nan")}, "cache.ttl"),
        ({"ttl": float("inf")}, "cache.ttl"),
        ({"ttl": 1e12}, "cache.ttl"),
        ({"ttl": 2**63}, "cache.ttl"),
        ({"ttl": True}, "cache.ttl"),
        ({"ttl": "60"}, "cache.ttl"),
        ({"s-maxage": -1}, "cache.s-maxage"),
        ({"namespace": 5}, "cache.namespace"),
        ({"namespace": "x" * 257}, "cache.namespace"),
        ({"use": True}, "cache.use"),
        ({"\x00": True}, "cache...."),
    ],
)
def test_wishes_in_the_body_that_make_no_sense(cache: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_control(cache, {})
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Cache-Control", "max-age"),
        ("Cache-Control", "max-age=-1"),
        ("Cache-Control", "max-age=1e3"),
        ("Cache-Control", "max-age=\u0661"),
        ("Cache-Control", "a b"),
        ("Cache-Control", "=5"),
        ("x-semcache-max-distance", "nan"),
        ("x-semcache-max-distance", "inf"),
        ("x-semcache-max-distance", "-0.1"),
        ("x-semcache-max-distance", "2.1"),
        ("x-semcache-max-distance", ""),
        ("x-semcache-max-distance", "0" * 33),
        ("x-semcache-similarity-threshold", "1.5"),
        ("x-semcache-similarity-threshold", "high"),
        ("x-semcache-locale", "de CH"),
        ("x-semcache-locale", "x" * 17),
        ("x-semcache-tags", ",".join(map(str, range(33)))),
        ("x-semcache-tags", "x" * 257),
        ("x-semcache-widen", "tenant"),
        ("x-semcache-widen", "Locale"),
        ("x-semcache-tags", "\udcff"),
    ],
)
def test_wishes_in_headers_that_make_no_sense(header: str, value: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_control({}, CIMultiDict({header: value}))
    assert caught.value.param == header


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_cache_control_is_read_or_refused(text: str) -> None:
    with suppress(Invalid):
        read_control({}, {"Cache-Control": text})
