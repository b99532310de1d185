"""Haystack: a pipeline that answers from documents."""

import sys

from haystack import Document, Pipeline
from haystack.components.builders import ChatPromptBuilder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.components.generators.utils import print_streaming_chunk
from haystack.dataclasses import ChatMessage
from haystack.utils import Secret

url, prompt, *stream = sys.argv[1:]
said = "{% for document in documents %}{{ document.content }}\n{% endfor %}"
template = [
    ChatMessage.from_system("Answer by these documents:\n" + said),
    ChatMessage.from_user("{{ question }}"),
]
pipeline = Pipeline()
pipeline.add_component("prompt", ChatPromptBuilder(template, required_variables="*"))
pipeline.add_component(
    "model",
    OpenAIChatGenerator(
        model="simulated",
        api_base_url=url,
        api_key=Secret.from_token("k"),
        streaming_callback=print_streaming_chunk if stream else None,
    ),
)
pipeline.connect("prompt.prompt", "model.messages")
documents = [Document(content="Items go back within 30 days.")]
asked = {"prompt": {"documents": documents, "question": prompt}}
print(pipeline.run(asked)["model"]["replies"][0].text)
