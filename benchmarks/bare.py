"""An aiohttp handler that answers every POST with the same completion: what the server itself
costs.  python -m benchmarks.bare PORT"""

from __future__ import annotations

import json
import sys

import uvloop
from aiohttp import web

__all__ = ["ANSWER"]

ANSWER = json.dumps(
    {
        "id": "chatcmpl-0123456789abcdef01234567",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "simulated",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Like this. " * 30},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 12, "completion_tokens": 90, "total_tokens": 102},
    }
).encode()


async def _answer(request: web.Request) -> web.Response:
    json.loads(await request.read())
    return web.Response(body=ANSWER, content_type="application/json")


async def _ready(_: web.Request) -> web.Response:
    return web.Response()


def main() -> None:
    """Serve until interrupted."""
    app = web.Application()
    app.router.add_post("/v1/chat/completions", _answer)
    app.router.add_get("/readyz", _ready)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
