"""Looking up as LangCache does: strategies by priority, attributes, its own scale."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from semcache_async.serve.errors import Unavailable, translated
from semcache_async.serve.langcache.forms import Hit, SearchRequest, Strategy
from semcache_async.serve.service import Service
from semcache_async.serve.sizes import is_longer
from semcache_async.text.decide import TOO_FAR
from semcache_async.text.prompt import normalise
from semcache_async.types import Answer, Entry, Neighbour, Scope, Source

__all__ = ["distance_of", "find", "similarity_of"]

_ROUNDING = 1e-12
"""More than a distance can lose on its way to LangCache's scale and back."""


def similarity_of(distance: float) -> float:
    """LangCache's similarity (0..1) of a cosine distance (0..2)."""
    return 1.0 - distance / 2.0


def distance_of(similarity: float) -> float:
    """The cosine distance of LangCache's similarity, never below the one it was made of."""
    return 2.0 * (1.0 - similarity) + _ROUNDING


class _Found(NamedTuple):
    id: str
    prompt: str
    text: str
    attributes: Mapping[str, str]
    distance: float
    strategy: Strategy


async def find(
    service: Service, scope: Scope, form: SearchRequest, questions: Sequence[str]
) -> list[Hit]:
    """Hits of each strategy in turn, none twice; in shadow mode they are only noted. The last of
    ``questions`` is the one asked, the others came before it."""
    prompt = "\n".join(questions)
    if is_longer(prompt, service.cache.config.max_prompt_bytes):
        return []  # nothing of that length is kept
    config = service.cache.config
    limit = service.cache.ceiling(scope)
    if form.similarity_threshold is not None:
        limit = min(limit, distance_of(form.similarity_threshold))
    try:
        async with asyncio.timeout(config.lookup_budget_s):
            found = await _search(service, scope, form, questions, limit)
    except TimeoutError:
        raise Unavailable("The lookup ran out of time; try again.", code="lookup_timeout") from None
    hits = found[: form.max_results or 1]
    for hit in hits:
        if hit.strategy == "semantic":
            _note(service, scope, prompt, hit)
    if config.shadow:
        return []
    hidden = limit if service.settings.hide_similarity else None
    return [_shown(hit, hidden) for hit in hits]


async def _search(
    service: Service, scope: Scope, form: SearchRequest, questions: Sequence[str], limit: float
) -> list[_Found]:
    cache, prompt, wanted = service.cache, "\n".join(questions), form.max_results or 1
    found: dict[str, _Found] = {}
    neighbours: Sequence[Neighbour] | None = None
    for strategy in form.search_strategies or ("exact", "semantic"):
        if strategy == "exact":
            _add(found, await _exact(service, scope, prompt))
        if len(found) >= wanted:
            break
        if neighbours is None:
            with translated("prompt"):
                neighbours = await cache.nearest(
                    prompt, scope=scope, limit=max(wanted, cache.config.neighbours)
                )
        if strategy == "exact":
            _add(found, _same_wording(prompt, neighbours))
        else:
            alike = await _of_conversation(service, scope, questions, neighbours)
            _add(found, _near(alike, limit))
    return list(found.values())


def _add(found: dict[str, _Found], more: Iterable[_Found]) -> None:
    for hit in more:
        found.setdefault(hit.id, hit)


async def _exact(service: Service, scope: Scope, prompt: str) -> list[_Found]:
    with translated("prompt"):
        hit = await service.cache.lookup_exact(prompt, scope=scope)
    if hit is None or hit.entry_id is None or hit.matched_prompt is None:
        return []
    entry = hit.entry_id, hit.matched_prompt, hit.text, scope.attributes
    return [_Found(*entry, 0.0, "exact")]


def _same_wording(prompt: str, neighbours: Iterable[Neighbour]) -> list[_Found]:
    """What the exact tier would have, had the attributes been named that the entry has besides
    those asked for: they are part of its key."""
    wording = normalise(prompt)
    return [
        _found(near.entry, 0.0, "exact") for near in neighbours if normalise(near.prompt) == wording
    ]


def _near(neighbours: Iterable[Neighbour], limit: float) -> list[_Found]:
    return [
        _found(near.entry, near.distance, "semantic")
        for near in neighbours
        if near.distance <= limit and near.refused_by is None
    ]


def _found(entry: Entry, distance: float, strategy: Strategy) -> _Found:
    return _Found(entry.id, entry.prompt, entry.text, entry.attributes, distance, strategy)


def _note(service: Service, scope: Scope, prompt: str, hit: _Found) -> None:
    answer = Answer(
        text=hit.text,
        source=Source.SEMANTIC,
        distance=hit.distance,
        matched_prompt=hit.prompt,
        entry_id=hit.id,
    )
    service.journal.note_hit(prompt=prompt, answer=answer, scope=scope)


def _shown(hit: _Found, hidden: float | None) -> Hit:
    """``hidden``: say of a semantic hit no more than that it was within this distance."""
    distance = hit.distance if hidden is None or hit.strategy == "exact" else hidden
    return Hit(
        id=hit.id,
        prompt=hit.prompt,
        response=hit.text,
        attributes=dict(hit.attributes),
        similarity=similarity_of(distance),
        search_strategy=hit.strategy,
    )


async def _of_conversation(
    service: Service, scope: Scope, questions: Sequence[str], neighbours: Sequence[Neighbour]
) -> list[Neighbour]:
    """Those of ``neighbours`` whose earlier questions are the same, each at the distance of the
    whole or of the last question, whichever is larger: a long history must not hide a difference
    in the question, which refuses what is not near enough by itself.

    A stored prompt does not say where its last question begins, so it is taken to have as many
    lines as the one asked.
    """
    earlier, asked = normalise("\n".join(questions[:-1])), questions[-1]
    alike = []
    for near in neighbours:
        parts = near.prompt.strip().rsplit("\n", asked.count("\n") + 1)
        lines = parts[-(asked.count("\n") + 1) :]
        before = parts[0] if len(parts) > len(lines) else ""
        if len(lines) == asked.count("\n") + 1 and normalise(before) == earlier:
            alike.append((near, "\n".join(lines)))
    if not earlier or not alike:
        return [near for near, _ in alike]
    with translated("prompt"):
        own, *others = await service.cache.embed([asked, *(last for _, last in alike)], scope=scope)
    most = service.cache.serves_up_to(scope)
    ranked = []
    for (near, _), other in zip(alike, others, strict=True):
        if own is None or other is None:
            continue
        last = 1.0 - float(own @ other)
        by = near.refused_by or (TOO_FAR if near.distance <= most < last else None)
        farther = max(near.distance, last)
        ranked.append(msgspec.structs.replace(near, distance=farther, refused_by=by))
    return sorted(ranked, key=lambda near: near.distance)
