"""Normalising merges wordings, never questions; what cannot be a prompt is refused."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache_async.errors import PromptError
from semcache_async.text.prompt import check_text, normalise

prompts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
words = st.lists(
    st.text(st.sampled_from("abcXYZ0189+#-/:;,'\"()$€é漢\n"), min_size=1), min_size=1, max_size=6
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I locate my card?", "how do i locate my card"),
        ("  Where is it ? ", "where   is it"),
        ("What?!", "what"),
        ("STRASSE", "straße"),
        ("cafe\u0301", "café"),
        ("Done...", "done"),
    ],
)
def test_the_same_wording(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is C?", "What is C++?"),
        ("What is C?", "What is C#?"),
        ("order 123456", "order 654321"),
        ("revenue in 2024", "revenue in 2025"),
        ("due 1.2.2024", "due 12.2024"),
        ("is it 1.5", "is it 15"),
        ("What is 5!", "What is 5?"),
        ("What is (2+1)!", "What is (2+1)"),
        ("What is 5!!", "What is 5!"),
        ("it's", "its"),
        ("a b", "ab"),
        ("line\nbreak", "line break"),
        ("?", "!"),
        ("résumé", "resume"),
        ("-5", "5"),
    ],
)
def test_another_question(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@given(prompts)
def test_idempotent(prompt: str) -> None:
    once = normalise(prompt)
    assert normalise(once) == once


@given(prompts)
def test_canonical_forms_and_case_do_not_count(prompt: str) -> None:
    for form in ("NFC", "NFD"):
        assert normalise(unicodedata.normalize(form, prompt)) == normalise(prompt)
    if prompt.isascii():
        assert normalise(prompt.upper()) == normalise(prompt)


@given(words, st.sampled_from(["", "?", ".", " ?", "..."]), st.integers(1, 3), st.booleans())
def test_outer_space_repeated_spaces_and_ending_do_not_count(
    parts: list[str], ending: str, spaces: int, outer: bool
) -> None:
    parts = ["q", *parts]
    plain = " ".join(parts)
    dressed = (" " * spaces).join(parts) + ending
    assert normalise(f" \t{dressed}\n" if outer else dressed) == normalise(plain)


@given(words, words)
def test_differs_in_anything_else(one: list[str], other: list[str]) -> None:
    def skeleton(parts: list[str]) -> str:
        return unicodedata.normalize("NFC", " ".join(parts).casefold()).strip()

    assert (normalise(" ".join(one)) == normalise(" ".join(other))) == (
        skeleton(one) == skeleton(other)
    )


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("", "empty"),
        (" \t\n", "empty"),
        ("a\0b", "NUL"),
        ("a\ud800", "lone surrogate at index 1"),
        (b"bytes", "must be a str, not bytes"),
        (None, "must be a str, not NoneType"),
    ],
)
def test_refused(bad: object, says: str) -> None:
    with pytest.raises(PromptError, match=says):
        check_text("prompt", bad)


def test_unusual_but_valid_text_is_kept_as_it_is() -> None:
    for text in ("\ufeffhi", "a\u200bb", "مرحبا", "🙂", "x" * 10_000):
        assert check_text("prompt", text) == text
