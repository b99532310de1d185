"""What asks for something new each time, and what only asks about it."""

from __future__ import annotations

import pytest

from semcache_async.data import banking77
from semcache_async.text.anew import asks_anew

ANEW = [
    "Tell me a joke",
    "tell me another joke please!",
    "Generate a UUID",
    "I need a strong password with 16 characters",
    "Could you pick a random number between 1 and 100?",
    "flip a coin",
    "roll two dice",
    "Generate an invite code with 8 characters",
    "Give me a new idea for dinner",
    "Surprise me",
    "Randomly reorder this list: ann, bo, cy",
    "Invent ten rows of fake customer data",
    "Erzähl mir bitte einen Witz",
    "Gib mir ein sicheres Passwort",
    "Dame una contraseña segura",
    "Tire une carte au hasard",
    "给我讲个笑话",
    "何か面白い話をして",
]
NOT = [
    "What is a UUID?",
    "How do I generate a random number in Python?",
    "Write a Python function that returns a random number",
    "What makes a password strong?",
    "I forgot my password",
    "Please reset my password",
    "Create a new account for my daughter",
    "I need a new card",
    "Give me the definition of random sampling",
    "Would you want to know how you will die?",
    "Hello! I randomly got charged an extra fee",
    "How do I turn off the joke of the day?",
    "Was ist ein sicheres Passwort?",
    "¿Cómo se genera un número aleatorio en SQL?",
    "密码是什么",
    "",
]


@pytest.mark.parametrize("prompt", ANEW)
def test_asks_for_something_new(prompt: str) -> None:
    assert asks_anew(prompt)


@pytest.mark.parametrize("prompt", NOT)
def test_does_not(prompt: str) -> None:
    assert not asks_anew(prompt)


def test_hardly_any_real_question_is_held_to_be_one() -> None:
    asked = [question.text for question in (*banking77("train"), *banking77("test"))]
    assert sum(map(asks_anew, asked)) / len(asked) < 0.001
