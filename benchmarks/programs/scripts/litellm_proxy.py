"""LiteLLM's proxy, and the ``openai`` package that asks it."""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from openai import APIConnectionError, OpenAI

url, prompt, *stream = sys.argv[1:]
with socket.socket() as one:
    one.bind(("127.0.0.1", 0))
    port = one.getsockname()[1]
key = f"sk-{secrets.token_hex(32)}"
behind = {"model": "openai/simulated", "api_base": url, "api_key": "k"}
with tempfile.TemporaryDirectory() as folder:
    config = Path(folder) / "config.yaml"
    config.write_text(
        json.dumps({"model_list": [{"model_name": "simulated", "litellm_params": behind}]})
    )
    litellm = Path(sys.executable).with_name("litellm")
    command = [litellm, "--config", config, "--host", "127.0.0.1", "--port", str(port)]
    proxy = subprocess.Popen(
        command, stdout=sys.stderr, env={**os.environ, "LITELLM_MASTER_KEY": key}
    )
    try:
        client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0)
        while proxy.poll() is None:
            try:
                client.models.list()
                break
            except APIConnectionError:
                time.sleep(0.3)
        messages = [{"role": "user", "content": prompt}]
        answer = client.chat.completions.create(
            model="simulated", messages=messages, stream=bool(stream)
        )
        if stream:
            for chunk in answer:
                print((chunk.choices and chunk.choices[0].delta.content) or "", end="")
        else:
            print(answer.choices[0].message.content)
    finally:
        proxy.terminate()
        proxy.wait()
