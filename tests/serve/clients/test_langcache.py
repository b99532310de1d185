"""What the ``langcache`` SDK makes of each error (its calls are in langcache/test_handlers.py)."""

from __future__ import annotations

from typing import Any

import pytest
from langcache import LangCache
from langcache import errors as langcache_errors

from semcache_async.serve.errors import Forbidden, Problem
from semcache_async.serve.keys import Caller, KeyRing
from tests.serve.clients.helpers import in_thread
from tests.serve.running import Live

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("problem", "error", "kind"),
    [
        (
            Forbidden("no"),
            langcache_errors.ForbiddenErrorResponseContent,
            "insufficient-permissions",
        ),
        (
            Problem("no", status=429),
            langcache_errors.TooManyRequestsErrorResponseContent,
            "too-many-requests",
        ),
        (Problem("no"), langcache_errors.UnexpectedErrorResponseContent, "unexpected-error"),
        (ValueError("no"), langcache_errors.UnexpectedErrorResponseContent, "unexpected-error"),
    ],
)
async def test_langcache_errors(
    service: Live, problem: Exception, error: type[Any], kind: str
) -> None:
    class Refusing(KeyRing):
        def caller(self, request: Any) -> Caller:
            raise problem

    service.service.keys = Refusing()

    def work() -> None:
        with LangCache(
            server_url=service.url, cache_id="shop", api_key="k", timeout_ms=10_000
        ) as client:
            for call in (
                lambda: client.search(prompt="a"),
                lambda: client.conversational_search(prompt="a"),
                lambda: client.set(prompt="a", response="b"),
                lambda: client.delete_by_id(entry_id="a"),
                lambda: client.delete_query(attributes={"a": "b"}),
                lambda: client.flush(),
            ):
                with pytest.raises(error) as caught:
                    call()
                assert caught.value.data.type == f"/errors/{kind}"

    await in_thread(work)
