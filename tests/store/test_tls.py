"""TLS to Redis, with an end of TLS in front of it: the packaged server has none itself."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest
import trustme

from semcache_async.errors import StoreUnavailableError
from semcache_async.store.wire import redis_pipelines
from tests.store.helpers import found, open_store, record
from tests.store.servers import watched

pytestmark = pytest.mark.anyio


class Certificates:
    """An authority, a server's certificate for ``localhost`` and a client's, as files."""

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.server = self.authority.issue_cert("localhost")
        self.ca, self.cert, self.key = (directory / name for name in ("ca", "cert", "key"))
        self.authority.cert_pem.write_to_path(self.ca)
        client = self.authority.issue_cert("client@example.org")
        client.private_key_pem.write_to_path(self.key)
        for pem in client.cert_chain_pems:
            pem.write_to_path(self.cert, append=True)

    def context(self, *, asks: bool) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.server.configure_cert(context)
        if asks:
            self.authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@asynccontextmanager
async def ending_tls(redis_url: str, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Listens on a port; what is behind is the Redis of the URL. Handshakes may fail."""
    relays: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _loop, _context: None)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        relays.add(task)
        if redis_url.startswith("unix://"):
            there, back = await asyncio.open_unix_connection(
                unquote(redis_url.removeprefix("unix://"))
            )
        else:
            there, back = await asyncio.open_connection("127.0.0.1", int(redis_url))

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65_536):
                    sink.write(data)
            sink.close()

        try:
            await asyncio.gather(pump(reader, back), pump(there, writer))
        except asyncio.CancelledError:
            writer.close()
            back.close()

    async with await asyncio.start_server(relay, "localhost", 0, ssl=context) as listening:
        yield listening.sockets[0].getsockname()[1]
        listening.close()
        for task in relays:
            task.cancel()
        await asyncio.gather(*relays, return_exceptions=True)
    loop.set_exception_handler(handler)


async def test_both_sides_show_a_certificate(redis_url: str, name: str, tmp_path: Path) -> None:
    own = Certificates(tmp_path)
    async with ending_tls(redis_url, own.context(asks=True)) as port:
        url = f"rediss://localhost:{port}/0?ssl_ca_certs={own.ca}"
        shown = f"&ssl_certfile={own.cert}&ssl_keyfile={own.key}&ssl_check_hostname=true"
        async with open_store(url + shown, name) as store:
            await store.put([record(store, "q", 0)])
            assert await found(store, 0) == ["q"]
        await _refused(url, "ssl_certfile")


async def test_who_the_server_is_not(redis_url: str, tmp_path: Path) -> None:
    own = Certificates(tmp_path)
    (tmp_path / "other").mkdir()
    other = Certificates(tmp_path / "other")
    async with ending_tls(redis_url, own.context(asks=False)) as port:
        here = f"u:hush@localhost:{port}/0"
        await _refused(f"rediss://{here}", "verify failed.*ssl_ca_certs=FILE")
        await _refused(f"rediss://{here}?ssl_ca_certs={other.ca}", "verify failed")
        await _refused(f"rediss://{here}?ssl_ca_certs={tmp_path / 'nowhere'}", "ssl_ca_certs=FILE")
        wrong = f"rediss://127.0.0.1:{port}?ssl_ca_certs={own.ca}"
        await _refused(wrong, "IP address mismatch.*has to be one that its certificate is for")
        for lax in ("ssl_check_hostname=false", "ssl_cert_reqs=none"):
            async with redis_pipelines(f"{wrong}&{lax}", connections=1, timeout_s=5) as pipelines:
                assert await pipelines.execute([("PING",)]) == [b"PONG"]


async def test_sentinels_and_their_master_over_tls(tmp_path: Path) -> None:
    own = Certificates(tmp_path)
    async with watched(tmp_path, replicas=0, sentinels=1) as (data, sentinels):
        context = own.context(asks=False)
        async with (
            ending_tls(str(data[0].port), context) as port,
            ending_tls(str(sentinels[0].port), context) as asked,
        ):
            await sentinels[0].ask("SENTINEL", "REMOVE", "main")
            await sentinels[0].ask("SENTINEL", "MONITOR", "main", "127.0.0.1", port, 1)
            url = f"rediss+sentinel://localhost:{asked}/main?ssl_ca_certs={own.ca}"
            lax = f"{url}&ssl_check_hostname=false"  # sentinels name addresses, not hosts
            async with redis_pipelines(lax, connections=1, timeout_s=5) as pipelines:
                assert await pipelines.execute([("PING",)]) == [b"PONG"]
            await _refused(url, "IP address mismatch")


async def _refused(url: str, why: str) -> None:
    async with redis_pipelines(url, connections=1, timeout_s=5) as pipelines:
        with pytest.raises(StoreUnavailableError, match=why) as caught:
            await pipelines.execute([("PING",)])
    assert "hush" not in str(caught.value)
