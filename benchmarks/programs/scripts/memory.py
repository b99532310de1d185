"""Mem0: a memory is added."""

import sys
import tempfile

from mem0 import Memory

url, prompt = sys.argv[1:]
openai = {"openai_base_url": url, "api_key": "k"}
embedder = {"model": "all-MiniLM-L6-v2", "embedding_dims": 384, **openai}
with tempfile.TemporaryDirectory() as folder:
    store = {"path": folder, "embedding_model_dims": 384, "collection_name": "m"}
    memory = Memory.from_config(
        {
            "llm": {"provider": "openai", "config": {"model": "simulated", **openai}},
            "embedder": {"provider": "openai", "config": embedder},
            "vector_store": {"provider": "qdrant", "config": store},
        }
    )
    print(memory.add(prompt, user_id="ann"))
