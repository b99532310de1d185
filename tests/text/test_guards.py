"""Each guard by what it must refuse and what it must let through, in several languages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from semcache_async.text.guards import DOUBT, GUARDS, Kind, analyse, verdict

FRAME = """You answer from the text only. The text: the pool closes at night, towels are free for
guests, the bar serves tea. Question: """

REFUSED: dict[str, list[tuple[str, str]]] = {
    "numbers": [
        ("How do I fold a letter in 3?", "How do I fold a letter in 4?"),
        ("what is 12% of 90", "what is 21% of 90"),
        ("Can I withdraw $200 abroad?", "Can I withdraw $2,000 abroad?"),
        ("Is 1.5 too much?", "Is 15 too much?"),
        ("Return it within 2 weeks?", "Return it within 2 months?"),
        ("Is $5 a fair tip?", "Is €5 a fair tip?"),
        ("a table for two people", "a table for three people"),
        ("Wie viele Kalorien haben zwei Eier?", "Wie viele Kalorien haben 4 Eier?"),
        ("¿Qué regalo para una niña de 5 años?", "¿Qué regalo para una niña de 9 años?"),
        ("送料は3個でいくら", "送料は8個でいくら"),
    ],
    "dates": [
        ("Are you open on Tuesday?", "Are you open on Thursday?"),
        ("Is 3 May a holiday?", "Is 13 May a holiday?"),
        ("is the 9 am bus late", "is the 9 pm bus late"),
        ("show revenue of Q1", "show revenue of Q3"),
        ("Ist am 24.12. geöffnet?", "Ist am 27.12. geöffnet?"),
        ("¿Está abierto el lunes?", "¿Está abierto el viernes?"),
        ("Est-ce ouvert le 5 juin ?", "Est-ce ouvert le 5 juillet ?"),
    ],
    "versions": [
        ("Is v2.1 supported?", "Is v2.2 supported?"),
        ("bugs in Python 3.1", "bugs in Python 3.10"),
        ("install collector 4.1.0", "install collector 4.1.2"),
    ],
    "identifiers": [
        ("status of ticket AB-1093", "status of ticket AB-1039"),
        ("what does error E204 mean", "what does error E240 mean"),
        ("read https://example.com/a", "read https://example.com/b"),
        ("open case A12-34", "open case A1-234"),
        ("who is ann@example.com", "who is bob@example.com"),
    ],
    "units": [
        ("Can 5 MW feed the town?", "Can 5 mW feed the town?"),
        ("how far is 100 miles", "how far is 100 km"),
        ("What is 12 nm in metres?", "What is 12 NM in metres?"),
    ],
    "code": [
        ("what does ls -l do", "what does ls -L do"),
        ("Explain: a = b == c", "Explain: a = b != c"),
        ("run `git reset --soft HEAD`", "run `git reset --hard HEAD`"),
        ("for x in y:\n    f(x)\n    g(x)", "for x in y:\n    f(x)\ng(x)"),
    ],
    "negation": [
        ("Which mushrooms are safe?", "Which mushrooms are not safe?"),
        ("Can I enter with a ticket?", "Can I enter without a ticket?"),
        ("Was darf ich essen?", "Was darf ich nicht essen?"),
        ("¿Qué alimentos tienen gluten?", "¿Qué alimentos no tienen gluten?"),
        ("Peut-on entrer avec un chien ?", "Peut-on entrer sans un chien ?"),
        ("这个能吃吗", "这个不能吃吗"),
    ],
    "comparison": [
        ("rooms for more than 3 people", "rooms for less than 3 people"),
        ("at least 8 characters", "at most 8 characters"),
        ("¿Qué país tiene más habitantes?", "¿Qué país tiene menos habitantes?"),
    ],
    "quantifiers": [
        ("Delete all messages", "Delete some messages"),
        ("show the first line", "show the last line"),
        ("Müssen alle kommen?", "Müssen einige kommen?"),
    ],
    "antonyms": [
        ("How do I enable the alarm?", "How do I disable the alarm?"),
        ("how to mute a person", "how to unmute a person"),
        ("turn the heating on please", "turn the heating off please"),
        ("How do I zoom in?", "How do I zoom out?"),
        ("Wie schalte ich den Ton ein?", "Wie schalte ich den Ton aus?"),
        ("¿Cómo puedo activar la alarma?", "¿Cómo puedo desactivar la alarma?"),
        ("Comment ouvrir un compte ?", "Comment fermer un compte ?"),
        ("如何打开通知", "如何关闭通知"),
    ],
    "roles": [
        ("train from Lyon to Nice", "train from Nice to Lyon"),
        ("Can a tenant sue a landlord?", "Can a landlord sue a tenant?"),
        ("convert XML to JSON", "convert JSON to XML"),
        ("Is Anna Berg the boss of Tom Lind?", "Is Tom Lind the boss of Anna Berg?"),
        ("Wie komme ich von Kiel nach Bonn?", "Wie komme ich von Bonn nach Kiel?"),
        ("从上海到北京", "从北京到上海"),
    ],
    "conditions": [
        ("What did the board decide?", "What will the board decide?"),
        ("Was the shop open?", "Is the shop open?"),
    ],
    "format": [
        ("Write the poem in French", "Write the poem in Spanish"),
        ("Give the capitals as JSON", "Give the capitals as YAML"),
        ("Write a formal note to Tom", "Write a funny note to Tom"),
        ("Wie heißt Salz auf Polnisch?", "Wie heißt Salz auf Tschechisch?"),
    ],
    "question": [
        ("Where was Mozart born?", "When was Mozart born?"),
        ("Wo ist das Treffen?", "Wann ist das Treffen?"),
        ("how often should I water it", "how much should I water it"),
    ],
    "marks": [
        ('Was heißt "schon" auf Englisch?', 'Was heißt "schön" auf Englisch?'),
        ("What does 🙂 mean?", "What does 🙃 mean?"),
    ],
    "template": [
        (FRAME + "what is free?", FRAME + "what gets served?"),
        ('Translate "the parcel is lost" please', 'Translate "the parcel is found" please'),
    ],
    "entities": [
        ("Do I need a visa for Peru?", "Do I need a visa for Chile?"),
        ("How do I export from Notion?", "How do I export from Trello?"),
        ("Wer gewann in Madrid?", "Wer gewann in Sevilla?"),
    ],
    DOUBT: [
        ("What does the blender weigh?", "What does the blender cost?"),
        ("How do I clean suede shoes?", "How do I clean suede gloves?"),
        ("猫の飼い方", "犬の飼い方"),
    ],
}
CAUGHT_BY_OTHERS = {
    "template": {"antonyms", "question", "template"},
    "marks": {"marks", "template"},
    "numbers": {"numbers", "units", "versions"},
    "negation": {"negation", DOUBT},
    "units": {"units", DOUBT},
}

SERVED = [
    ("Can I add 2 users?", "Can I add two users?"),
    ("a limit of 1,000 rows", "a limit of 1000 rows"),
    ("above 10k calls", "above 10,000 calls"),
    ("Is there a $5 fee?", "Is there a 5 dollar fee?"),
    ("half a year of pause", "6 months of pause"),
    ("What is 25% of 80?", "What's 25 percent of 80?"),
    ("Kann ich drei Koffer mitnehmen?", "Kann ich 3 Koffer mitnehmen?"),
    ("Is the office closed on 4 July 2025?", "Is the office closed on July 4th, 2025?"),
    ("Can I call at 3 pm?", "Can I call at 15:00?"),
    ("Habt ihr am 24.12. geöffnet?", "Habt ihr am 24. Dezember geöffnet?"),
    ("upgrade to v3.2", "upgrade to version 3.2"),
    ("Is 2.0.0 out?", "Is v2.0 out?"),
    ("is flight QZ418 on time", "is flight QZ 418 on time"),
    ("read https://example.com/a/", "read https://example.com/a"),
    ("How much is 500mg in grams?", "How much is 500 milligrams in grams?"),
    ("what does ls -la show", "what does ls -l -a show"),
    ("explain s = 'abc'[::-1]", 'explain s = "abc"[::-1]'),
    ("explain {'a': [1, 2]}", "explain {'a':[1,2]}"),
    ("My card isn't working", "My card is not working"),
    ("isn't there a free plan?", "is there a free plan?"),
    ("Can I pay with no card?", "Can I pay without a card?"),
    ("The coupon is invalid", "The coupon is not valid"),
    ("no more than 64 characters", "at most 64 characters"),
    ("Does every admin confirm?", "Does each admin confirm?"),
    ("How do I turn the wifi off?", "How do I disable the wifi?"),
    ("Where can I buy stamps?", "Where can I purchase stamps?"),
    ("difference between TCP and UDP", "difference between UDP and TCP"),
    ("Move money to savings from checking", "Move money from checking to savings"),
    ("How do I reset my password?", "How can I reset my password?"),
    ("Is there a way to export my data?", "How do I export my data?"),
    ("please tell me how to cancel an order", "How do I cancel an order"),
    ("What is a mutex?", "Can you explain what a mutex is?"),
    ("Where is the colour set?", "Where is the color set?"),
    ("i didnt recieve the code", "i didn't receive the code"),
    ("Wie kann ich die Kamera ausschalten?", "Wie schalte ich die Kamera aus?"),
    ("Koennen Sie mir die Rechnung schicken?", "Können Sie mir die Rechnung schicken?"),
    ("Comment réinitialiser le code ?", "comment reinitialiser le code"),
    ("¿Cómo cancelo mi pedido?", "¿Qué hago para cancelar mi pedido?"),
    ("如何修改密码?", "怎么修改密码?"),
    ("비밀번호를 어떻게 바꾸나요?", "비밀번호는 어떻게 바꾸나요?"),
]


FACTS = (
    "Gift cards are valid as long as the shop exists and are not paid out in cash.",
    "Our shop in the old town is open from Monday to Saturday.",
    "Gutscheine verfallen niemals und werden nicht bar ausgezahlt.",
    "I forgot it and cannot log in to my account any more.",
    "礼品卡在商店关闭之前一直有效不能兑换现金。",
)
CONTEXT = "Context:\nYou can pay by card, by invoice or with a bank transfer."

LONG = (
    "Shipping is free above fifty euros, and a parcel takes a week to get anywhere in the country, "
    "islands not included."
)


@pytest.mark.parametrize("fact", FACTS)
@pytest.mark.parametrize(
    "question",
    [
        "How long is a gift card valid?",
        "礼品卡的有效期是多久",
        f"How long is a gift card valid?\n\n{CONTEXT}",
        f"{CONTEXT}\n\nHow long is a gift card valid?",
        f"How long is a gift card valid?\n\n{CONTEXT}\n\n{LONG}",
    ],
)
def test_a_fact_that_only_one_of_them_tells_is_no_rewording(question: str, fact: str) -> None:
    for told in (f"{question}\n\n{fact}", f"{fact} {question}", f"{question}\n{fact}\n{fact}"):
        for one, two in ((question, told), (told, question)):
            assert not verdict(analyse(one), analyse(two)).served


MEMORIES = """## Summary

## Last k Messages
{}

## Existing Memories
[]

## New Messages
user: {}

# Output:"""
TOLD = (
    "user: I like tea.",
    "user: I moved to Bern.",
    "user: My cat is old.",
    "user: Trains are fine.",
)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (
            MEMORIES.format("", "I like tea."),
            MEMORIES.format("user: I like tea.", "My cat is old."),
        ),
        (
            MEMORIES.format("\n".join(TOLD[:3]), "Trains are fine."),
            MEMORIES.format("\n".join(TOLD[1:]), "I eat no fish."),
        ),
        (
            "Context:\nWe ship on Monday.\nA parcel takes a week.\nBe brief.\nWhen will it come?",
            "Context:\nWe ship on Monday.\nA parcel takes its time.\nBe brief.\nWhen will it come?",
        ),
    ],
)
def test_a_form_filled_in_otherwise_is_another_question(one: str, two: str) -> None:
    assert not verdict(analyse(one), analyse(two)).served
    assert not verdict(analyse(two), analyse(one)).served


def test_a_form_around_a_rewording_is_none() -> None:
    form = "Context:\nWe ship on Monday.\nA parcel takes a week.\nAnswer briefly.\n{}"
    one, two = "How do I return an item I bought?", "How can I return an item that I bought?"
    assert verdict(analyse(form.format(one)), analyse(form.format(two))).served


@pytest.mark.parametrize(
    "around",
    [
        "Hi there, I hope you are doing well. {}",
        "{} Thanks a lot in advance for your help!",
        "I was wondering if you could please tell me: {}",
    ],
)
def test_courtesies_tell_nothing(around: str) -> None:
    question = "How can I reset my password?"
    assert verdict(analyse(question), analyse(around.format(question))).served


@pytest.mark.parametrize(
    ("guard", "one", "two"),
    [(guard, *pair) for guard, pairs in REFUSED.items() for pair in pairs],
)
def test_what_a_guard_keeps_back(guard: str, one: str, two: str) -> None:
    found = verdict(analyse(one), analyse(two))
    assert not found.served
    assert (found.guard or DOUBT) in CAUGHT_BY_OTHERS.get(guard, {guard})


@pytest.mark.parametrize(("one", "two"), SERVED)
def test_what_is_served(one: str, two: str) -> None:
    assert verdict(analyse(one), analyse(two)).served
    assert verdict(analyse(two), analyse(one)).served


@pytest.mark.parametrize(
    ("one", "two"), [pair for pairs in REFUSED.values() for pair in pairs] + SERVED
)
def test_the_order_of_the_two_does_not_matter(one: str, two: str) -> None:
    forth = verdict(analyse(one), analyse(two))
    back = verdict(analyse(two), analyse(one))
    assert forth.served == back.served


def test_every_guard_says_what_it_refuses_and_has_an_example() -> None:
    for name, guard in GUARDS.items():
        assert guard.name == name
        assert guard.refuses
        assert REFUSED[name]


@pytest.mark.parametrize("name", [*GUARDS, DOUBT])
def test_a_guard_that_is_off_says_nothing(name: str) -> None:
    others = {*GUARDS, DOUBT} - {name}
    for one, two in REFUSED[name]:
        found = verdict(analyse(one), analyse(two), others)
        assert found.guard != name
        assert verdict(analyse(one), analyse(two), ()).served


def test_a_guard_can_be_called_by_itself() -> None:
    numbers = GUARDS["numbers"]
    assert numbers(analyse("fold it in 3"), analyse("fold it in 4"))
    assert not numbers(analyse("fold it in 3"), analyse("fold it in three"))


def test_a_doubt_names_its_guard_and_is_no_refusal() -> None:
    found = verdict(analyse("a visa for Peru"), analyse("a visa for Chile"))
    assert found.kind is Kind.DOUBT
    assert found.guard == "entities"


def pairs(name: str) -> Iterator[dict[str, Any]]:
    text = Path(__file__).with_name(name).read_text("utf-8")
    yield from map(json.loads, text.splitlines())


def kept_back(row: dict[str, Any]) -> bool:
    return not verdict(analyse(row["text_a"]), analyse(row["text_b"])).served


def test_plain_paraphrases_get_through() -> None:
    rows = list(pairs("paraphrases.jsonl"))
    lost = [row for row in rows if kept_back(row)]
    assert len(rows) > 140
    assert len(lost) <= 0.03 * len(rows), lost


def test_near_pairs_of_every_kind() -> None:
    rows = list(pairs("test_guards_pairs.jsonl"))
    missed = [row for row in rows if not row["label"] and not kept_back(row)]
    lost = [row for row in rows if row["label"] and kept_back(row)]
    assert len(missed) <= 0.05 * len(rows), missed
    assert len(lost) <= 0.05 * len(rows), lost
