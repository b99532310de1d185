"""What an event is, and how many purges it takes to apply many."""

from __future__ import annotations

from typing import Any

import pytest

from semcache_async.errors import StoreUnavailableError
from semcache_async.worker.events import Event, EventError, Work, read_event
from tests.worker.helpers import Recorder

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "said",
    [
        {"tags": ["a"]},
        {"tags": []},
        {"tags": ["a"], "tenant": "acme"},
        {"tags": ["a"], "tenant": ""},
        {"tenants": [""]},
        {"ids": ["x"], "namespaces": None},
    ],
)
def test_an_event(said: dict[str, Any]) -> None:
    event = read_event(said)
    assert {name: list(getattr(event, name) or ()) for name in said if name != "tenant"} == {
        name: list(value or ()) for name, value in said.items() if name != "tenant"
    }
    assert event.tenant == said.get("tenant")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "names no tags"),
        ({"tags": None}, "names no tags"),
        ({"tenant": "acme"}, "named by tenants"),
        ({"tenant": "acme", "ids": ["x"]}, "named by tenants"),
        ({"tags": "a"}, r"\$\.tags"),
        ({"tags": [1]}, r"\$\.tags"),
        ({"tag": ["a"]}, "unknown field `tag`"),
        ({"tags": [""]}, "The tag is empty"),
        ({"namespaces": [" "]}, "The namespace is empty"),
        ({"ids": ["a\0"]}, "NUL"),
        ({"tags": ["\ud800"]}, "surrogate"),
        (["a"], "object"),
        (None, "object"),
        ({"x" * 10_000: 1}, "unknown field"),
    ],
)
def test_what_is_no_event(said: Any, why: str) -> None:
    with pytest.raises(EventError, match=why) as raised:
        read_event(said)
    assert len(str(raised.value)) < 300


async def done(*events: Event) -> list[tuple[Any, ...]]:
    recorder = Recorder()
    await Work(events).do(recorder)
    return recorder.calls


async def test_many_events_are_few_purges() -> None:
    assert await done(
        Event(tags=("a", "b"), ids=("x",)),
        Event(tags=("b", "c"), namespaces=("docs",)),
        Event(tags=("a",), tenant="acme", ids=("y", "x")),
        Event(tags=("d",), tenant="acme", namespaces=("docs", "shop")),
        Event(tenants=("gone", "gone")),
        Event(tags=("e",), tenant="gone"),
        Event(tags=()),
    ) == [
        ("bump", "docs"),
        ("bump", "shop"),
        ("gone", (), ()),
        (None, ("a", "b", "c"), ()),
        ("acme", ("a", "d"), ()),
        (None, (), ("x", "y")),
    ]
    assert await done() == []


async def test_very_many_tags_are_several_queries() -> None:
    calls = await done(*(Event(tags=(f"t{n}",)) for n in range(1_000)))
    assert [len(call[1]) for call in calls] == [256, 256, 256, 232]
    assert [tag for call in calls for tag in call[1]] == [f"t{n}" for n in range(1_000)]


async def test_what_failed_goes_on_where_it_failed() -> None:
    recorder = Recorder()
    recorder.refused["x"] = StoreUnavailableError("down")
    work = Work([Event(tags=("a",), ids=("x",), namespaces=("docs",))])
    with pytest.raises(StoreUnavailableError):
        await work.do(recorder)
    assert recorder.calls == [("bump", "docs"), (None, ("a",), ())]
    recorder.refused.clear()
    for _ in range(2):
        await work.do(recorder)
    assert recorder.calls[2:] == [(None, (), ("x",))]
    assert (work.removed, work.versions) == (2, {"docs": 1})
