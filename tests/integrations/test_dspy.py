"""DSPy's predictors over models that are none: what the cache answers, and what not."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import dspy
import pytest
from dspy.lm15 import Message, Response, TextPart, Usage

from semcache_async import Scope, SemanticCache
from semcache_async.errors import StoreUnavailableError, WrongLoopError
from semcache_async.integrations.dspy import SemcacheCache, SemcacheLM
from semcache_async.testing import GatedStore
from tests.helpers import until
from tests.integrations.conftest import Printed

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


class Engine:
    """Answers with the number of the call, behind ``gate``."""

    def __init__(self) -> None:
        self.calls, self.finish_reason, self.said = 0, "stop", "answer"
        self.gate = asyncio.Event()
        self.gate.set()

    def complete(self, request: Any) -> Response:
        self.calls += 1
        text = f"[[ ## answer ## ]]\n{self.said} {self.calls}\n\n[[ ## completed ## ]]"
        return Response(
            None,
            "m",
            Message.assistant([TextPart(text)]),
            self.finish_reason,
            Usage(input_tokens=3, output_tokens=5, total_tokens=8),
        )


class AsyncEngine:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def complete(self, request: Any) -> Response:
        response = self.engine.complete(request)
        await self.engine.gate.wait()
        return response


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def real(engine: Engine) -> Any:
    return dspy.LM("openai/m", engine=engine, async_engine=AsyncEngine(engine), temperature=0.5)


@pytest.fixture
def lm(real: Any, cache: SemanticCache) -> SemcacheLM:
    return SemcacheLM(real, cache, field="question")


ASK = dspy.Predict("question, context -> answer")


async def asked(lm: Any, question: str, context: str = "a", **options: Any) -> Any:
    with dspy.context(lm=lm):
        return (await ASK.acall(question=question, context=context, **options)).answer


async def test_the_field_is_matched_and_all_else_is_equal(lm: SemcacheLM, engine: Engine) -> None:
    made = await asked(lm, "refund at 10")
    assert await asked(lm, "refund at 10") == await asked(lm, "money back at 12") == made
    assert engine.calls == 1
    assert len(lm.history) == 3
    assert [entry["usage"].get("total_tokens") for entry in lm.history] == [8, None, None]
    await asked(lm, "parcel at 90")
    await asked(lm, "refund at 10", "b")
    await asked(lm, "refund at 10\n\n[[ ## context ## ]]\nc")
    await asked(lm, "refund at 10", config={"temperature": 0.4})
    await asked(lm, "refund at 10", config={"temperature": 0.5, "rollout_id": 1})
    await asked(lm, "refund at 10", demos=[dspy.Example(question="a", context="b", answer="c")])
    assert engine.calls == 7


async def test_without_a_field_each_wording_is_on_its_own(
    real: Any, cache: SemanticCache, engine: Engine
) -> None:
    for field in (None, "query"):
        lm = SemcacheLM(real, cache, field=field, scope=Scope(tenant=str(field)))
        for question in ("refund at 10", "refund at 10", "money back at 10"):
            await asked(lm, question)
    assert engine.calls == 4


async def test_callers_share_a_call(lm: SemcacheLM, engine: Engine, cache: SemanticCache) -> None:
    engine.gate.clear()
    asking = [
        asyncio.create_task(asked(lm, question))
        for question in ("refund at 10", "money back at 12", "refund at 11")
    ]
    await until(lambda: cache.stats().waiting == 3)
    engine.gate.set()
    assert await asyncio.gather(*asking) == ["answer 1"] * 3
    assert sum(bool(entry["usage"]) for entry in lm.history) == 1


async def test_who_leaves_a_stream_leaves_the_call_to_others(cache: SemanticCache) -> None:
    gate = asyncio.Event()
    said = {"content": "[[ ## answer ## ]]\nit\n\n[[ ## completed ## ]]"}

    class Telling(dspy.BaseLM):  # type: ignore[misc]
        async def aforward(self, *_: Any, **__: Any) -> Any:
            await gate.wait()
            if dspy.settings.send_stream:
                await dspy.settings.send_stream.send("it is")
            choice = {"message": said, "finish_reason": "stop"}
            return {"model": "m", "choices": [choice], "usage": {}}

    ask = dspy.streamify(ASK, is_async_program=True)
    with dspy.context(lm=SemcacheLM(Telling("m"), cache, field="question")):
        leader = ask(question="refund at 10", context="a")
        leading = asyncio.create_task(anext(leader))
        await until(lambda: cache.stats().waiting == 1)
        following = asyncio.create_task(asked(dspy.settings.lm, "money at 11"))
        await until(lambda: cache.stats().waiting == 2)
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
        await leader.aclose()
        gate.set()
        assert await following == "it"


async def test_from_threads_and_in_the_loop(lm: SemcacheLM, engine: Engine) -> None:
    def work(question: str) -> Any:
        with dspy.context(lm=lm):
            return ASK(question=question, context="a").answer

    assert await asyncio.to_thread(work, "refund at 10") == "answer 1"
    assert await asyncio.to_thread(work, "money back at 12") == "answer 1"
    assert await asked(lm, "refund at 11") == "answer 1"
    with pytest.raises(WrongLoopError, match="in a thread"):
        work("refund at 10")


@pytest.mark.parametrize(
    ("question", "config"),
    [
        ("My e-mail is jo@example.org, refund at 10", {}),
        ("refund at 10", {"temperature": 1.0}),
        ("refund at 10", {"cache": False}),
    ],
)
async def test_what_goes_past_the_cache(
    lm: SemcacheLM, engine: Engine, question: str, config: dict[str, Any]
) -> None:
    for calls in (1, 2):
        await asked(lm, question, config=config)
        assert engine.calls == calls


async def test_what_is_not_kept(lm: SemcacheLM, engine: Engine) -> None:
    engine.finish_reason = "length"
    await asked(lm, "refund at 10")
    engine.finish_reason, engine.said = "stop", "Use card 4111 1111 1111 1111,"
    await asked(lm, "refund at 10")
    engine.said = "answer"
    assert await asked(lm, "refund at 10") == await asked(lm, "refund at 11") == "answer 3"


async def test_copies_ask_the_same_cache(lm: SemcacheLM, engine: Engine) -> None:
    assert await asked(lm, "refund at 10") == "answer 1"
    assert await asked(copy.deepcopy(lm), "refund at 11") == "answer 1"
    assert await asked(lm.copy(rollout_id=1), "refund at 11") == "answer 2"
    assert await asked(lm.copy(temperature=0.1), "refund at 11") == "answer 3"
    assert await asked(lm.copy(cache=False), "refund at 11") == "answer 4"
    assert SemcacheLM(dspy.LM("openai/m"), lm._cache).dump_state()["model"] == "openai/m"


@pytest.fixture
def instead(cache: SemanticCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(dspy), "cache", SemcacheCache(cache, field="question"))


@pytest.mark.usefixtures("instead")
async def test_instead_of_the_cache_of_dspy(real: Any, engine: Engine) -> None:
    made = await asked(real, "refund at 10")
    assert await asked(real, "refund at 10") == await asked(real, "money back at 12") == made
    assert engine.calls == 1
    await asked(real, "refund at 10", "b")
    await asked(real.copy(rollout_id=1), "refund at 10")
    engine.finish_reason = "length"
    await asked(real, "parcel at 90")
    engine.finish_reason = "stop"
    await asked(real, "parcel at 90")
    assert engine.calls == 5


@pytest.mark.usefixtures("instead")
async def test_a_cache_that_is_down_fails_open(
    real: Any, store: GatedStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.fail("put", error=StoreUnavailableError("down"))
    assert await asked(real, "refund at 10") == "answer 1"
    assert "DSPy's storing went without the cache: down" in caplog.text
    with dspy.context(lm=real):
        assert ASK(question="refund at 10", context="a").answer == "answer 2"
    assert "DSPy's lookup went without the cache: The event loop" in caplog.text


@pytest.mark.usefixtures("instead")
async def test_what_is_no_call_is_kept_as_dspy_does() -> None:
    embedded: list[str] = []

    def embed(texts: list[str], **_: Any) -> list[list[float]]:
        embedded.extend(texts)
        return [[1.0] for _ in texts]

    embedder = dspy.Embedder(embed)
    for _ in range(2):
        embedder("refund at 10")
    assert embedded == ["refund at 10"]


async def test_the_page(printed: Printed) -> None:
    assert await printed("dspy.md") == ["Within 30 days."] * 2
