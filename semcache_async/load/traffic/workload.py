"""Traffic made of real questions: what is asked when (pure, seeded), and asking it then."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from semcache_async.data import Question

__all__ = ["Arrival", "Popularity", "Replayed", "make_workload", "replay", "reworded"]

_CROWD_SIZES = (24, 64)
_CROWD_SPREAD_S = 0.03
"""Mean delay of a crowd's caller after the crowd's moment."""
_OVERLAP = 0.4
"""Share of words (Jaccard) from which two questions of one intent count as rewordings."""
_OPENINGS = ("Hi, ", "Hello! ", "Please: ", "Hi there, ", "Quick question: ")
_CLOSINGS = (", please?", " Thanks!", "??", " ")


class Arrival(NamedTuple):
    """One request: when it is due, and what it asks."""

    at_s: float
    """Seconds after the start."""
    prompt: str
    question: Question
    """The question that ``prompt`` words, and with it the asker's intent."""
    crowd: int | None = None
    """The flash crowd it belongs to, counted from 0."""


def make_workload(
    questions: Sequence[Question],
    *,
    requests: int,
    rate: float,
    zipf: float = 1.1,
    burstiness: float = 2.5,
    crowd_share: float = 0.1,
    seed: int = 0,
) -> list[Arrival]:
    """``requests`` arrivals in order of time, at ``rate`` a second on average.

    Popularity is Zipf with exponent ``zipf`` over the intents, ranked at random; who has an intent
    words it as any of its questions does: the source's own paraphrases. The gaps are gamma
    distributed with ``burstiness`` as their coefficient of variation (1 = Poisson).
    ``crowd_share`` of the requests come in flash crowds: dozens of callers who ask one question, or
    another of its intent in nearly the same words, at the same moment. One seed, one workload.
    """
    random = np.random.default_rng(seed)
    duration = requests / rate
    sizes = list(_crowd_sizes(int(requests * crowd_share), random))
    steady = requests - sum(sizes)
    arrivals = [
        Arrival(at, question.text, question)
        for at, question in zip(
            _bursts(steady, duration, burstiness, random),
            Popularity(questions, zipf, random).draw(steady, random),
            strict=True,
        )
    ]
    for number, size in enumerate(sizes):
        arrivals += _crowd(number, size, questions, duration, random)
    return sorted(arrivals, key=lambda arrival: arrival.at_s)


def _crowd_sizes(requests: int, random: np.random.Generator) -> Iterator[int]:
    low, high = _CROWD_SIZES
    while requests > 0:
        size = min(requests, int(random.integers(low, high, endpoint=True)))
        yield size
        requests -= size


def _bursts(
    count: int, duration: float, burstiness: float, random: np.random.Generator
) -> list[float]:
    variance = burstiness**2
    times = np.cumsum(random.gamma(1.0 / variance, variance, count))
    scaled: list[float] = (times * (duration / times[-1])).tolist() if count else []
    return scaled


class Popularity:
    """Who asks what: intents by Zipf's law with exponent ``zipf``, ranked at random, each in any of
    the wordings that the questions give it."""

    def __init__(
        self, questions: Sequence[Question], zipf: float, random: np.random.Generator
    ) -> None:
        wordings: dict[str, list[Question]] = {}
        for question in questions:
            wordings.setdefault(question.intent, []).append(question)
        intents = list(wordings)
        self._by_rank = [wordings[intents[place]] for place in random.permutation(len(intents))]
        weights = np.arange(1, len(intents) + 1, dtype=np.float64) ** -zipf
        self._shares = weights / weights.sum()

    def draw(self, count: int, random: np.random.Generator) -> list[Question]:
        """``count`` questions, each independent of the others."""
        ranks = random.choice(len(self._by_rank), size=count, p=self._shares)
        asked = [self._by_rank[rank] for rank in ranks]
        return [words[int(random.integers(len(words)))] for words in asked]


def _crowd(
    number: int,
    size: int,
    questions: Sequence[Question],
    duration: float,
    random: np.random.Generator,
) -> list[Arrival]:
    question = questions[int(random.integers(len(questions)))]
    near = _near(question, questions)
    moment = duration * random.uniform(0.1, 0.9)
    arrivals = []
    for delay in random.exponential(_CROWD_SPREAD_S, size):
        asked = (
            near[int(random.integers(len(near)))] if near and random.random() < 0.5 else question
        )
        at = min(moment + float(delay), duration)
        arrivals.append(Arrival(at, reworded(asked.text, random), asked, number))
    return arrivals


def _near(question: Question, questions: Sequence[Question]) -> list[Question]:
    """The questions of the same intent in nearly the same words."""
    words = _words(question.text)
    near = []
    for other in questions:
        if other.intent == question.intent and other.text != question.text:
            others = _words(other.text)
            if len(words & others) >= _OVERLAP * len(words | others):
                near.append(other)
    return near


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def reworded(text: str, random: np.random.Generator) -> str:
    """``text`` as another person might type it: other case, punctuation or politeness."""
    way = random.integers(6)
    if way == 0:
        return text
    if way == 1:
        return text.lower()
    if way == 2:
        return text.upper()
    bare = text.rstrip("?!. ")
    if way == 3:
        return bare
    if way == 4:
        return bare + _CLOSINGS[random.integers(len(_CLOSINGS))]
    return _OPENINGS[random.integers(len(_OPENINGS))] + text


class Replayed(NamedTuple):
    """How the asking itself went."""

    late_s: list[float]
    """Seconds after its time at which each request was sent, in order of arrival."""
    peak: int
    """The most requests under way at once."""
    seconds: float
    """From the start to the last answer."""


async def replay(
    arrivals: Sequence[Arrival],
    ask: Callable[[Arrival, float], Awaitable[None]],
    *,
    began: float,
    callers: int,
) -> Replayed:
    """Open loop: ``ask(arrival, due)`` at each arrival's time, whether or not earlier ones were
    answered. Times are ``time.perf_counter``'s; ``began`` is the start.

    At most ``callers`` ask at once. The others wait, and since ``due`` stays when they should have
    asked, their wait is theirs to count.
    """
    slots = asyncio.Semaphore(callers)
    late_s: list[float] = []
    busy = peak = 0

    async def one(arrival: Arrival, due: float) -> None:
        nonlocal busy, peak
        async with slots:
            busy += 1
            peak = max(peak, busy)
            try:
                await ask(arrival, due)
            finally:
                busy -= 1

    async with asyncio.TaskGroup() as group:
        for arrival in arrivals:
            due = began + arrival.at_s
            while (early := due - time.perf_counter()) > 0:  # noqa: ASYNC110 - may wake early
                await asyncio.sleep(early)
            late_s.append(-early)
            group.create_task(one(arrival, due))
    return Replayed(late_s, peak, time.perf_counter() - began)
