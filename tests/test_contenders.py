"""The benchmark's contenders: the worker's protocol, and each against the same small truth."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from benchmarks.contenders import Setup, load
from benchmarks.contenders.asking import Plan, ask, burst, zipf
from benchmarks.contenders.llm import SimulatedLLM, answer_to
from benchmarks.contenders.loops import closed_loop, open_loop
from benchmarks.contenders.model import write_model
from benchmarks.contenders.process import ROOT, ContenderError, interpreter, start_worker
from semcache_async.data import banking77
from tests.load.helpers import VirtualLoop, in_virtual_time

pytestmark = pytest.mark.anyio

PAIRS = [
    ("How do I reset my password?", "Follow the link."),
    ("When does the shop open?", "At nine."),
]
REWORDED = "How can I reset my password?"
UNRELATED = "Why is the sky blue?"
SLOW: dict[str, Any] = {"median_s": 1.0, "sigma": 0.0, "seed": 3}
LLM: dict[str, Any] = {"median_s": 0.02, "sigma": 0.2, "seed": 3}


@pytest.fixture
def anyio_backend() -> str:
    """The worker chooses its own loop; the driver needs one."""
    return "asyncio"


@pytest.fixture
def setup(name: str) -> Setup:
    return Setup(name=name, redis_url="redis://nobody", model=Path("none"), max_distance=0.1)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    write_model(directory)
    return directory


# -- the protocol, by a contender that needs nothing


async def test_loop_answers_by_text_whatever_the_order(setup: Setup) -> None:
    texts = [f"question {number}" for number in range(50)]
    pairs = [(text, f"answer to {text}") for text in texts[::2]]
    async with start_worker("memory", setup) as worker:
        opened = await worker.ask("open")
        assert opened["about"] == "a dict"
        assert opened["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
        assert (await worker.ask("fill", pairs=pairs))["elapsed_s"] >= 0
        reply = await worker.ask("loop", call="lookup", callers=7, texts=texts)
    assert reply["answers"] == [dict(pairs).get(text) for text in texts]
    assert len(reply["latencies_ms"]) == len(texts)
    assert 0 < max(reply["latencies_ms"]) <= reply["elapsed_s"] * 1e3 + 0.01
    assert reply["idle_cpu"] >= 0


async def test_failure_shows_and_the_worker_goes_on(setup: Setup) -> None:
    async with start_worker("memory", setup) as worker:
        with pytest.raises(ContenderError, match="not open"):
            await worker.ask("loop", call="lookup", callers=1, texts=["a"])
        await worker.ask("open")
        with pytest.raises(ContenderError, match="embeds nothing"):
            await worker.ask("loop", call="embed", callers=1, texts=["a"])
        with pytest.raises(ContenderError, match="unknown command 'dance'"):
            await worker.ask("dance")
        assert (await worker.ask("loop", call="lookup", callers=1, texts=["a"]))["answers"] == [
            None
        ]


async def test_stderr_of_a_worker_that_ended_is_shown(setup: Setup) -> None:
    async with start_worker("memory", setup) as worker:
        await worker.ask("quit")
        with pytest.raises(ContenderError, match=r"ended with status 0(.|\n)*its stderr"):
            await worker.ask("open")


async def test_a_worker_that_takes_too_long_is_killed(setup: Setup) -> None:
    async with start_worker("memory", setup) as worker:
        await worker.ask("open")
        with pytest.raises(ContenderError, match=r"'loop' took longer than 0\.2 s"):
            await worker.ask("loop", within_s=0.2, call="lookup", texts=["a"], at_s=[600.0])
        assert worker.gone


async def test_a_contender_can_run_from_another_checkout(setup: Setup, tmp_path: Path) -> None:
    with pytest.raises(ContenderError, match="is no checkout"):
        async with start_worker("ours", setup, tmp_path):
            pass
    (tmp_path / "semcache_async").mkdir()
    (tmp_path / "semcache_async" / "__init__.py").write_text("raise ImportError('the other one')")
    (tmp_path / "benchmarks").mkdir()
    async with start_worker("ours", setup, tmp_path) as worker:
        with pytest.raises(ContenderError, match="ImportError: the other one"):
            await worker.ask("open")


def test_unknown_contenders_and_absent_environments_are_named() -> None:
    with pytest.raises(LookupError, match="no contender 'no-such'"):
        load("no-such")
    with pytest.raises(LookupError, match="is no contender"):
        load("worker")
    with pytest.raises(ContenderError, match="scripts/pinned-env no-such"):
        interpreter("no-such")


@pytest.mark.parametrize("path", sorted(ROOT.glob("benchmarks/contenders/requirements/*.txt")))
def test_requirements_are_pinned(path: Path) -> None:
    lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    assert all("==" in line for line in lines if line)


# -- the LLM behind the misses


def test_thinking_time_is_the_prompts_own() -> None:
    llm, other = SimulatedLLM(**LLM), SimulatedLLM(**{**LLM, "seed": 4})
    times = [llm.thinking_s(f"question {number}") for number in range(400)]
    assert llm.thinking_s("question 7") == times[7] != other.thinking_s("question 7")
    assert sorted(times)[200] == pytest.approx(LLM["median_s"], rel=0.05)


async def test_open_loop_generates_what_is_missed_and_waits_for_nobody(setup: Setup) -> None:
    texts, at_s = ["a", "a", "a", "b"], [0.0, 0.0, 0.0, 0.0]
    async with start_worker("memory", setup) as worker:
        await worker.ask("open")
        reply = await worker.ask("generate", texts=texts, at_s=at_s, llm=LLM)
        again = await worker.ask("generate", texts=["a"], at_s=[0.0], llm=LLM)
    assert sorted(reply["generated"]) == sorted(texts), "without single flight, one a caller"
    assert reply["answers"] == [answer_to(text) for text in texts]
    thought = 1e3 * SimulatedLLM(**LLM).thinking_s("a")
    assert min(reply["latencies_ms"][:3]) >= thought - 1.0
    assert reply["llm_s"] > 3e-3 * thought
    assert (again["generated"], again["answers"]) == ([], [answer_to("a")]), "kept"


async def test_closed_loop_generates_once_where_callers_follow_each_other(setup: Setup) -> None:
    async with start_worker("memory", setup) as worker:
        await worker.ask("open")
        reply = await worker.ask("generate", texts=["a", "b", "a", "b"], callers=1, llm=LLM)
        assert reply["generated"] == ["a", "b"]
        await worker.ask("open", name="another")
        reply = await worker.ask("generate", texts=["a"], callers=1, llm=LLM)
        assert reply["generated"] == ["a"], "opened again, it is empty"
        await worker.ask("close")
        with pytest.raises(ContenderError, match="not open"):
            await worker.ask("generate", texts=["a"], callers=1, llm=LLM)


async def test_no_cache_generates_everything(setup: Setup) -> None:
    async with start_worker("none", setup) as worker:
        await worker.ask("open")
        reply = await worker.ask("generate", texts=["a", "a"], callers=1, llm=LLM)
    assert reply["generated"] == ["a", "a"]


async def test_a_failing_request_is_counted_and_the_turn_goes_on(
    setup: Setup, redis_url: str
) -> None:
    plan = Plan(["a", "a"], ["first", "first"], [0.0, 0.0])
    async with (
        redis.asyncio.Redis.from_url(redis_url, protocol=3) as client,
        start_worker("memory", setup) as worker,
    ):
        await worker.ask("open")
        asked = await ask(worker, client, plan, {**LLM, "median_s": "slow"})
        assert (len(asked.failures), asked.other_intent) == (2, 0)
        assert "TypeError" in asked.failures[0]
        assert (await ask(worker, client, plan, LLM)).failures == []


async def test_the_closed_loop_ends_when_its_time_is_over() -> None:
    async def answer(text: str) -> str:
        return text

    assert (await closed_loop(answer, ["a", "b"], 2))["answers"] == ["a", "b"]
    none = await closed_loop(answer, ["a", "b"], 2, limit_s=0.0)
    assert (none["answers"], none["latencies_ms"]) == ([], [])


def stalling(loop: VirtualLoop) -> Callable[[str], Awaitable[str]]:
    """As an embedder on the event loop does: nothing else runs for 50 ms."""

    async def answer(text: str) -> str:
        loop.now += 0.05
        return text

    return answer


def test_stalls_of_the_event_loop_are_lag() -> None:
    reply = in_virtual_time(
        lambda loop: closed_loop(stalling(loop), ["a", "b"], 1, clock=loop.time)
    )
    assert max(reply["lag_ms"]) == pytest.approx(95.0)
    assert len(reply["lag_ms"]) >= 19, "each tick that they swallowed counts"


def test_open_loop_charges_a_stalled_event_loop_with_all_that_was_due() -> None:
    at_s = [0.0, 0.01, 0.02]
    reply = in_virtual_time(
        lambda loop: open_loop(stalling(loop), ["a", "b", "c"], at_s, clock=loop.time)
    )
    assert reply["answers"] == ["a", "b", "c"]
    assert reply["latencies_ms"] == pytest.approx([50.0, 90.0, 130.0])
    assert reply["late_ms"] == pytest.approx(40.0)


def test_open_loop_waits_for_nobody() -> None:
    async def work(loop: VirtualLoop) -> dict[str, Any]:
        async def answer(text: str) -> str:
            await asyncio.sleep(float(text))
            return text

        return await open_loop(answer, ["1.0", "0.1"], [0.0, 0.2], clock=loop.time)

    reply = in_virtual_time(work)
    assert reply["latencies_ms"] == pytest.approx([1000.0, 100.0])
    assert reply["elapsed_s"] == pytest.approx(1.0)


def test_a_burst_shares_its_questions_out_evenly() -> None:
    questions = banking77("test")
    plan = burst(questions, callers=64, intents=8, seed=1)
    assert plan == burst(questions, callers=64, intents=8, seed=1)
    assert plan != burst(questions, callers=64, intents=8, seed=2)
    assert sorted(Counter(plan.intents).values()) == [8] * 8
    assert plan.asked == 8
    assert len(set(plan.texts)) > 8, "worded in various ways"
    assert set(plan.at_s) == {0.0}
    with pytest.raises(LookupError, match="77 intents, not 78"):
        burst(questions, callers=100, intents=78, seed=1)


def test_zipf_is_in_order_of_time_and_has_favourites() -> None:
    plan = zipf(banking77("test"), requests=500, rate=50.0, exponent=1.1, seed=1)
    assert len(plan.texts) == len(plan.intents) == 500
    assert plan.at_s == sorted(plan.at_s)
    assert plan.at_s[-1] == pytest.approx(10.0, rel=0.05)
    assert max(Counter(plan.intents).values()) > 3 * 500 / plan.asked


async def test_a_turn_counts_calls_and_answers_for_other_intents(
    setup: Setup, redis_url: str
) -> None:
    plan = Plan(["a", "a", "b"], ["first", "first", "second"], [0.0, 0.2, 0.2])
    async with (
        redis.asyncio.Redis.from_url(redis_url, protocol=3) as client,
        start_worker("memory", setup) as worker,
    ):
        await worker.ask("open")
        asked = await ask(worker, client, plan, LLM)
        assert (asked.llm_calls, asked.intents) == (2, 2)
        assert (asked.requests, asked.other_intent) == (3, 0)
        await worker.ask("fill", pairs=[("b", answer_to("a"))])
        asked = await ask(worker, client, plan, LLM, 2)
        assert (asked.llm_calls, asked.other_intent) == (0, 1)
        await worker.ask("fill", pairs=[("b", "Whose answer is this?")])
        with pytest.raises(ValueError, match="Whose answer"):
            await ask(worker, client, plan, LLM)


# -- the contenders, each in its environment

CONTENDERS = {
    "ours": 1,
    "ours-flightless": 3,
    "ours-unpacked": 1,
    "ours-unpipelined": 1,
    "redisvl-async": 3,
    "redisvl-threads": 3,
    "langchain-redis": 3,
    "gptcache": 3,
}
"""And how often they call the LLM when three ask the same at once."""


@pytest.mark.parametrize("contender", CONTENDERS)
async def test_contender_finds_what_was_reworded(
    contender: str, redis_url: str, model: Path, name: str
) -> None:
    environment = load(contender).ENVIRONMENT
    try:
        interpreter(environment)
    except ContenderError as error:
        pytest.skip(str(error))
    setup = Setup(name=name, redis_url=redis_url, model=model, max_distance=0.1)
    async with start_worker(contender, setup) as worker:
        opened = await worker.ask("open")
        assert set(load(contender).PACKAGES) >= set(opened["versions"]) - {"python"}
        await worker.ask("fill", pairs=PAIRS)
        texts = [REWORDED, UNRELATED, PAIRS[1][0]]
        reply = await worker.ask("loop", call="lookup", callers=3, texts=texts)
        assert reply["answers"] == [PAIRS[0][1], None, PAIRS[1][1]]
        reply = await worker.ask("loop", call="embed", callers=3, texts=texts)
        assert reply["answers"] == [None] * 3
        reply = await worker.ask(
            "generate", texts=[*[UNRELATED] * 3, REWORDED], at_s=[0] * 4, llm=SLOW
        )
        assert reply["generated"] == [UNRELATED] * CONTENDERS[contender]
        assert reply["answers"] == [answer_to(UNRELATED)] * 3 + [PAIRS[0][1]]
        reply = await worker.ask("generate", texts=[UNRELATED], callers=1, llm=SLOW)
        assert reply["generated"] == [], "kept"
