"""The APIs that the simulated upstream speaks."""

from __future__ import annotations

from collections.abc import Callable

from semcache_async.simulator.apis.api import Api
from semcache_async.simulator.apis.chat import chat_api
from semcache_async.simulator.apis.messages import messages_api
from semcache_async.simulator.apis.responses import responses_api
from semcache_async.simulator.apis.texts import texts_api

__all__ = ["APIS"]

APIS: dict[str, Callable[[], Api]] = {
    "chat": chat_api,
    "completions": texts_api,
    "messages": messages_api,
    "responses": responses_api,
}
"""How each is made, by its name."""
