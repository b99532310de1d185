"""What the tests of chat requests and of their plans share."""

from __future__ import annotations

from typing import Any

from semcache_async.serve.apis.chat import CHAT
from semcache_async.serve.completions.control import read_control
from semcache_async.serve.completions.plan import Plan, Planner
from semcache_async.serve.settings import Settings

UPSTREAM = "https://llm.example/v1"
USER = {"role": "user", "content": "How do I pay?"}
DATA_URL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def body(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages) or [USER], **fields}


def planned(asked: dict[str, Any], tenant: str = "", locale: str = "", **options: Any) -> Plan:
    request = CHAT.read(asked)
    namespace = read_control(request.cache, {}).namespace
    return Planner(Settings(**options), lambda _: UPSTREAM).plan(request, tenant, locale, namespace)
