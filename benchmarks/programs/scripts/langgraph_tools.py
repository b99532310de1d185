"""LangGraph: a ReAct agent with a tool."""

import sys

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.prebuilt import create_react_agent

url, prompt, *stream = sys.argv[1:]
model = ChatOpenAI(model="simulated", base_url=url, api_key="k")


@tool
def look_up(order: str) -> str:
    """What became of an order."""
    return f"{order} is on its way."


agent = create_react_agent(model, [look_up])
asked = {"messages": [("user", prompt)]}
if stream:
    for message, _ in agent.stream(asked, stream_mode="messages"):
        print(message.content, end="")
else:
    print(agent.invoke(asked)["messages"][-1].content)
