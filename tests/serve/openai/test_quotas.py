"""A tenant's quotas, whatever it asks for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from semcache_async.serve.keys import Caller, KeyRing, hash_key
from semcache_async.simulator import SimulatorOptions
from tests.helpers import until
from tests.serve.running import serving

pytestmark = pytest.mark.anyio

KEYS = KeyRing({hash_key(name): Caller(tenant=name, author=name) for name in ("acme", "other")})
KINDS: list[dict[str, Any]] = [
    {},
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    {"n": 2},
]


@pytest.mark.parametrize("kind", KINDS)
async def test_calls_over_the_quota_are_refused_to_their_tenant_alone(kind: dict[str, Any]) -> None:
    llm = SimulatorOptions(median_ms=0.0, tokens_per_s=0.0)
    async with serving(None, "quotas", keys=KEYS, llm=llm, tenant_flights=1) as (client, service):

        async def status(tenant: str, prompt: str, simulate: str = "") -> int:
            headers = {"Authorization": f"Bearer {tenant}"}
            messages = [{"role": "user", "content": prompt}]
            body = {"model": "m", "messages": messages, "x_simulate": simulate, **kind}
            async with client.post("/v1/chat/completions", json=body, headers=headers) as answer:
                return answer.status

        first = asyncio.create_task(status("acme", "How do I pay?", "hang"))
        await until(lambda: service.cache.stats().llm_calls == 1)
        assert await status("acme", "Where is my card?") == 429
        assert await status("other", "Where is my card?") == 200
        first.cancel()
