"""Which upstream serves a model: by its name, in the order of the configuration."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from fnmatch import translate
from functools import lru_cache

from semcache_async.complaints import Complaints
from semcache_async.serve.errors import NotFound
from semcache_async.serve.settings import Settings
from semcache_async.serve.upstream.client import Counts, Upstream, open_upstream
from semcache_async.serve.upstream.passing import NOTHING, Passed

__all__ = ["Upstreams", "open_upstreams"]

_REMEMBERED = 256
"""Names of models."""


class Upstreams:
    """The upstreams of one service, each with the pattern of the models it serves. Make them with
    ``open_upstreams``."""

    def __init__(self, served: Sequence[tuple[re.Pattern[str], Upstream]]) -> None:
        self._served = tuple(served)
        self._find = lru_cache(maxsize=_REMEMBERED)(self._look)
        self.complaints = Complaints()

    def __iter__(self) -> Iterator[Upstream]:
        return (upstream for _, upstream in self._served)

    def of(self, model: str) -> Upstream:
        """The one that serves ``model``. Raises ``NotFound``."""
        found = self._find(model)
        if found is not None:
            return found
        raise NotFound(
            "No upstream here serves a model of that name; GET /v1/models lists those that are "
            "served.",
            param="model",
            code="model_not_found",
        )

    def serves(self, upstream: Upstream, model: str) -> bool:
        """Whether requests for ``model`` go there."""
        return self._find(model) is upstream

    def identity_of(self, model: str) -> str:
        """What tells that one's answers from those of others. Raises ``NotFound``."""
        return self.of(model).identity

    async def only_model(self, passed: Passed = NOTHING) -> str | None:
        """The name of the one model there is; None where there are none or several."""
        first, *others = self
        return None if others else await first.only_model(passed)

    def _look(self, model: str) -> Upstream | None:
        return next((one for models, one in self._served if models.fullmatch(model)), None)


@asynccontextmanager
async def open_upstreams(
    url: str | None, settings: Settings, *, counts: Counts | None = None
) -> AsyncIterator[Upstreams]:
    """Those of ``settings``, and the one at ``url`` for all models that they do not serve."""
    async with AsyncExitStack() as stack:
        served = []
        for table in settings.upstreams:
            opened = open_upstream(
                *(table.url, settings),
                name=table.name,
                key=settings.upstream_keys.get(table.key_env, ""),
                apis=table.apis,
                counts=counts,
            )
            served.append((_any_of(table.models), await stack.enter_async_context(opened)))
        if url is not None:
            opened = open_upstream(url, settings, counts=counts)
            served.append((_any_of("*"), await stack.enter_async_context(opened)))
        yield Upstreams(served)


def _any_of(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, patterns)))
