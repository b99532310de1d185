"""What holds for any text: the same verdict for the same texts, no error, bounded work."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semcache_async.text.guards import GUARDS, Kind, analyse, verdict
from semcache_async.text.guards.analysis import LIMIT
from semcache_async.text.guards.reading.lexicon import lemma, lexicon
from semcache_async.text.guards.reading.lists import ANTONYMS, FUNCTION, KIND_WORDS, SYNONYMS
from semcache_async.text.guards.reading.tokens import read
from tests.helpers import calls

_SOME = """
how do I cancel my order not without 3 two 1,000 $5 10k 24.12. May 4th v1.2 E-204 -la x==y `a` "b"
'c' turn on off all some more than less from Paris to London 中文 日本語 ไทย é ß 🙂
http://a.b/c a@b.co { } && half of isn't l'eau 12:00 am in French as JSON
"""
WORDS = st.sampled_from(_SOME.split())
TEXTS = st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=25).map(" ".join))


@given(TEXTS)
def test_a_text_is_like_itself(text: str) -> None:
    assert verdict(analyse(text), analyse(text)).kind is Kind.ACCEPT
    for guard in GUARDS.values():
        assert not guard(analyse(text), analyse(text)), guard.name


@given(TEXTS, TEXTS)
@settings(max_examples=300)
def test_any_two_texts_have_one_verdict(one: str, two: str) -> None:
    a, b = analyse(one), analyse(two)
    first = verdict(a, b)
    assert verdict(a, b) == first
    assert verdict(analyse(one), analyse(two)) == first
    assert verdict(b, a).served == first.served


@given(TEXTS)
def test_an_analysis_is_the_same_every_time(text: str) -> None:
    one, two = analyse(text), analyse(text)
    for name in type(one).__slots__:
        assert getattr(one, name) == getattr(two, name)


@given(st.text(max_size=40))
def test_spaces_change_nothing_in_prose(text: str) -> None:
    words = [word for word in text.split() if word.isalpha()]
    assert verdict(analyse(" ".join(words)), analyse("  ".join(words))).served


HOSTILE = [
    *("a", "a ", "a.", "a@", "a-", "-", "- ", "1,", "1 ", "1:1 ", "9", "$1", "#", "(", "[1"),
    *('"', '"a ', "' '", "x's ", "http://", "\n x=1", "\x00", "中文", "é", "e\u0301 ", "a\u0301"),
    *("\u0301", "ﷺ", "not ", "is not ", "may 1 ", "two million ", "turn x on ", "half of "),
    *("more than ", "from a to "),
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_work_grows_with_the_text_and_no_faster(unit: str) -> None:
    def work(size: int) -> int:
        text = (unit * size)[:size]
        other = text[: size // 2] + " odd one " + text[size // 2 :]

        def action() -> None:
            verdict(analyse(text), analyse(other))

        action()
        return calls(action)

    small, large = work(1_000), work(4_000)
    assert large <= 6 * small + 400


@pytest.mark.parametrize("stems", [("word", "other"), ("wörd", "anére"), ("слово", "друг")])
def test_work_on_texts_with_nothing_in_common_does_not_grow_with_their_pairs(
    stems: tuple[str, str],
) -> None:
    def work(words: int) -> int:
        endings = [a + b for a in "abcdefghijklmno" for b in "abcdefghijklmno"][:words]
        one, two = (analyse(" ".join(stem + ending for ending in endings)) for stem in stems)
        return calls(lambda: verdict(one, two))

    small, large = work(50), work(200)
    assert large <= 6 * small + 400


@pytest.mark.parametrize("unit", HOSTILE)
def test_a_text_beyond_the_limit_is_compared_as_written(unit: str) -> None:
    text = (unit * LIMIT)[: 3 * LIMIT]
    assert verdict(analyse(text), analyse(text)).served
    assert not verdict(analyse(text), analyse(text + " and more")).served
    one, three = analyse(text[:LIMIT]), analyse(text)
    assert calls(lambda: analyse(text)) <= 2 * calls(lambda: analyse(text[:LIMIT])) + 400
    assert len(three.tokens) <= max(len(one.tokens) + 2, LIMIT)


def test_the_lexicon_holds_what_guards_ask_of_it() -> None:
    entries = lexicon()
    assert len(entries.words) > 50_000
    assert ("decrease", "increase") in entries.antonyms
    assert lemma("deliveries") == "delivery"
    assert lemma("bought") == "buy"
    assert lemma("paying") == "pay"
    assert lemma("qwertzed") == "qwertzed"


def test_lists_do_not_contradict_each_other() -> None:
    assert not {pair for pair in map(frozenset, ANTONYMS) if len(pair) < 2}
    opposites = {(one, two) for one, *others in ANTONYMS for two in others}
    for group in SYNONYMS:
        for one in group:
            for two in group:
                assert (one, two) not in opposites, (one, two)
    assert not FUNCTION & {word for word, (kind, _) in KIND_WORDS.items() if kind == "negation"}


def test_a_piece_is_read_as_what_it_is() -> None:
    def kinds(piece: str) -> list[tuple[str, str]]:
        return [(token.kind, token.key) for token in read(piece).tokens]

    assert kinds("1.000.000") == [("number", "1000000")]
    assert kinds("$1.2k") == [("currency", "usd"), ("number", "1200")]
    assert kinds("2025-07-04") == [("date", "2025-07-04")]
    assert kinds("SUP-1093") == [("identifier", "sup1093")]
    assert kinds("py3.12") == [("name", "py"), ("version", "3.12")]
    assert kinds("C++") == [("name", "c++")]
    assert kinds("won't") == [("function", "will"), ("negation", "not")]
