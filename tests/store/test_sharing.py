"""Claims, leases and inboxes: what both stores promise to processes that share their flights."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from secrets import token_hex
from typing import Any

import pytest

from semcache_async import Scope
from semcache_async.errors import LeaseLostError, StaleWriteError, StoreAuthError
from semcache_async.protocols import SharingStore
from semcache_async.store.wire import Command, redis_pipelines
from semcache_async.store.wire.replies import NEEDED_COMMANDS
from semcache_async.testing.case import CaseData, unit_vector
from semcache_async.testing.sharing import SharingMemoryStore
from semcache_async.types import Claim, EntryKey, Letter, Rival
from tests.store.helpers import open_partitions, open_store
from tests.store.servers import until_equal

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

REACH = 1.0 - math.cos(math.radians(10.0))
LEASE_S = 30.0


@pytest.fixture(params=["redis", "partitions", "memory"])
async def store(
    request: pytest.FixtureRequest, redis_url: str, name: str
) -> AsyncIterator[SharingStore]:
    if request.param == "memory":
        yield SharingMemoryStore(lease_s=LEASE_S)
        return
    count = 3 if request.param == "partitions" else 1
    async with open_partitions(redis_url, name, count, lease_s=LEASE_S) as opened:
        assert isinstance(opened, SharingStore)
        yield opened


@pytest.fixture
def data(store: SharingStore) -> CaseData:
    return CaseData(store)


def asking(prompt: str, degrees: float | None, scope: Scope, **changes: Any) -> Claim:
    fields: dict[str, Any] = {
        "id": token_hex(16),
        "inbox": "an inbox",
        "key": EntryKey(scope, prompt),
        "prompt": prompt,
        "vector": None if degrees is None else unit_vector(degrees),
        "tags": (),
        "reach": REACH,
    }
    return Claim(**(fields | changes))


async def rivals(store: SharingStore, claim: Claim) -> list[Rival]:
    (found,) = await store.claim([claim])
    assert not isinstance(found, Exception), found
    return sorted(found, key=lambda rival: rival.prompt)


async def prompts(store: SharingStore, claim: Claim) -> list[str]:
    return [rival.prompt for rival in await rivals(store, claim)]


async def test_exactly_the_later_of_two_is_told(store: SharingStore, data: CaseData) -> None:
    scope = data.scope()
    first = asking("first", 0, scope, inbox="its inbox")
    assert await rivals(store, first) == []
    (told,) = await rivals(store, asking("second", 8, scope))
    assert (told.prompt, told.claim, told.inbox) == ("first", first.id, "its inbox")
    assert told.distance == pytest.approx(1.0 - math.cos(math.radians(8.0)), abs=1e-4)
    assert not told.same_key
    vector, nothing = await store.vectors([told.claim, token_hex(16)])
    assert vector is not None
    assert not isinstance(vector, Exception)
    assert vector.tolist() == pytest.approx(unit_vector(0).tolist())
    assert nothing is None


async def test_those_of_one_batch_too(store: SharingStore, data: CaseData) -> None:
    asked = [asking(f"q{n}", n, data.scope()) for n in range(5)]
    found = await store.claim(asked)
    told = [sorted(rival.prompt for rival in one) for one in found if isinstance(one, list)]
    assert told == [[], ["q0"], ["q0", "q1"], ["q0", "q1", "q2"], ["q0", "q1", "q2", "q3"]]


async def test_who_asks_at_once_on_many_connections(store: SharingStore, data: CaseData) -> None:
    asked = [asking(f"q{n:02}", n / 4, data.scope()) for n in range(32)]
    found = await asyncio.gather(*[rivals(store, claim) for claim in asked])
    told = {
        claim.id: {rival.claim for rival in one} for claim, one in zip(asked, found, strict=True)
    }
    for one in asked:
        for other in asked:
            if one is not other:
                assert (one.id in told[other.id]) != (other.id in told[one.id])


async def test_only_the_near_and_those_of_the_same_key(store: SharingStore, data: CaseData) -> None:
    scope = data.scope()
    for claim in (
        asking("near", 9, scope),
        asking("far", 12, scope),
        asking("unread", None, scope),
        asking("same", 90, scope, reach=-1.0),
    ):
        await store.claim([claim])
    assert await prompts(store, asking("q", 0, scope)) == ["near"]
    (same,) = await rivals(store, asking("same", None, scope))
    assert same.same_key
    assert same.distance != same.distance
    assert await prompts(store, asking("unread", 0, scope, reach=-1.0)) == ["unread"]


async def test_the_right_one_is_not_hidden_by_many(store: SharingStore, data: CaseData) -> None:
    scope = data.scope()
    asked = [asking("same", 9.9, scope), asking("nearest", 0.5, scope)]
    asked += [asking(f"q{n}", 1.0 + n / 40, scope) for n in range(300)]
    await store.claim(asked)
    found = await rivals(store, asking("same", 0.0, scope))
    assert {"same", "nearest"} <= {rival.prompt for rival in found}


async def test_a_long_prompt_is_found_by_its_wording(store: SharingStore, data: CaseData) -> None:
    scope, long = data.scope(), "word " * 20_000
    await store.claim([asking(long, 0.0, scope)])
    (same,) = await rivals(store, asking(long, None, scope))
    assert (same.same_key, same.prompt) == (True, long)


async def test_an_inbox_that_was_left_takes_nothing(store: SharingStore) -> None:
    inbox, opened = token_hex(16), asyncio.Event()
    hearing = asyncio.create_task(store.hear(inbox, lambda letter: opened.set()))
    await opened.wait()
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)
    await store.leave(inbox)
    assert await store.write([(inbox, Letter("c" * 32, b"b"))]) == [False]


async def test_scopes_never_meet(store: SharingStore, data: CaseData) -> None:
    scopes = [
        *(data.scope("a"), data.scope("b"), data.scope("a|b"), data.scope("*")),
        *(data.scope("a", locale="de"), data.scope("a", temperature=0.0)),
        *(data.scope("a", attributes={"x": "1"}), data.scope("a", attributes={"x": "1|2"})),
        data.scope("a", attributes={"x": "1", "y": "2"}),
    ]
    for scope in scopes:
        assert await rivals(store, asking("q", 0, scope)) == []


async def test_what_is_withdrawn_is_not_told_and_cannot_write(
    store: SharingStore, data: CaseData
) -> None:
    claim = asking("q", 0, data.scope())
    await store.claim([claim])
    record = data.record("q", 0, claim=claim.id)
    assert await store.stand([claim.id, token_hex(16)]) == [True, False]
    (written,) = await store.put([record])
    assert isinstance(written, str)
    await store.withdraw([claim.id])
    assert await store.stand([claim.id]) == [False]
    assert await rivals(store, asking("q", 0, data.scope(), id=claim.id)) == []
    await store.withdraw([claim.id])
    free = data.record("free", 50)
    refused, kept = await store.put([record, free])
    assert isinstance(refused, LeaseLostError)
    assert isinstance(refused, StaleWriteError)
    assert isinstance(kept, str)


async def test_a_renewal_tells_what_stood_no_longer(store: SharingStore, data: CaseData) -> None:
    claim = asking("q", 0, data.scope())
    await store.claim([claim])
    assert await store.renew("an inbox", [claim.id, token_hex(16)]) == [True, False]


async def test_letters_come_in_order_and_once(store: SharingStore) -> None:
    inbox, other = token_hex(16), token_hex(16)
    heard: asyncio.Queue[Letter | None] = asyncio.Queue()
    hearing = asyncio.create_task(store.hear(inbox, heard.put_nowait))
    assert await heard.get() is None
    letters = [Letter(f"{n:032}", b"\x00" * n) for n in range(1, 50)]
    for letter in letters:
        assert await store.write([(inbox, letter)]) == [True]
    assert [await heard.get() for _ in letters] == letters
    assert await store.write([(other, letters[0]), (inbox, letters[1])]) == [False, True]
    assert await heard.get() == letters[1]
    assert heard.empty()
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)


@pytest.mark.parametrize("by", ["scope", "tenant", "tags", "entry_ids"])
async def test_an_invalidation_withdraws_and_tells(
    store: SharingStore, data: CaseData, by: str
) -> None:
    inbox = token_hex(16)
    heard: asyncio.Queue[Letter | None] = asyncio.Queue()
    hearing = asyncio.create_task(store.hear(inbox, heard.put_nowait))
    assert await heard.get() is None
    scope, tag = data.scope(attributes={"x": "1"}), data.tag("t")
    (id_,) = await data.put(data.record("q", 0, scope))
    doomed = asking("q", 0, scope, tags=(tag,), inbox=inbox)
    kept = asking("other", 0, data.scope("b"), inbox=inbox)
    await store.claim([doomed, kept])
    await store.remove(
        **{  # type: ignore[arg-type]
            "scope": {"scope": data.scope()},
            "tenant": {"tenant": scope.tenant},
            "tags": {"tags": (tag,)},
            "entry_ids": {"entry_ids": (id_,)},
        }[by]
    )
    assert await heard.get() == Letter(doomed.id, b"")
    assert await store.stand([doomed.id, kept.id]) == [False, True]
    assert heard.empty()
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)


async def test_a_lease_ends_by_itself(redis_url: str, name: str) -> None:
    async with open_store(redis_url, name, lease_s=0.1) as store:
        assert isinstance(store, SharingStore)
        claim = asking("q", 0, Scope())
        await store.claim([claim])
        await until_equal(lambda: store.stand([claim.id]), [False])
        assert await rivals(store, asking("q", 0, Scope())) == []
        assert await store.renew("an inbox", [claim.id]) == [False]


async def test_an_inbox_of_a_process_that_is_gone_ends(redis_url: str, name: str) -> None:
    async with (
        open_store(redis_url, name, lease_s=LEASE_S) as store,
        redis_pipelines(redis_url, connections=1, timeout_s=5.0) as pipelines,
    ):
        assert isinstance(store, SharingStore)
        opened = asyncio.Event()
        hearing = asyncio.create_task(store.hear("a" * 32, lambda letter: opened.set()))
        await opened.wait()
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
        (keys,) = await pipelines.execute([("KEYS", f"{name}:*inbox*")])
        (life_ms,) = await pipelines.execute([("PTTL", keys[0])])
        assert 0 < life_ms <= LEASE_S * 20 * 1_000


async def test_claims_survive_a_flushed_server(redis_url: str, name: str) -> None:
    async with (
        open_store(redis_url, name) as store,
        redis_pipelines(redis_url, connections=1, timeout_s=5.0) as pipelines,
    ):
        assert isinstance(store, SharingStore)
        await store.claim([asking("q", 0, Scope())])
        (indexes,) = await pipelines.execute([("FT._LIST",)])
        (mine,) = [
            one for one in indexes if one.startswith(f"{name}:".encode()) and b"claims" in one
        ]
        await pipelines.execute([("FT.DROPINDEX", mine)])
        (failed,) = await store.claim([asking("r", 90, Scope())])
        assert isinstance(failed, Exception)
        await store.claim([asking("s", 180, Scope())])
        assert await prompts(store, asking("t", 180, Scope())) == ["s"]


async def test_what_is_no_letter_is_passed_over(redis_url: str, name: str) -> None:
    inbox, told = token_hex(16), asyncio.Queue[Letter | None]()
    async with (
        open_store(redis_url, name, lease_s=LEASE_S) as store,
        redis_pipelines(redis_url, connections=1, timeout_s=1.0) as redis,
    ):
        hearing = asyncio.create_task(store.hear(inbox, told.put_nowait))
        assert await told.get() is None
        key = store._claims._keys.inbox(inbox)
        for fields in (("x", "y"), ("c", b"\xff", "b", "z"), ("b", "z")):
            await redis.execute([("XADD", key, "*", *fields)])
        await store.write([(inbox, Letter("claim", b"body"))])
        heard = [await told.get(), await told.get()]
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
    assert heard == [Letter("\ufffd", b"z"), Letter("claim", b"body")]


async def test_a_user_who_may_read_no_letters_is_written_none(redis_url: str, name: str) -> None:
    added = {"XREAD", "XTRIM"}
    allowed = [f"+{command.lower()}" for command in NEEDED_COMMANDS if command not in added]
    user: Command = ("ACL", "SETUSER", name, "on", ">secret", f"~{name}:*", *allowed)
    inbox, told = token_hex(16), asyncio.Queue[Letter | None]()
    async with redis_pipelines(redis_url, connections=1, timeout_s=1.0) as redis:
        assert await redis.execute([user]) == [b"OK"]
        url = redis_url.replace("unix://", f"unix://{name}:secret@")
        async with open_store(url, name, lease_s=LEASE_S) as store:
            with pytest.raises(StoreAuthError, match="XREAD"):
                await store.hear(inbox, told.put_nowait)
            data = CaseData(store)
            claim = asking("q", 0.0, data.scope())
            await rivals(store, claim)
            assert await store.stand([claim.id, token_hex(16)]) == [True, False]
            (written,) = await store.put([data.record("q", 0.0, claim=claim.id)])
            assert isinstance(written, str)
        await redis.execute([("ACL", "DELUSER", name)])
    assert told.empty()
