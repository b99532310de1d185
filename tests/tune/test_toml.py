"""One number in somebody's file."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest

from semcache_async.tune.pairs import CalibrationError
from semcache_async.tune.toml import set_number, with_number


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "[cache]\nmax_distance = 0.124\n"),
        ("port = 1", "port = 1\n\n[cache]\nmax_distance = 0.124\n"),
        (
            "# mine\nport = 1\n\n[cache] # theirs\n",
            "# mine\nport = 1\n\n[cache] # theirs\nmax_distance = 0.124\n",
        ),
        (
            "[cache]\nname = 'x'\n  max_distance=0.05   # careful\n[other]\nmax_distance = 1\n",
            "[cache]\nname = 'x'\n  max_distance=0.124   # careful\n[other]\nmax_distance = 1\n",
        ),
        ("cache.max_distance = 0.1 # so\n", "cache.max_distance = 0.124 # so\n"),
        ("[cache]\r\nname = 'x'\r\n", "[cache]\r\nmax_distance = 0.124\r\nname = 'x'\r\n"),
        (
            "[other]\ntext = '''\n[cache]\nmax_distance = 1\n'''\n[cache]\nmax_distance = 2\n",
            "[other]\ntext = '''\n[cache]\nmax_distance = 1\n'''\n[cache]\nmax_distance = 0.124\n",
        ),
    ],
)
def test_all_else_stays(before: str, after: str) -> None:
    assert with_number(before, "max_distance", 0.124) == after
    assert tomllib.loads(after)["cache"]["max_distance"] == 0.124


def test_what_is_not_understood_is_left_alone() -> None:
    for text, complaint in (
        ("cache = {max_distance = 0.1}\n", "not understood"),
        ("cache = 3\n", "must be a table"),
        ("cache =\n", "not valid TOML"),
    ):
        with pytest.raises(ValueError, match=complaint):
            with_number(text, "max_distance", 0.1)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "semcache.toml"
    set_number(path, "max_distance", 0.1)
    path.chmod(0o600)
    set_number(path, "max_distance", 0.2)
    assert path.read_text() == "[cache]\nmax_distance = 0.2\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("cache = 3")
    with pytest.raises(CalibrationError, match="must be a table"):
        set_number(path, "max_distance", 0.1)
    assert path.read_text() == "cache = 3"
    with pytest.raises(CalibrationError, match="cannot be written"):
        set_number(tmp_path / "no" / "folder.toml", "max_distance", 0.1)
    assert [one.name for one in tmp_path.iterdir()] == ["semcache.toml"]
