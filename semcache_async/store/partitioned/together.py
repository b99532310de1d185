"""Several partitions at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

from semcache_async.errors import StoreError
from semcache_async.flow.breaker import is_outage

__all__ = ["all_at_once", "all_in_reach", "for_ever", "out_of_reach"]

T = TypeVar("T")
R = TypeVar("R")
Report: TypeAlias = Callable[[T | None], None]


async def all_at_once(calls: Iterable[Awaitable[R]]) -> list[R]:
    """What each gives, once all have ended; raises the first error among them."""
    said = await asyncio.gather(*calls, return_exceptions=True)
    given: list[R] = []
    for one in said:
        if isinstance(one, BaseException):
            raise one
        given.append(one)
    return given


async def all_in_reach(calls: Iterable[Awaitable[R]]) -> list[R | StoreError]:
    """What each gives, once all have ended. An outage of some stands in their places as a
    ``StoreError`` that is none of the store's; one of all is raised, and any other error."""
    said = await asyncio.gather(*calls, return_exceptions=True)
    outages = [one for one in said if isinstance(one, BaseException) and is_outage(one)]
    if outages and len(outages) == len(said):
        raise outages[0]
    given: list[R | StoreError] = []
    for one in said:
        if not isinstance(one, BaseException):
            given.append(one)
        elif is_outage(one):
            given.append(out_of_reach(one))
        else:
            raise one
    return given


def out_of_reach(error: BaseException) -> StoreError:
    """An outage of one partition, which is none of the store's."""
    return StoreError(f"A partition is out of reach ({error})")


async def for_ever(
    sources: Sequence[Callable[[Report[T]], Coroutine[Any, Any, None]]], heard: Report[T]
) -> None:
    """Pass on what all sources report, each of which reports None as it begins: None once all
    have begun, and nothing before. Returns never; raises the error of the first that ends."""
    begun: set[int] = set()

    async def listen(number: int) -> None:
        def report(one: T | None) -> None:
            begun.add(number)
            if len(begun) == len(sources):
                heard(one)

        await sources[number](report)

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(len(sources)):
                group.create_task(listen(number))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
