"""``curl``, as people type it."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.serve.clients.helpers import asked, in_thread
from tests.serve.running import Live

pytestmark = pytest.mark.anyio


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
async def test_curl(service: Live) -> None:
    def curl(*arguments: str) -> tuple[str, str]:
        done = subprocess.run(
            ["curl", "-sSNi", "--max-time", "20", "--noproxy", "*", *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
        return head.lower(), body

    def work() -> None:
        url = f"{service.url}/v1/chat/completions"
        body = ("-H", "Content-Type: application/json", "-d")
        head, answer = curl(url, *body, json.dumps(asked("refund at 10")))
        assert "cache-status: semcache; fwd=miss; stored" in head
        head, stream = curl(url, *body, json.dumps(asked("money back at 15", stream=True)))
        assert "cache-status: semcache; hit\n" in head
        assert "content-type: text/event-stream" in head
        assert stream.endswith("data: [DONE]\n\n")
        assert json.loads(answer)["choices"][0]["message"]["content"] in stream
        head, refusal = curl(url, *body, "{")
        assert head.startswith("http/1.1 400")
        assert json.loads(refusal)["error"]["code"] == "invalid_json"
        # as curl says it by itself: a form, which must not matter
        head, _ = curl(url, "-d", json.dumps(asked("refund at 10")))
        assert "x-semcache-status: exact" in head

    await in_thread(work)
