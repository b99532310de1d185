"""Several partitions at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

from semcache_async.errors import StoreError
from semcache_async.flow.breaker import is_outage

__all__ = ["all_at_once", "all_in_reach", "for_ever", "out_of_reach", "spread"]

T = TypeVar("T")
P = TypeVar("P", bound=Hashable)
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


async def spread(
    items: Sequence[T],
    place_of: Callable[[T], P],
    ask: Callable[[P, Sequence[T]], Awaitable[Sequence[Any]]],
    *,
    otherwise: P,
) -> list[Any]:
    """Each item's outcome from the place that it belongs to, all at once. One that cannot be placed
    goes ``otherwise``: whoever reads it there says what is wrong with it."""
    places: dict[P, list[int]] = {}
    for n, item in enumerate(items):
        try:
            place = place_of(item)
        except Exception:
            place = otherwise
        places.setdefault(place, []).append(n)
    said = await all_at_once(ask(place, [items[n] for n in mine]) for place, mine in places.items())
    outcomes: list[Any] = [None] * len(items)
    for mine, answers in zip(places.values(), said, strict=True):
        for n, answer in zip(mine, answers, strict=True):
            outcomes[n] = answer
    return outcomes


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
