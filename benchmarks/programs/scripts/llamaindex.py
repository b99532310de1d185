"""LlamaIndex: a query engine."""

import sys

from llama_index.core import Document, Settings, SummaryIndex
from llama_index.llms.openai_like import OpenAILike

url, prompt, *stream = sys.argv[1:]
Settings.llm = OpenAILike(model="simulated", api_base=url, api_key="k", is_chat_model=True)
documents = [Document(text="Items go back within 30 days."), Document(text="Shipping is free.")]
engine = SummaryIndex.from_documents(documents).as_query_engine(streaming=bool(stream))
answer = engine.query(prompt)
if stream:
    answer.print_response_stream()
else:
    print(answer)
