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
IMAGE = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
RESULT = {"type": "function_call_output", "call_id": "c"}
CODE = {"type": "code_interpreter"}
MASK = {"type": "image_generation", "input_image_mask": {"file_id": "file-1"}}


def shell(**environment: Any) -> dict[str, Any]:
    return {"tools": [{"type": "shell", "environment": environment}]}


NAMING = [
    ("chat", turn({"type": "file", "file": {"file_id": "file-1"}})),
    ("chat", {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}),
    ("messages", turn(FILE)),
    ("messages", turn({"type": "container_upload", "file_id": "file_1"})),
    ("messages", turn({"type": "tool_result", "tool_use_id": "t", "content": [FILE]})),
    ("messages", turn({"type": "document", "source": {"type": "content", "content": [IMAGE]}})),
    ("messages", {"container": "container_1"}),
    ("messages", {"container": {"id": "container_1"}}),
    ("responses", turn({"type": "input_file", "file_id": "file-1"}, "responses")),
    ("responses", turn({"type": "input_image", "file_id": "file-1"}, "responses")),
    ("responses", {"previous_response_id": "resp_1"}),
    ("responses", {"conversation": "conv_1"}),
    ("responses", {"input": [{"type": "item_reference", "id": "msg_1"}]}),
    ("responses", {"input": [{**RESULT, "output": [{"type": "input_file", "file_id": "file-1"}]}]}),
    ("responses", {"input": [{"type": "image_generation_call", "id": "ig_1"}]}),
    ("responses", {"input": [{"type": "code_interpreter_call", "container_id": "cntr_1"}]}),
    ("responses", {"tools": [{**CODE, "container": "cntr_1"}]}),
    ("responses", {"tools": [{**CODE, "container": {"type": "auto", "file_ids": ["file-1"]}}]}),
    ("responses", shell(type="container_reference", container_id="cntr_1")),
    ("responses", {"tools": [MASK]}),
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


@pytest.mark.parametrize(
    ("api", "fields"),
    [
        ("chat", {"tools": [{"type": "function", "function": {"name": "file_id"}}]}),
        (
            "messages",
            {
                "messages": [
                    {"role": "user", "content": "refund at 10"},
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "tool_use", "id": "t", "name": "f", "input": {"file_id": "x"}}
                        ],
                    },
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]},
                ]
            },
        ),
        ("responses", {"tools": [{**CODE, "container": {"type": "auto"}}]}),
        ("responses", {"input": [{"type": "image_generation_call", "id": "i", "result": "aGk="}]}),
        ("responses", turn({"type": "input_file", "file_id": None, "file_data": "x"}, "responses")),
    ],
)
async def test_what_names_nothing_that_is_kept_is_anybodys_to_ask(
    redis_url: str, name: str, api: str, fields: dict[str, Any]
) -> None:
    body = {**APIS[api].body("refund at 10"), **fields}
    async with live(redis_url, name, keys=KEYS) as service, aiohttp.ClientSession() as session:
        headers = {"Authorization": "Bearer sk-a"}
        url = f"{service.url}/v1/{APIS[api].path}"
        async with session.post(url, json=body, headers=headers) as response:
            assert response.status != 403


async def test_nor_are_its_tokens_counted(redis_url: str, name: str) -> None:
    body = {**APIS["messages"].body("refund at 10"), **turn(FILE)}
    async with live(redis_url, name, keys=KEYS) as service, aiohttp.ClientSession() as session:
        for key, status in (("sk-a", 403), ("sk-admin", 200)):
            headers = {"Authorization": f"Bearer {key}"}
            url = f"{service.url}/v1/messages/count_tokens"
            async with session.post(url, json=body, headers=headers) as response:
                assert response.status == status
