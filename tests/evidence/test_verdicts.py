"""What stays with an entry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache_async.bounds.histogram import Sample
from semcache_async.evidence.verdicts import Verdicts, pair_of, read_verdicts, write_verdicts
from semcache_async.text.decide import Standing
from semcache_async.types import Entry

ENTRY = Entry("id", "a question", "an answer", 100.5, 1e9)
said = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.floats(0.0, 0.3), st.booleans()), max_size=30
)


def after(rows: list[tuple[str, float, bool]], *, sampled: bool = False) -> Verdicts:
    found = Verdicts(ENTRY.created_at)
    for pair, distance, right in rows:
        found = found.after(pair, Sample(distance, right), sampled=sampled)
    return found


@given(said)
def test_nothing_is_served_from_where_a_wrong_one_lay(rows: list[tuple[str, float, bool]]) -> None:
    verdicts = after(rows)
    wrong = [distance for _, distance, right in rows if not right]
    for distance in wrong:
        assert verdicts.standing("another", distance) is Standing.VERDICT
        assert verdicts.standing("another", distance + 0.1) is Standing.VERDICT
    if wrong:
        assert verdicts.standing("another", min(wrong) - 0.002) is Standing.OPEN
    else:
        assert verdicts.standing("another", 2.0) is Standing.OPEN


@given(said)
def test_the_last_verdict_on_a_prompt_holds(rows: list[tuple[str, float, bool]]) -> None:
    verdicts = after(rows)
    last = {pair: right for pair, _, right in rows}
    for pair, right in last.items():
        assert (verdicts.standing(pair, 0.3) is Standing.RIGHT) is right


@given(said)
def test_notes_carry_it(rows: list[tuple[str, float, bool]]) -> None:
    verdicts = after(rows, sampled=True)
    assert read_verdicts(write_verdicts(verdicts), ENTRY) == verdicts


def test_another_answer_under_the_key_starts_anew() -> None:
    notes = write_verdicts(after([("a", 0.1, False)]))
    other = Entry("id", "a question", "another answer", 101.0, 1e9)
    assert read_verdicts(notes, other) is None


@pytest.mark.parametrize("notes", [None, b"", b"{}", b"[]", b"\xff", b'{"of": "x"}', b"7"])
def test_notes_that_cannot_be_read_say_nothing(notes: bytes | None) -> None:
    assert read_verdicts(notes, ENTRY) is None


def test_an_entry_stays_small() -> None:
    rows = [(pair_of(f"prompt {n}"), 0.1, True) for n in range(10_000)]
    assert len(write_verdicts(after(rows[:200], sampled=True))) < 4_096


def test_a_pair_is_a_wording_as_the_exact_tier_reads_it() -> None:
    assert pair_of(" how do I pay? ") == pair_of("How do I pay")
    assert pair_of("C#") != pair_of("C")


@given(said, said)
def test_no_judge_overrules_people(
    before: list[tuple[str, float, bool]], later: list[tuple[str, float, bool]]
) -> None:
    verdicts = after(before)
    for right in (False, True):
        told = verdicts.after("a", Sample(0.1, right), by_people=True)
        for pair, distance, said_right in later:
            told = told.after(pair, Sample(distance, said_right))
        assert told.known("a") is right
        expected = Standing.RIGHT if right else Standing.VERDICT
        assert told.standing("a", 0.01) is expected
        assert told.after("a", Sample(0.1, not right), by_people=True).known("a") is not right
