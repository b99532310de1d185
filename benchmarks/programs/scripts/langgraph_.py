"""LangGraph: a graph whose one node asks the model."""

import sys

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

url, prompt, *stream = sys.argv[1:]
model = ChatOpenAI(model="simulated", base_url=url, api_key="k")


def answer(state):
    return {"messages": [model.invoke(state["messages"])]}


graph = StateGraph(MessagesState)
graph.add_node("answer", answer)
graph.add_edge(START, "answer")
agent = graph.compile()
asked = {"messages": [("system", "You are a clerk of a shop."), ("user", prompt)]}
if stream:
    for message, _ in agent.stream(asked, stream_mode="messages"):
        print(message.content, end="")
else:
    print(agent.invoke(asked)["messages"][-1].content)
