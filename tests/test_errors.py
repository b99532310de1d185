"""Every error says where to read on, and is an error like any other."""

from __future__ import annotations

import pickle
import traceback

import pytest
from typer.testing import CliRunner

from semcache_async import errors
from semcache_async.cli import app
from semcache_async.errors import SemcacheError, StoreUnavailableError
from semcache_async.flow.flights import copied
from semcache_async.store.wire.replies import ReadOnlyError


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - {"SemcacheError"}))
def test_each_public_error_names_what_shows_more(name: str) -> None:
    program, *arguments = getattr(errors, name)("what to do").docs.split()
    shown = CliRunner().invoke(app, arguments)
    assert (program, shown.exit_code) == ("semcache", 0)
    assert shown.stdout.startswith(f"### {name}\n")


def test_what_is_not_public_leads_to_what_is() -> None:
    class ServiceError(SemcacheError):
        pass

    assert ReadOnlyError("r").docs == "semcache docs StoreUnavailableError"
    for error in (ServiceError("s"), SemcacheError("s")):
        assert (error.docs, error.__notes__) == ("", [])


def test_a_traceback_shows_it_with_what_others_note() -> None:
    error, other = StoreUnavailableError("gone"), StoreUnavailableError("gone")
    error.add_note("at noon")
    *_, said, page, noted = traceback.format_exception(error)
    assert said.endswith("StoreUnavailableError: gone\n")
    assert (page, noted) == ("See: semcache docs StoreUnavailableError\n", "at noon\n")
    assert other.__notes__ == [page.strip()]
    for twin in (pickle.loads(pickle.dumps(error)), copied(error)):
        assert (str(twin), twin.__notes__) == ("gone", error.__notes__)
    assert str(error) == "gone"
