"""What the upstream keeps for one key, named by its id: no tenant's to reach but by leave."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from semcache_async.serve.keys import Caller, KeyRing, hash_key
from tests.serve.crowds import APIS
from tests.serve.running import live

pytestmark = pytest.mark.anyio

KEYS = KeyRing(
    {
        hash_key("sk-a"): Caller(tenant="a"),
        hash_key("sk-b"): Caller(tenant="b"),
        hash_key("sk-admin"): Caller(admin=True),
    }
)


def turn(part: dict[str, Any], api: str = "messages") -> dict[str, Any]:
    return {"input" if api == "responses" else "messages": [{"role": "user", "content": [part]}]}


FILE = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
NAMING = [
    ("chat", turn({"type": "file", "file": {"file_id": "file-1"}})),
    ("messages", turn(FILE)),
    ("messages", turn({"type": "container_upload", "file_id": "file_1"})),
    ("messages", turn({"type": "tool_result", "tool_use_id": "t", "content": [FILE]})),
    ("messages", {"container": "container_1"}),
    ("messages", {"container": {"id": "container_1"}}),
    ("responses", turn({"type": "input_file", "file_id": "file-1"}, "responses")),
    ("responses", turn({"type": "input_image", "file_id": "file-1"}, "responses")),
    ("responses", {"previous_response_id": "resp_1"}),
    ("responses", {"conversation": "conv_1"}),
    ("responses", {"input": [{"type": "item_reference", "id": "msg_1"}]}),
]


@pytest.mark.parametrize(("api", "fields"), NAMING)
async def test_a_tenant_names_nothing_that_may_be_anothers(
    redis_url: str, name: str, api: str, fields: dict[str, Any]
) -> None:
    body = {**APIS[api].body("refund at 10"), **fields}
    async with live(redis_url, name, keys=KEYS) as service, aiohttp.ClientSession() as session:
        url = f"{service.url}/v1/{APIS[api].path}"
        for key, refused in (("sk-a", True), ("sk-b", True), ("sk-admin", False)):
            headers = {"Authorization": f"Bearer {key}"}
            async with session.post(url, json=body, headers=headers) as response:
                said = await response.text()
                assert (response.status == 403 and "kept_by_id" in said) is refused, said
        assert service.simulator.stats.calls == 1
