"""The benchmark's contenders: the worker's protocol, and each against the same small truth."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.contenders import Setup, load
from benchmarks.contenders.model import write_model
from benchmarks.contenders.process import ROOT, ContenderError, interpreter, start_worker

pytestmark = pytest.mark.anyio

PAIRS = [
    ("How do I reset my password?", "Follow the link."),
    ("When does the shop open?", "At nine."),
]
REWORDED = "How can I reset my password?"
UNRELATED = "Why is the sky blue?"


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


def test_unknown_contenders_and_absent_environments_are_named() -> None:
    with pytest.raises(LookupError, match="no contender 'no-such'"):
        load("no-such")
    with pytest.raises(LookupError, match="is no contender"):
        load("worker")
    with pytest.raises(ContenderError, match="scripts/contender-env no-such"):
        interpreter("no-such")


@pytest.mark.parametrize("path", sorted(ROOT.glob("benchmarks/contenders/requirements/*.txt")))
def test_requirements_are_pinned(path: Path) -> None:
    lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    assert all("==" in line for line in lines if line)


# -- the contenders, each in its environment


@pytest.mark.parametrize("contender", ["ours", "redisvl-async", "redisvl-threads"])
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
