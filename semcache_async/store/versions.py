"""Namespaces' versions: a sorted set each, as fences are, whose one score only grows.

A version is the moment at which it began, in microseconds by Redis's clock. One that Redis does not
have, never had, or evicted begins when it is asked for: what is lost are answers, never a bump.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from semcache_async.errors import StoreError
from semcache_async.flow.recent import Recent
from semcache_async.store.keys import KeySpace
from semcache_async.store.wire import Command, RedisPipelines
from semcache_async.store.wire.replies import checked

__all__ = ["VersionKeeper"]

_MEMBER = b"at"
_LIFE_MS = 7 * 86_400_000
"""After its last use; each process in which it is used renews that now and then."""
_RENEWED_S = 3_600.0
_REMEMBERED = 4_096


class VersionKeeper:
    """See ``protocols.VersionedStore`` for what the methods promise."""

    def __init__(
        self, pipelines: RedisPipelines, keys: KeySpace, moment: Callable[[], Awaitable[float]]
    ) -> None:
        """``moment``: Redis's clock, asked now."""
        self._pipelines = pipelines
        self._keys = keys
        self._moment = moment
        self._renewed: Recent[str, float] = Recent(_REMEMBERED)

    async def versions(self, namespaces: Sequence[str]) -> list[int | Exception]:
        keys = [self._keys.version(namespace) for namespace in namespaces]
        asked: list[Command] = [("ZSCORE", key, _MEMBER) for key in keys]
        renewed = [("PEXPIRE", key, _LIFE_MS) for key in keys if self._is_due(key)]
        scores = (await self._pipelines.execute([*asked, *renewed]))[: len(keys)]
        missing = [n for n, score in enumerate(scores) if score is None]
        if missing:
            began = int(await self._moment() * 1e6)
            commands: list[Command] = []
            for n in missing:
                commands.append(("ZADD", keys[n], "NX", began, _MEMBER))
                commands.append(("PEXPIRE", keys[n], _LIFE_MS))
                commands.append(("ZSCORE", keys[n], _MEMBER))
            replies = await self._pipelines.execute(commands)
            for place, n in enumerate(missing):
                added, expires, score = replies[3 * place : 3 * place + 3]
                failed = [one for one in (added, expires) if isinstance(one, Exception)]
                scores[n] = failed[0] if failed else score
        return [_version(score) for score in scores]

    async def bump(self, namespace: str) -> int:
        key = self._keys.version(namespace)
        before, moment = await self._score(key), await self._moment()
        version = max(int(moment * 1e6), int(before or 0) + 1)
        for reply in await self._pipelines.execute(
            [("ZADD", key, "GT", version, _MEMBER), ("PEXPIRE", key, _LIFE_MS)]
        ):
            checked(reply)
        after = _version(await self._score(key))
        if isinstance(after, Exception):
            raise after
        return after

    async def watch_versions(self, changed: Callable[[], None]) -> None:
        def heard(push: list[Any]) -> None:
            if push and push[0] == b"invalidate":
                changed()

        tracking = ("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", self._keys.versions)
        pulse = ("ZSCORE", self._keys.version(""), _MEMBER)  # tells where the keys are, too
        await self._pipelines.listen(tracking, heard, pulse=pulse)

    def _is_due(self, key: str) -> bool:
        """Is its life to be renewed? Says so once."""
        now = time.monotonic()
        if now - (self._renewed.get(key) or -_RENEWED_S) < _RENEWED_S:
            return False
        self._renewed.put(key, now)
        return True

    async def _score(self, key: str) -> Any:
        return checked((await self._pipelines.execute([("ZSCORE", key, _MEMBER)]))[0])


def _version(score: object) -> int | Exception:
    if isinstance(score, Exception):
        return score
    if score is None:
        return StoreError("Redis let go of a namespace's version at once; is its memory full?")
    return int(float(score))  # type: ignore[arg-type]
