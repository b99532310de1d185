"""What a URL says of servers, sentinels and clusters."""

from __future__ import annotations

import pytest

from semcache_async.errors import ConfigError
from semcache_async.store.wire.address import read_url


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


def test_a_plus_in_the_sentinels_password_is_one() -> None:
    """As it is in the user part, and in what ``openssl rand -base64`` makes."""
    address = read_url("redis+sentinel://u:a+b@h/s?sentinel_password=c+d")
    assert address.server(("m", 1)) == "redis://u:a+b@m:1/0"
    assert address.sentinel(("h", 1)) == "redis://:c%2Bd@h:1/0"


@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
def test_one_user_for_all_hosts(kind: str) -> None:
    """Read otherwise, the first host would be a part of the password."""
    with pytest.raises(ConfigError) as told:
        read_url(f"redis+{kind}://u:s3cret@a,u:s3cret@b/{'s' if kind == 'sentinel' else ''}")
    assert "s3cret" not in str(told.value)
