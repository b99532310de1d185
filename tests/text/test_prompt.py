"""Normalising merges wordings, never questions; what cannot be a prompt is refused."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache_async.errors import PromptError
from semcache_async.text.prompt import check_text, is_prose, normalise

prompts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
proses = st.lists(
    st.text(
        st.characters(categories=["Ll", "Lu", "Lo", "Mn"], exclude_characters="\u0345"), min_size=2
    ),
    min_size=3,
    max_size=6,
).map(" ".join)
parts = (
    "How|how|i|I|do|US|us|pay|caf\u00e9|cafe\u0301|A|a|,|?| |  |'|-|\u0301|\u0331|H|\u0130|\u01c5|"
    "\u3000|\uff1f|x\u0336"
)
wordings = st.lists(st.sampled_from(parts.split("|")), max_size=12).map("".join)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I locate my card?", "how do i locate my card"),
        ("  Where is it now ? ", "where   is it now"),
        ("cafe\u0301", "caf\u00e9"),
        ("Is the caf\u00e9 open?", "is the cafe\u0301 open"),
        ("If I'm late, can I still come?", "if i'm late, can i still come"),
        ("Wie k\u00fcndige ich mein Abo?", "wie k\u00fcndige  ich mein Abo"),
        (
            "\u0643\u064a\u0641 \u0623\u063a\u064a\u0631 \u0627\u0644\u0631\u0642\u0645\u061f",
            "\u0643\u064a\u0641 \u0623\u063a\u064a\u0631 \u0627\u0644\u0631\u0642\u0645",
        ),
        ("ls -l\n", "ls -l"),
    ],
)
def test_the_same_wording(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ls -l", "ls -L"),
        ("What does ls -l do?", "What does ls -L do?"),
        ("what does `chmod +X` do", "what does `chmod +x` do"),
        ("How many watts is 5 mW?", "How many watts is 5 MW?"),
        ("what does CO do", "what does Co do"),
        ("CO is a gas", "Co is a gas"),
        ("Deliver it to US", "Deliver it to us"),
        ("PM", "pm"),
        ("Who runs IT here", "Who runs it here"),
        ("What is Polish?", "What is polish?"),
        ("Polish", "polish"),
        ("Decode base64: aGVsbG8=", "Decode base64: AGVSBG8="),
        ("What does the regex \\d match?", "What does the regex \\D match?"),
        ("Explain Ruby's sort!", "Explain Ruby's sort"),
        ("Explain the Ruby method empty?", "Explain the Ruby method empty"),
        ("Explain the regex ab?", "Explain the regex ab"),
        ("Explain regex a?", "Explain regex a"),
        ("What is n!?", "What is n?"),
        ("What is n", "What is N"),
        ("What does i mean", "What does I mean"),
        ("between i and I", "between I and i"),
        ("Explain this command: cd ..", "Explain this command: cd ."),
        ("Explain this command: git checkout .", "Explain this command: git checkout"),
        ("if a:\n  b()\n  c()", "if a:\n  b()\nc()"),
        ("for i in x:\n\tf(i)", "for i in x:\n    f(i)"),
        ("Does 'a  b' have two spaces?", "Does 'a b' have two spaces?"),
        ("see a\tb here", "see a b here"),
        ("two words here\nand there", "two words here and there"),
        ("print(a,  b)", "print(a, b)"),
        ("Darf ich Alkohol in Ma\u00dfen trinken?", "Darf ich Alkohol in Massen trinken?"),
        ("Nas\u0131l para \u00e7ekerim", "Nasil para \u00e7ekerim"),
        ("What is C?", "What is C++?"),
        ("order 123456", "order 654321"),
        ("due 1.2.2024", "due 12.2024"),
        ("What is 5!", "What is 5?"),
        ("it's", "its"),
        ("a b", "ab"),
        ("?", "!"),
        ("WHAT DOES US MEAN", "what does us mean"),
        ("What is a\u200bb here", "What is ab here"),
        ("r\u00e9sum\u00e9", "resume"),
    ],
)
def test_another_question(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@pytest.mark.parametrize(
    "text",
    [
        "How do I pay?",
        "How do I pay my brother-in-law's bill, please",
        "\u00bfno".replace("\u00bf", "") + " tengo nada",
        "\u043a\u0430\u043a \u043c\u043d\u0435 \u0431\u044b\u0442\u044c?",
        "\u0938\u0947\u092c \u0915\u0948\u0938\u0947 \u0916\u093e\u090f\u0902",
    ],
)
def test_prose(text: str) -> None:
    assert is_prose(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "how do",
        "what is C",
        "pay 5 euros now",
        "what is this!",
        "say 'it' to me",
        'say "it" to me',
        "one two\nthree",
        "one - two three",
        "one ,two three",
        "a.b is what",
        "one two three??",
        "one two three " * 100,
        "\u0661\u0662 \u0661\u0662 \u0661\u0662",
        "x\u00b2 is what",
        "\u300c\u306f\u3057\u300d a b c",
    ],
)
def test_no_prose(text: str) -> None:
    assert not is_prose(text)


@given(prompts)
def test_idempotent(prompt: str) -> None:
    once = normalise(prompt)
    assert normalise(once) == once


@given(wordings)
def test_idempotent_near_prose(prompt: str) -> None:
    once = normalise(prompt)
    assert normalise(once) == once


@given(prompts)
def test_canonical_forms_do_not_count(prompt: str) -> None:
    for form in ("NFC", "NFD"):
        assert normalise(unicodedata.normalize(form, prompt)) == normalise(prompt)


@given(prompts)
def test_all_else_counts_where_it_is_no_prose(prompt: str) -> None:
    text = unicodedata.normalize("NFC", prompt).strip()
    assert is_prose(text) or normalise(prompt) == text


@given(proses, st.integers(1, 3))
def test_spaces_of_prose_do_not_count(text: str, spaces: int) -> None:
    assert normalise(text.replace(" ", " " * spaces)) == normalise(text)


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
