from __future__ import annotations

import pytest

from semcache_async.data import banking77
from semcache_async.text.cacheable import is_personal, is_time_bound

PERSONAL = (
    "Write to ann.lee+x@example.co.uk about it",
    "Call me on +44 20 7946 0958 please",
    "my phone is (555) 123-4567, call",
    "reach me at 0049 170 1234567",
    "reach me at 044.123.45.67",
    "write to ann@163.com",
    "Why was 4111 1111 1111 1111 declined?",
    "card 5500-0000-0000-0004?",
    "Send it to DE89 3704 0044 0532 0130 00 please",
    "send to gb82west12345698765432",
    "SSN 078-05-1120",
    "My name\u2019s Ann, where is my card?",
    "my full name is O'Brien",
    "I'm called Bob",
    "I am 34 years old, may I open an account?",
    "My address is 5 Main Street",
    "my account number is 12345",
    "my password is hunter2!",
    "my e-mail address: box7",
    "I was born on 3 May 1990",
    "I was born in May 1990",
    "I was diagnosed with diabetes, may I travel?",
    "use sk-abcdefghijklmnopqrstuv here",
    "card 4111 1111 1111 1111 12/26 is declined",
    "-----BEGIN RSA PRIVATE KEY-----",
)
NOT_PERSONAL = (
    "How do I change my name?",
    "My name is spelled wrong on the card",
    "my name is misspelled",
    "Is my address visible to shops?",
    "My PIN is blocked",
    "my password is not working",
    "How do I change my e-mail address?",
    "my phone number has changed",
    "How do I unblock my card?",
    "My card 2 is broken",
    "What is 1234567 times 7654321?",
    "Population between 1990-2000 and 2010-2020",
    "What happened on 2024-05-17?",
    "Is 3.14159265358979 pi?",
    "Is 1,000,000,000 a billion?",
    "decorate @property in Python",
    "Explain user@localhost",
    "ISO 8601 or RFC 3339?",
    "Compare 192.168.0.1 and 10.0.0.1",
    "Is 192.168.100.100/24 a private address?",
    "npm install @types/node@18.0.0 fails",
    "0000 0000 0000 0000",
    "version 1.2.3.4.5.6.7.8",
    "Is DE00 3704 0044 0532 0130 00 valid?",
    "AES256GCMSIV and ChaCha20Poly1305",
    "Can sentiment140 package used to extract sentiments other than tweets like finance news?",
    "Use the risk-adjusted-returns-of-a-fund or ask-me-anything-about-it",
    "\u0661\u0662",
)
TIME_BOUND = (
    "What's the weather in Paris?",
    "What is the weather like today?",
    "Who is the current president of France?",
    "current exchange rate of the euro",
    "Give me the latest news",
    "What time is it?",
    "What is the date?",
    "Which day is today?",
    "Who won the game last night?",
    "What happened yesterday?",
    "Is the shop open right now?",
    "bitcoin price",
    "Price of gold in dollars?",
    "Tell me what is on my calendar today",
    "What's playing this weekend?",
    "today's headlines",
    "Hi. What are my meetings tomorrow?",
    "Is it raining?",
)
NOT_TIME_BOUND = (
    "How do I reset my password now?",
    "My card was stolen last night.",
    "I lost my phone yesterday, what can I do?",
    "Why was my payment declined today?",
    "What is the time limit for refunds?",
    "What is the time frame for a transfer?",
    "How do I convert time zones?",
    "I have waited for days now",
    "Explain the present perfect",
    "What is a live stream?",
    "Explain currentColor in CSS",
    "What is the last element of a list?",
    "Write a story about a day in May",
    "How is an exchange rate set?",
)


@pytest.mark.parametrize("prompt", PERSONAL)
def test_personal(prompt: str) -> None:
    assert is_personal(prompt)


@pytest.mark.parametrize("prompt", NOT_PERSONAL)
def test_not_personal(prompt: str) -> None:
    assert not is_personal(prompt)


@pytest.mark.parametrize("prompt", TIME_BOUND)
def test_time_bound(prompt: str) -> None:
    assert is_time_bound(prompt)
    assert is_time_bound(prompt.upper())


@pytest.mark.parametrize("prompt", NOT_TIME_BOUND)
def test_not_time_bound(prompt: str) -> None:
    assert not is_time_bound(prompt)


def test_customers_questions_stay_cacheable() -> None:
    questions = [question.text for question in (*banking77("train"), *banking77("test"))]
    assert not [text for text in questions if is_personal(text)]
    assert sum(map(is_time_bound, questions)) / len(questions) < 0.005


@pytest.mark.parametrize(
    "piece", ["1 ", "a@", "my ", "my name", "DE89", "1-", "today ", "\n", "sk-"]
)
def test_long_prompts_take_linear_time(piece: str) -> None:
    """The test's time limit is the assertion: quadratic patterns would take hours."""
    is_personal(piece * 50_000)
    is_time_bound(piece * 50_000)
