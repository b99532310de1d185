"""Graphs whose nodes ask the cache."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from semcache_async import SemanticCache, Source
from semcache_async.integrations.langchain import SemcacheChatModel

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


@pytest.fixture
def graph(cache: SemanticCache) -> Any:
    """One node, which asks a model that has three answers."""
    answers = iter([AIMessage(f"answer {n}") for n in (1, 2, 3)])
    model = SemcacheChatModel(GenericFakeChatModel(messages=answers), cache)

    async def answer(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer")
    return graph.compile(checkpointer=InMemorySaver())


def asked(text: str) -> Any:
    return {"messages": [{"role": "user", "content": text}]}


def thread(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


async def test_threads_of_a_graph_share_their_beginning(graph: Any, cache: SemanticCache) -> None:
    turns = ("refund at 10", "fee at 80")
    for name in ("a", "b"):
        for n, text in enumerate(turns, 1):
            state = await graph.ainvoke(asked(text), thread(name))
            assert state["messages"][-1].content == f"answer {n}"
        assert len(state["messages"]) == 4
    assert (await graph.ainvoke(asked("fee at 80"), thread("c")))["messages"][
        -1
    ].content == "answer 3"
    assert cache.stats().llm_calls == 3


async def test_a_graph_streams_what_is_stored_and_what_is_made(
    graph: Any, cache: SemanticCache
) -> None:
    for n, name in enumerate("ab"):
        pieces = [
            (piece.content, notes["langgraph_node"])
            async for piece, notes in graph.astream(
                asked(f"refund at {10 + n}"), thread(name), stream_mode="messages"
            )
        ]
        assert "".join(text for text, _ in pieces) == "answer 1"
        assert {node for _, node in pieces} == {"answer"}
    assert cache.stats().semantic == 1


async def test_runs_at_once_share_a_call(graph: Any, cache: SemanticCache) -> None:
    runs = [graph.ainvoke(asked(f"refund at {n}"), thread(str(n))) for n in (10, 11, 12)]
    for state in await asyncio.gather(*runs):
        assert state["messages"][-1].content == "answer 1"
    assert cache.stats().llm_calls == 1


async def test_any_node_asks_the_cache_itself(cache: SemanticCache) -> None:
    class State(TypedDict, total=False):
        question: str
        answer: str
        source: Source

    async def generate(prompt: str) -> str:
        return f"An answer to: {prompt}"

    async def answer(state: State) -> State:
        found = await cache.get_or_generate(state["question"], generate)
        return {"answer": found.text, "source": found.source}

    graph: Any = StateGraph(State).add_node("answer", answer).add_edge(START, "answer").compile()
    for text, source in (("refund at 10", Source.GENERATED), ("money at 12", Source.SEMANTIC)):
        state = await graph.ainvoke({"question": text})
        assert (state["answer"], state["source"]) == ("An answer to: refund at 10", source)
