"""API keys: who asks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from multidict import CIMultiDict

from semcache_async.errors import ConfigError
from semcache_async.serve.errors import Unauthorized
from semcache_async.serve.keys import Caller, KeyRing, hash_key, new_key

KEYS = {
    hash_key("sk-acme"): Caller(tenant="acme"),
    hash_key("sk-root"): Caller(admin=True),
    hash_key("schlüssel"): Caller(tenant="umlaut"),
}
ENTRY = f'[[keys]]\nhash = "{hash_key("sk-acme")}"\ntenant = "acme"\n'


@pytest.mark.parametrize("name", ["x-api-key", "api-key"])
def test_keys_as_other_clients_send_them(name: str) -> None:
    ring = KeyRing(KEYS, allow_anonymous=True)
    headers = CIMultiDict({name: "sk-acme"})
    assert ring.caller(headers) == Caller(tenant="acme")
    for wrong in ({name: "sk-nobody"}, {name: ""}, {name: "Bearer sk-acme"}):
        with pytest.raises(Unauthorized):
            ring.caller(CIMultiDict(wrong))
    headers["Authorization"] = "Bearer sk-root"  # comes first
    assert ring.caller(headers) == Caller(admin=True)
    headers["Authorization"] = "Basic sk-root"
    with pytest.raises(Unauthorized):
        ring.caller(headers)
    assert ring.caller(CIMultiDict({"x-api-key": "sk-root", "api-key": "sk-acme"})).admin


def test_whether_there_are_several_tenants() -> None:
    acme, other = {hash_key("sk-a"): Caller(tenant="acme")}, {hash_key("sk-b"): Caller(tenant="b")}
    root = {hash_key("sk-root"): Caller(admin=True)}
    assert not KeyRing().several_tenants
    assert not KeyRing({**acme, **root}).several_tenants
    assert not KeyRing({}, secret="s").several_tenants
    assert KeyRing({**acme, **other}).several_tenants
    assert KeyRing(acme, allow_anonymous=True).several_tenants


def sent(authorization: str | None = None) -> CIMultiDict[str]:
    return CIMultiDict({} if authorization is None else {"Authorization": authorization})


def test_without_keys_everybody_is_an_admin() -> None:
    ring = KeyRing.load(None)
    assert ring.open
    for header in (None, "Bearer anything"):
        assert ring.caller(sent(header)) == Caller(tenant="", admin=True)


def test_a_key_says_who_asks() -> None:
    ring = KeyRing(KEYS)
    assert not ring.open
    assert ring.caller(sent("Bearer sk-acme")) == Caller(tenant="acme")
    assert ring.caller(sent("bearer  sk-root ")) == Caller(admin=True)
    assert ring.caller(sent("Bearer schlüssel")) == Caller(tenant="umlaut")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer sk-nobody",
        "Basic sk-acme",
        "sk-acme",
        f"Bearer {hash_key('sk-acme')}",
        "Bearer \udcff\udcfe",
    ],
)
def test_others_are_turned_away_without_repeating_their_key(header: str | None) -> None:
    with pytest.raises(Unauthorized) as caught:
        KeyRing(KEYS).caller(sent(header))
    assert caught.value.headers["WWW-Authenticate"] == "Bearer"
    assert "sk-" not in caught.value.message


def test_anonymous_callers_may_be_let_in_but_wrong_keys_not() -> None:
    ring = KeyRing(KEYS, allow_anonymous=True)
    assert ring.caller(sent()) == Caller(tenant="", admin=False)
    with pytest.raises(Unauthorized):
        ring.caller(sent("Bearer sk-nobody"))


def test_a_file_of_either_format(tmp_path: Path) -> None:
    toml, plain = tmp_path / "keys.toml", tmp_path / "keys.json"
    toml.write_text(ENTRY + f'[[keys]]\nhash = "{hash_key("sk-root")}"\nadmin = true\n')
    plain.write_text(json.dumps({"keys": [{"hash": hash_key("sk-acme"), "tenant": "acme"}]}))
    root = KeyRing.load(toml).caller(sent("Bearer sk-root"))
    assert (root.tenant, root.admin) == ("", True)
    named = f"key-{hash_key('sk-acme')[7:19]}"
    for path in (toml, plain):
        found = KeyRing.load(path).caller(sent("Bearer sk-acme"))
        assert found == Caller(tenant="acme", author=named)
    toml.write_text(ENTRY + 'name = "ann@acme"\n')
    assert KeyRing.load(toml).caller(sent("Bearer sk-acme")).author == "ann@acme"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must hold a list of keys"),
        ("keys = []", "must hold a list of keys"),
        ("keys = [1]", "key 1 must be a table"),
        (ENTRY + "[more]\na = 1", "nothing else"),
        ("[[keys]]\ntenant = 'a'", "--hash-key"),
        ("[[keys]]\nhash = 'sk-canary'\ntenant = 'a'", "--hash-key"),
        (f"[[keys]]\nhash = '{hash_key('x')}'", "name its tenant"),
        (f"[[keys]]\nhash = '{hash_key('x')}'\ntenant = 1", "must be text"),
        (ENTRY + "role = 'x'", "no field role"),
        (ENTRY + "name = 'a, b'", "name must be"),
        (ENTRY + "name = 1", "name must be"),
        (ENTRY + ENTRY, "key 2 occurs twice"),
        ("[[keys", "not valid TOML"),
    ],
)
def test_a_file_with_a_mistake_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        KeyRing.load(path)
    assert said in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        KeyRing.load(tmp_path / "keys.toml")


def test_new_keys_are_long_and_different() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    assert len(new_key()) > 43
