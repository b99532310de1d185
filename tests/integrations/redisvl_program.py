"""A program for RedisVL's own API; ``test_redisvl`` runs it as it is, and with one line changed."""

import asyncio
from typing import Any

from redisvl.extensions.cache.llm import SemanticCache
from redisvl.query.filter import Tag

FIELDS = [{"name": "user", "type": "tag"}, {"name": "plan", "type": "tag"}]
RETURN, AGAIN, OTHER, PARCEL = (
    "How do I return an item?",
    "How can I return an item?",
    "What does it take to return an item?",
    "Where is my parcel?",
)


def told(hits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What does not depend on ids and clocks; of equally near hits either may be first."""
    own = {"entry_id", "key", "inserted_at", "updated_at"}
    for hit in hits:
        if "vector_distance" in hit:
            hit["vector_distance"] = round(hit["vector_distance"], 5)
    hits = sorted(hits, key=lambda hit: (hit.get("vector_distance", 0), hit["response"]))
    return [{name: hit[name] for name in hit.keys() - own} for hit in hits]


def plain(**options: Any) -> list[Any]:
    seen: list[Any] = []
    options |= {"filterable_fields": FIELDS, "distance_threshold": 0.05, "ttl": 60}
    with SemanticCache(**options) as cache:

        def see(*args: Any, **more: Any) -> None:
            seen.append(told(cache.check(*args, **more)))

        see(prompt=RETURN)
        key = cache.store(RETURN, "By post.", metadata={"model": "m", "n": [1, {"a": None}]})
        cache.store(RETURN, "By post, Ann.", filters={"user": "ann", "plan": "pro-1 | x"}, ttl=30)
        bob = cache.store(OTHER, "By post, Bob.", metadata={}, filters={"user": "bob"})
        pro = (Tag("user") == "ann") & (Tag("plan") == "pro-1 | x")
        for prompt in (RETURN, AGAIN, PARCEL):
            for name in ("ann", "bob", "eve"):
                see(prompt, filter_expression=Tag("user") == name)
            see(prompt, filter_expression=pro, return_fields=["response", "user"])
        see(AGAIN, filter_expression=Tag("plan") == "pro-1 | x", distance_threshold=0.01)
        see(AGAIN, distance_threshold=0.0)
        see(PARCEL, num_results=3, filter_expression=Tag("user") == ["bob"], distance_threshold=2)
        see(AGAIN, num_results=5, filter_expression=Tag("user") == "")
        cache.set_threshold(0.001)
        see(AGAIN)
        cache.set_threshold(0.05)
        cache.update(key, metadata={"model": "n"}, response="By van.")
        hits = cache.check(RETURN, num_results=9)
        seen.append(sorted(hit["response"] for hit in hits))
        (changed,) = [hit for hit in hits if hit["key"] == key]
        seen.append((changed["metadata"], changed["updated_at"] >= changed["inserted_at"]))
        cache.drop(keys=[key], ids=[])
        cache.drop(ids=[cache.check(OTHER, filter_expression=Tag("user") == "bob")[0]["entry_id"]])
        cache.update(bob)
        see(RETURN, num_results=9)
        cache.clear()
        see(RETURN, num_results=9)
        seen.append((cache.distance_threshold, cache.ttl, cache.name, repr(cache)))
    see(RETURN)
    cache.store(RETURN, "Again.")
    see(RETURN)
    cache.delete()
    return seen


async def awaited(**options: Any) -> list[Any]:
    seen: list[Any] = []
    async with SemanticCache(**options, filterable_fields=FIELDS) as cache:
        seen.append(await cache.acheck(RETURN))
        key = await cache.astore(RETURN, "By post.", metadata={"a": 1}, filters={"user": "ann"})
        many = [cache.acheck(prompt) for prompt in (RETURN, AGAIN, PARCEL, OTHER)]
        seen += map(told, await asyncio.gather(*many))
        await cache.aupdate(key, metadata={"b": 2})
        seen.append(told(await cache.acheck(AGAIN, filter_expression=Tag("user") == "ann")))
        seen.append(await cache.acheck(AGAIN, filter_expression=Tag("user") == "bob"))
        await cache.adrop(keys=[key])
        seen.append(await cache.acheck(RETURN))
        await cache.astore(RETURN, "By post.")
        await cache.aclear()
        seen.append(await cache.acheck(RETURN))
        wrongs: list[dict[str, Any]] = [{}, {"prompt": RETURN, "return_fields": "response"}]
        for wrong in wrongs:
            try:
                await cache.acheck(**wrong)
            except (TypeError, ValueError) as error:
                seen.append((isinstance(error, TypeError), str(error)))
        await cache.adelete()
    return seen
