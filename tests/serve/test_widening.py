"""A request may leave fields of its scope open, where the service lets it."""

from __future__ import annotations

import msgspec
import pytest

from semcache_async import CacheConfig
from semcache_async.errors import ConfigError
from semcache_async.serve.settings import Settings
from tests.serve.upstreams import answer, asks, completion, scripted, serving, told

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

WHOLE = msgspec.json.encode(completion())
FR, DE = {"x_semcache_locale": "fr"}, {"x_semcache_locale": "de"}


async def test_any_locale_and_any_model_but_no_other_conversation() -> None:
    async with (
        scripted(answer(WHOLE)) as (url, script),
        serving(url, cache={"widenable": ("locale", "model")}) as setup,
    ):
        _, french, _ = await told(setup, asks(), **FR)
        _, headers, body = await told(setup, asks(), x_semcache_widen="locale", **DE)
        assert headers["x-semcache-status"] == "semantic"
        assert headers["x-semcache-widened"] == "true"
        assert headers["x-semcache-entry-id"] == french["x-semcache-entry-id"]
        assert msgspec.json.decode(body)["choices"] == completion()["choices"]
        _, headers, _ = await told(setup, asks(), x_semcache_widen="model , locale", **FR)
        assert headers["x-semcache-status"] == "exact"
        assert "x-semcache-widened" not in headers
        for stream in (False, True):
            _, headers, _ = await told(
                setup,
                asks("pay at 11", model="n", stream=stream),
                Cache_Control="only-if-cached",
                x_semcache_widen="locale,model",
            )
            assert headers["x-semcache-widened"] == "true"

        other = asks("pay at 10")
        other["messages"].insert(0, {"role": "user", "content": "Hello"})
        for body_of, wishes in (
            (other, {"x_semcache_widen": "locale,model", **FR}),
            (asks(model="n"), {"x_semcache_widen": "locale", **FR}),
            (asks(), DE),
        ):
            _, headers, _ = await told(setup, body_of, **wishes)
            assert headers["x-semcache-status"] == "generated"
        assert len(script.requests) == 4


@pytest.mark.parametrize("field", ["model", "tenant", "temperature", "locale;model"])
async def test_what_the_service_does_not_let_be(field: str) -> None:
    async with scripted(answer(WHOLE)) as (url, script):
        async with serving(url, cache={"widenable": ("locale",)}) as setup:
            status, _, body = await told(setup, asks(), x_semcache_widen=field)
            assert status == 400
            error = msgspec.json.decode(body)["error"]
            assert error["code"] == "invalid_value"
            assert "locale" in error["message"]
        assert not script.requests


async def test_a_conversation_cannot_be_left_open() -> None:
    with pytest.raises(ConfigError, match="conversation"):
        Settings(cache=CacheConfig(widenable=("parameters",)))
