"""What a URL says of servers, sentinels and clusters."""

from __future__ import annotations

from semcache_async.store.address import read_url


def test_one_server() -> None:
    url = "redis://u:p%40@h:1/0?ssl_cert_reqs=none"
    address = read_url(url)
    assert address.kind == "server"
    assert address.server() == url


def test_sentinels_and_their_master() -> None:
    address = read_url(
        "rediss+sentinel://u:p%40@a:1,[::1]/svc/0?ssl_ca_certs=%2Fca&db=0"
        "&sentinel_username=s&sentinel_password=q%2F%40"
    )
    assert address.nodes == (("a", 1), ("::1", 26_379))
    assert address.service == "svc"
    assert address.server(("b", 2)) == "rediss://u:p%40@b:2/0?ssl_ca_certs=%2Fca&db=0"
    assert address.sentinel(("::1", 26_379)) == (
        "rediss://s:q%2F%40@[::1]:26379/0?ssl_ca_certs=%2Fca"
    )
    assert read_url("redis+sentinel://u:p@a/s").sentinel(("a", 1)) == "redis://a:1/0"


def test_nodes_of_a_cluster() -> None:
    address = read_url("redis+cluster://:p@a,b:2")
    assert address.nodes == (("a", 6_379), ("b", 2))
    assert address.server(("c", 3)) == "redis://:p@c:3/0"
