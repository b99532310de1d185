"""CrewAI: one agent with one task."""

import sys

from crewai import LLM, Agent, Crew, Task

url, prompt, *stream = sys.argv[1:]
model = LLM(model="openai/simulated", base_url=url, api_key="k", stream=bool(stream))
clerk = Agent(role="Clerk", goal="Answer customers", backstory="You work in a shop.", llm=model)
task = Task(description=prompt, expected_output="One paragraph.", agent=clerk)
print(Crew(agents=[clerk], tasks=[task]).kickoff())
