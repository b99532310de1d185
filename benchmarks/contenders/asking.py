"""What is asked where the LLM answers the misses, and how a contender's turn at it went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import redis.asyncio

from benchmarks.contenders.llm import answer_to
from benchmarks.contenders.process import Worker
from benchmarks.contenders.rounds import redis_cpu
from semcache_async.data import Question
from semcache_async.load.traffic.workload import make_workload, reworded


class Plan(NamedTuple):
    """One turn's requests, in order of time."""

    texts: list[str]
    intents: list[str]
    """Of each text, as the source labels it."""
    at_s: list[float]
    """When each is due."""

    @property
    def asked(self) -> int:
        """How many intents."""
        return len(set(self.intents))


def burst(questions: Sequence[Question], *, callers: int, intents: int, seed: int) -> Plan:
    """At one moment, each caller one of ``intents`` questions of different intents, typed each in
    its own way: other case, punctuation or politeness. The questions are shared out evenly."""
    random = np.random.default_rng(seed)
    some: dict[str, Question] = {}
    for place in random.permutation(len(questions)):
        some.setdefault(questions[place].intent, questions[place])
        if len(some) == intents:
            break
    else:
        raise LookupError(f"the questions have {len(some)} intents, not {intents}")
    chosen = list(some.values())
    asked = [chosen[number % intents] for number in random.permutation(callers)]
    return Plan(
        [reworded(question.text, random) for question in asked],
        [question.intent for question in asked],
        [0.0] * callers,
    )


def zipf(
    questions: Sequence[Question], *, requests: int, rate: float, exponent: float, seed: int
) -> Plan:
    """Intents by Zipf's law in any of their wordings, in bursts, a tenth in flash crowds."""
    arrivals = make_workload(questions, requests=requests, rate=rate, zipf=exponent, seed=seed)
    return Plan(
        [arrival.prompt for arrival in arrivals],
        [arrival.question.intent for arrival in arrivals],
        [arrival.at_s for arrival in arrivals],
    )


class Asked(NamedTuple):
    """One turn, as measured."""

    requests: int
    intents: int
    llm_calls: int
    other_intent: int
    """Answers made for a prompt that the source gives another intent."""
    failures: list[str]
    """What was raised in place of an answer."""
    elapsed_s: float
    latencies_ms: list[float]
    """In an open loop, from when each request was due."""
    late_ms: float
    """The most that a request left late: the event loop was held up."""
    llm_s: float
    """The LLM's time, all calls together."""
    worker_cpu_ms: float
    """CPU a request by the contender's process."""
    redis_cpu_ms: float
    """CPU a request by Redis."""

    def at(self, percentile: float) -> float:
        return float(np.percentile(self.latencies_ms, percentile))


async def ask(
    worker: Worker,
    client: redis.asyncio.Redis,
    plan: Plan,
    llm: dict[str, Any],
    callers: int | None = None,
    *,
    within_s: float | None = None,
) -> Asked:
    """The plan at its own times, or in its order by so many ``callers``. Raises ``ValueError``
    where an answer is none of the LLM's."""
    paced = {"at_s": plan.at_s} if callers is None else {"callers": callers}
    before = await redis_cpu(client)
    reply = await worker.ask("generate", within_s=within_s, texts=plan.texts, llm=llm, **paced)
    spent = await redis_cpu(client) - before
    return Asked(
        requests=len(plan.texts),
        intents=plan.asked,
        llm_calls=len(reply["generated"]),
        other_intent=_mistaken(plan, reply["answers"]),
        failures=reply["failures"],
        elapsed_s=reply["elapsed_s"],
        latencies_ms=reply["latencies_ms"],
        late_ms=reply["late_ms"],
        llm_s=reply["llm_s"],
        worker_cpu_ms=reply["cpu_s"] / len(plan.texts) * 1e3,
        redis_cpu_ms=spent / len(plan.texts) * 1e3,
    )


def _mistaken(plan: Plan, answers: Sequence[str | None]) -> int:
    meant: dict[str, set[str]] = {}
    for text, intent in zip(plan.texts, plan.intents, strict=True):
        meant.setdefault(answer_to(text), set()).add(intent)
    strange = [answer for answer in answers if answer is not None and answer not in meant]
    if strange:
        raise ValueError(f"an answer that the LLM did not give: {strange[0]!r}")
    return sum(
        intent not in meant[answer]
        for intent, answer in zip(plan.intents, answers, strict=True)
        if answer is not None
    )
