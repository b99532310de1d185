"""A short soak; and that the check of a history sees what it is there for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.history import History, Span
from tests.faults.soak import soak

Event = dict[str, Any]

STATS = {
    **dict.fromkeys(("exact", "semantic", "bypassed", "shed", "failed", "shared"), 0),
    "requests": 1,
    "generated": 1,
    "waiting": 0,
    "queued": 0,
    "flights": 0,
}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_short_soak() -> None:
    faults, summary = await soak(25.0, seed=3, lease_s=5.0)
    assert not faults, f"{faults}; {summary}"
    assert summary["got"] > 100  # type: ignore[operator]


def life(**changes: Event) -> list[Event]:
    """What one process does who asks once; by name, what differs."""
    events: dict[str, Event] = {
        "ask": {"at": 1.0, "id": 1, "tenant": "a", "angle": 0},
        "call": {"at": 1.1, "id": "1-1", "tenant": "a", "angle": 0.0, "claim": "c1"},
        "made": {"at": 2.0, "id": "1-1"},
        "got": {"at": 2.1, "id": 1, "text": "a at 0 by 1-1"},
        "stats": {"at": 3.0, **STATS},
    }
    return [{"event": name, **event, **changes.get(name, {})} for name, event in events.items()]


def faults(*lives: list[Event], disturbed: tuple[Span, ...] = ()) -> list[str]:
    named = {f"{n}": events for n, events in enumerate(lives)}
    return History(named, set(named)).faults(disturbed)


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert faults(life()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"got": {"text": "b at 0 by 1-1"}},
        {"got": {"text": "a at 8 by 1-1"}},
        {"got": {"at": 50.0}},
        {"got": {"event": "error", "kind": "StoreError", "streams": True}},
        {"got": {"event": "error", "kind": "FlightLostError", "streams": True}},
        {"got": {"event": "nothing"}},
        {"stats": {"requests": 2}},
        {"stats": {"waiting": 1}},
        {"stats": {"event": "nothing"}},
    ],
    ids=str,
)
def test_what_is_wrong_is_found(wrong: dict[str, Event]) -> None:
    assert len(faults(life(**wrong))) == 1


def test_a_second_call_is_found_unless_it_was_disturbed() -> None:
    again = life(call={"id": "2-1", "at": 1.5, "claim": "c2"}, made={"id": "2-1"})
    assert len(faults(life(), again)) == 1
    assert faults(life(), again, disturbed=(Span(1.2, 1.3, "kill worker"),)) == []
    assert len(faults(life(), again, disturbed=(Span(1.6, 9.0, "kill worker"),))) == 1
    other = {"id": "2-1", "at": 1.5, "claim": "c2", "angle": 8.0}
    assert faults(life(), life(call=other, made={"id": "2-1"})) == []


def test_two_answers_under_one_claim_are_found() -> None:
    other = life(call={"id": "2-1", "tenant": "b"}, made={"id": "2-1"})
    assert len(faults(life(), other)) == 1


@pytest.mark.parametrize("what", ["memory", "fds"])
def test_growth_is_found(what: str) -> None:
    flat = {"event": "sample", "at": 1.0, "memory": 10**8, "fds": 20}
    samples = [{**flat, what: flat[what] * (1 + n // 10)} for n in range(30)]  # type: ignore[operator]
    assert len(faults([*samples, *life()])) == 1
    assert faults([*[flat] * 30, *life()]) == []
