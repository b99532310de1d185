"""No input can hold the loop: what a text costs grows as its length does, counted in work."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from zlib import crc32

import pytest

from semcache_async.text import cacheable, decide, erased, layout, prompt, reading
from semcache_async.text.anew import asks_anew
from semcache_async.text.cacheable import is_personal, is_time_bound
from semcache_async.text.erased import Reading, erases
from semcache_async.text.prompt import check_text, normalise
from semcache_async.types import Piece
from tests.text.work import patterns, steps, unbounded, work

if TYPE_CHECKING:
    from collections.abc import Callable

PATTERNS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": pattern
    for module in (cacheable, decide, erased, layout, prompt, reading)
    for name, pattern in patterns(module).items()
}
# Repeated, each is the beginning of what some pattern looks for, or what a run of marks is.
SEEDS = (
    "a", "1", " ", ".", "\n", "?", "1 ", "a@", "a@b.", "my ", "my a-", "my name is mis", "so ",
    "DE89", "1-", "1.", "sk-", "eyJ", "eyJ.", "today ", "current a", "today's a ", "so far this ",
    "what ", "i was born in ", "my pin is ", "my password: ", "-----BEGIN A ", "xox", "(", "a'",
    "\u0315\u0316", "a\u0301", "\u0f73", "한", "ᄒ\u1161", " \n", "\n  ", '"', "`", "{\"", "f(",
    "a,", " i ", "how i ", "A. ", "\u200b", "\r\n", "\U0001f642", "\u2026",
)  # fmt: skip
ENDS = ("", "x", "?", "\n", "!x")
SMALL, LARGE = 150, 600
A_CHARACTER = 100
"""The most work of a comparison for each character: none of its steps is for each of another's."""


def grown(measure: Callable[[str], int], seed: str, end: str) -> None:
    small = measure("today my " + seed * (SMALL // len(seed)) + end)
    large = measure("today my " + seed * (LARGE // len(seed)) + end)
    assert large <= (LARGE / SMALL) * 1.25 * small + 1_000, (small, large)


@pytest.mark.parametrize("name", PATTERNS)
def test_repeats_are_bounded_or_harmless(name: str) -> None:
    assert not unbounded(PATTERNS[name])


@pytest.mark.parametrize(
    "text", [r"[.?!\n]+(?=\s|$)", r"a+b", r"(a{1,9})*", r"\s*x", r"eyJ\w{10,}\.eyJ", r"(?:ab)+"]
)
def test_the_analyser_sees_what_is_not_linear(text: str) -> None:
    assert unbounded(re.compile(text))


@pytest.mark.parametrize("name", PATTERNS)
def test_steps_of_a_pattern(name: str) -> None:
    for seed in SEEDS:
        for end in ENDS[:2]:
            grown(lambda text: steps(PATTERNS[name], text), seed, end)


def test_steps_see_what_is_not_linear() -> None:
    with pytest.raises(AssertionError):
        grown(lambda text: steps(re.compile(r"[.?!\n]+(?=\s|$)"), text), ".", "x")


@pytest.mark.parametrize(
    "function",
    [normalise, is_personal, is_time_bound, asks_anew, lambda text: check_text("prompt", text)],
)
def test_work_of_a_prompt(function: Callable[[str], object]) -> None:
    for seed in SEEDS:
        for end in ENDS:
            grown(lambda text: work(lambda: function(text)), seed, end)


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("width", [1, 3, 30])
def test_work_of_a_comparison(lenient: bool, width: int) -> None:
    """Pieces of ``width`` characters, some of them overlapping, none for white space."""

    def read(text: str) -> Reading:
        starts = range(0, len(text), width)
        return Reading(
            text,
            [
                Piece(
                    crc32(text[i : i + width].encode()) % 50, i, min(len(text), i + width + i % 2)
                )
                for i in starts
                if not text[i : i + width].isspace()
            ],
        )

    def measure(text: str) -> int:
        others = (text.upper(), text + " b", "b " + text, text[::-1])
        return work(lambda: [erases(read(text), read(other), lenient=lenient) for other in others])

    for seed in SEEDS:
        text = seed * (2 * LARGE // len(seed)) + "x"
        assert measure(text) <= A_CHARACTER * 4 * len(text)


def test_a_long_run_of_marks_is_compared_as_written() -> None:
    """To order them takes quadratic time (UAX 15 bounds a run at 30)."""
    for count in (15, 16):
        run = "\u0315" * count + "\u0316" * count
        assert (normalise(f"a{run}") == f"a{run}") == (count == 16)
