"""One consumer on a real stream: nothing is lost, whatever fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import redis.asyncio

from semcache_async.errors import ConfigError, StoreError, StoreFullError, StoreUnavailableError
from semcache_async.store.wire.pipelines import ServerPipelines
from semcache_async.worker import consumer as loop
from semcache_async.worker import stream as streams
from tests.faults.proxy import Proxy, proxied
from tests.helpers import until
from tests.worker.helpers import GROUP, Recorder, consuming, settled

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers", "impatient")]

Client = redis.asyncio.Redis


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses after failures are short."""
    monkeypatch.setattr(loop, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(loop, "_LAST_PAUSE_S", 0.001)


async def add(client: Client, stream: str, *events: dict[Any, Any]) -> list[bytes]:
    sending = client.pipeline()
    for event in events:
        sending.xadd(stream, event)
    return list(await sending.execute())


async def dead(client: Client, stream: str) -> list[dict[bytes, bytes]]:
    rows: Any = await client.xrange(f"{stream}:dead")
    return [fields for _, fields in rows]


async def test_what_waits_together_is_applied_together(
    client: Client, redis_url: str, name: str
) -> None:
    await add(client, name, *[{"tags": f"t{n}"} for n in range(150)])
    await add(client, name, {"namespaces": "docs"}, {"event": '{"ids": ["x"], "tenants": ["a"]}'})
    await add(client, name, {"tags": "t1", "tenant": "b"}, {"tags": "[]"})
    recorder = Recorder()
    async with consuming(redis_url, name, recorder) as consumer:
        await settled(client, name)
        assert recorder.calls == [
            ("bump", "docs"),
            ("a", (), ()),
            (None, tuple(f"t{n}" for n in range(150)), ()),
            ("b", ("t1",), ()),
            (None, (), ("x",)),
        ]
        await add(client, name, {"tags": "later"})
        await settled(client, name)
        assert recorder.calls[5:] == [(None, ("later",), ())]
    counts = consumer.counts
    assert (counts.applied, counts.ignored, counts.removed, counts.failures) == (154, 1, 5, 0)


async def test_a_field_that_occurs_twice_is_not_lost(
    client: Client, redis_url: str, name: str
) -> None:
    recorder = Recorder()
    await client.execute_command("XADD", name, "*", "tags", "a", "tags", "b")
    await client.execute_command("XADD", name, "*", "id", "1", "id", "2")
    async with consuming(redis_url, name, recorder):
        await settled(client, name)
    assert recorder.tags == ["a", "b"]
    script = "return redis.call('XRANGE', KEYS[1], '-', '+')"  # which knows no dictionaries
    ((_, kept),) = await client.eval(script, 1, f"{name}:dead")
    assert kept[:4] == [b"id", b"1", b"id", b"2"]


async def test_what_is_too_long_together_comes_in_parts(
    client: Client, redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = ServerPipelines.ask

    async def slow(self: ServerPipelines, commands: Any, *, wait_s: float) -> AsyncIterator[Any]:
        """A network on which no more than three messages come in time."""

        def few() -> Any:
            (command,) = commands()
            if int(command[command.index("COUNT") + 1]) > 3:
                raise StoreUnavailableError("late")
            return [command]

        async for replies in ask(self, few, wait_s=wait_s):
            yield replies

    await add(client, name, *[{"tags": f"t{n}"} for n in range(10)])
    monkeypatch.setattr(ServerPipelines, "ask", slow)
    recorder = Recorder()
    async with consuming(redis_url, name, recorder) as consumer:
        await settled(client, name)
    assert recorder.tags == [f"t{n}" for n in range(10)]
    assert consumer.counts.failures


async def test_what_cannot_be_put_aside_keeps_nothing_up(
    client: Client, redis_url: str, name: str
) -> None:
    await client.set(f"{name}:dead", "no stream")
    await add(client, name, {"oh": "no"}, {"tags": "a"})
    recorder = Recorder()
    async with consuming(redis_url, name, recorder, claim_after_s=0.01) as consumer:
        await until(lambda: recorder.tags == ["a"])
        await add(client, name, {"tags": "b"})
        await until(lambda: recorder.tags == ["a", "b"])
        assert consumer.counts.dead == 0
        await client.delete(f"{name}:dead")
        await settled(client, name)
        (kept,) = await dead(client, name)
    assert kept[b"oh"] == b"no"


async def test_an_event_is_pending_until_it_has_been_applied(
    client: Client, redis_url: str, name: str
) -> None:
    recorder = Recorder()
    recorder.gate.clear()
    async with consuming(redis_url, name, recorder) as consumer:
        await add(client, name, {"tags": "a"})
        await until(lambda: recorder.asked == 1)
        lag = await consumer.stream.lag()
        assert (lag.pending, lag.lag, lag.length, lag.consumers) == (1, 0, 1, 1)
        await add(client, name, {"tags": "b"}, {"tags": "c"})
        assert (await consumer.stream.lag()).lag == 2
        recorder.gate.set()
        await settled(client, name)
        assert recorder.tags == ["a", "b", "c"]


@pytest.mark.parametrize(
    "error", [StoreUnavailableError("down"), StoreFullError("full"), OSError("gone")]
)
async def test_while_the_store_is_down_it_is_tried_again(
    client: Client, redis_url: str, name: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    await add(client, name, {"tags": "a"}, {"tags": "b"})
    recorder = Recorder(*[error] * 7)
    async with consuming(redis_url, name, recorder) as consumer:
        await settled(client, name)
    assert recorder.calls == [(None, ("a", "b"), ())]
    assert (consumer.counts.failures, consumer.counts.dead) == (7, 0)
    assert f"Events of {name} cannot be applied" in caplog.text


async def test_what_cannot_be_applied_before_the_end_is_left_for_the_next(
    client: Client, redis_url: str, name: str
) -> None:
    count = 2 * streams.READ_AT_ONCE + 9
    await add(client, name, *[{"tags": f"t{n}"} for n in range(count)])
    failing = Recorder()
    failing.refused["t3"] = StoreUnavailableError("down")
    async with consuming(redis_url, name, failing):
        await until(lambda: failing.asked > 2)
    assert failing.calls == []
    (group,) = await client.xinfo_groups(name)
    assert group["pending"] == streams.READ_AT_ONCE
    await client.xreadgroup(GROUP, "c", {name: ">"}, count=streams.READ_AT_ONCE)
    recorder = Recorder()
    async with consuming(redis_url, name, recorder):
        await settled(client, name)
    assert recorder.tags == [f"t{n}" for n in range(count)]


async def test_what_a_dead_worker_left_is_claimed(
    client: Client, redis_url: str, name: str
) -> None:
    count = 2 * streams.READ_AT_ONCE + 1
    await add(client, name, *[{"tags": f"t{n}"} for n in range(count)])
    await client.xgroup_create(name, GROUP, 0)
    await client.xreadgroup(GROUP, "dead", {name: ">"})
    patient, recorder = Recorder(), Recorder()
    async with consuming(redis_url, name, patient) as consumer:
        await add(client, name, {"tags": "mine"})
        await until(lambda: consumer.counts.applied == 1)
    assert patient.tags == ["mine"]  # the others may be in hand yet
    async with consuming(redis_url, name, recorder, claim_after_s=0.001):
        await settled(client, name)
    assert sorted(recorder.tags) == sorted(f"t{n}" for n in range(count))


async def test_what_cannot_be_read_is_put_aside(
    client: Client, redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_DEAD_KEPT", 3)
    bad: list[dict[Any, Any]] = [{"tag": "x"}, {"tags": "[x", b"\xff": b"\xfe"}, {"event": "{}"}]
    ids = await add(client, name, bad[0], {"tags": "a"}, *bad[1:], {"tags": "b"}, {"oh": "no"})
    recorder = Recorder()
    async with consuming(redis_url, name, recorder) as consumer:
        await settled(client, name)
        assert recorder.calls == [(None, ("a", "b"), ())]
        kept = await dead(client, name)
        assert [one[b"dead-id"] for one in kept] == [*ids[2:4], ids[5]]
        assert kept[0][b"\xff"] == b"\xfe"
        assert b"UTF-8" in kept[0][b"dead-reason"]
        assert b"names no tags" in kept[1][b"dead-reason"]
        assert (await consumer.stream.lag()).dead == 3
        await add(client, name, {**kept[2], "tags": "c"})  # put back as it is, it fails again
        await add(client, name, {"tags": "d", "dead-reason": "repaired", "dead-id": "1-1"})
        await settled(client, name)
        assert recorder.tags == ["a", "b", "d"]
        assert (await dead(client, name))[-1][b"oh"] == b"no"
    assert (consumer.counts.applied, consumer.counts.dead) == (3, 5)


@pytest.mark.parametrize(
    ("error", "asked"), [(StoreError("no such thing"), 14), (ConfigError("no such thing"), 5)]
)
async def test_what_fails_by_itself_stops_nobody(
    client: Client, redis_url: str, name: str, error: Exception, asked: int
) -> None:
    """Two purges together; then three by themselves, of which one fails again; where that is the
    store's error, nine times more."""
    recorder = Recorder()
    recorder.refused["bad"] = error
    await add(client, name, {"tags": "a"}, {"tags": "bad"}, {"namespaces": "n"})
    async with consuming(redis_url, name, recorder) as consumer:
        await settled(client, name)
        (kept,) = await dead(client, name)
        assert (kept[b"tags"], kept[b"dead-reason"]) == (b"bad", b"no such thing")
    assert [call for call in recorder.calls if call[0] != "bump"] == [(None, ("a",), ())]
    assert recorder.asked == asked
    assert (consumer.counts.applied, consumer.counts.dead) == (2, 1)


async def test_what_was_deleted_unread_is_said(
    client: Client, redis_url: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever trims the stream too short loses events, of this worker and of another."""
    ids = await add(client, name, *[{"tags": f"t{n}"} for n in range(4)])
    await client.xgroup_create(name, GROUP, 0)
    await client.xreadgroup(GROUP, "dead", {name: ">"}, count=2)
    await client.xreadgroup(GROUP, "c", {name: ">"}, count=2)
    await client.xdel(name, ids[1], ids[2])
    recorder = Recorder()
    async with consuming(redis_url, name, recorder, claim_after_s=0.001) as consumer:
        await settled(client, name)
    assert sorted(recorder.tags) == ["t0", "t3"]
    assert consumer.counts.lost == 2
    assert caplog.text.count("may be stale") == 2


async def test_a_stream_that_is_gone_is_made_anew(
    client: Client, redis_url: str, name: str
) -> None:
    recorder = Recorder()
    async with consuming(redis_url, name, recorder):
        await add(client, name, {"tags": "a"})
        await settled(client, name)
        await client.delete(name)
        await add(client, name, {"tags": "b"})
        await settled(client, name)
    assert recorder.tags == ["a", "b"]


async def test_delete_leaves_an_empty_stream(client: Client, redis_url: str, name: str) -> None:
    await add(client, name, {"tags": "a"}, {"oh": "no"})
    async with consuming(redis_url, name, Recorder(), delete=True) as consumer:
        await settled(client, name)
        await until(lambda: consumer.counts.dead == 1)
        while (await consumer.stream.lag()).length:  # noqa: ASYNC110 - Redis is asked
            await asyncio.sleep(0)
        await add(client, name, {"tags": "b"})
        await settled(client, name)
        assert (await consumer.stream.lag()).lag == 0


def _broke(proxy: Proxy, times: int) -> bool:
    return proxy.resets == times


async def test_connections_that_break_lose_nothing(
    client: Client, redis_url: str, name: str
) -> None:
    """In the middle of readings, acknowledgements and copies of what is put aside."""
    recorder, bad = Recorder(), 0
    async with proxied(redis_url) as (proxy, url), consuming(url, name, recorder) as consumer:
        for turn in range(20):
            proxy.reset_after("replies" if turn % 2 else "requests", 14 * turn)
            events = [{"tags": json.dumps([f"t{turn}-{n}"])} for n in range(5)]
            await add(client, name, *events, *([{"oh": "no"}] if turn % 4 == 0 else []))
            bad += turn % 4 == 0
            await until(partial(_broke, proxy, turn + 1))
        await settled(client, name)
        assert consumer.counts.failures > 0
    assert set(recorder.tags) == {f"t{turn}-{n}" for turn in range(20) for n in range(5)}
    assert len({one[b"dead-id"] for one in await dead(client, name)}) == bad
