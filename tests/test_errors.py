"""Every error says where to read on, and is an error like any other."""

from __future__ import annotations

import pickle
import traceback

import pytest

from semcache_async import errors
from semcache_async.errors import SemcacheError, StoreUnavailableError
from semcache_async.flow.flights import copied
from semcache_async.store.wire.replies import ReadOnlyError
from tests.test_docs import ROOT, anchors

PAGE = "docs/troubleshooting.md"


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - {"SemcacheError"}))
def test_each_public_error_names_its_heading(name: str) -> None:
    assert getattr(errors, name)("what to do").docs == f"{PAGE}#{name.lower()}"
    assert name.lower() in anchors(ROOT / PAGE)


def test_what_is_not_public_leads_to_what_is() -> None:
    class ServiceError(SemcacheError):
        pass

    assert ReadOnlyError("r").docs == f"{PAGE}#storeunavailableerror"
    for error in (ServiceError("s"), SemcacheError("s")):
        assert (error.docs, error.__notes__) == ("", [])


def test_a_traceback_shows_it_with_what_others_note() -> None:
    error, other = StoreUnavailableError("gone"), StoreUnavailableError("gone")
    error.add_note("at noon")
    *_, said, page, noted = traceback.format_exception(error)
    assert said.endswith("StoreUnavailableError: gone\n")
    assert (page, noted) == (f"See {PAGE}#storeunavailableerror\n", "at noon\n")
    assert other.__notes__ == [page.strip()]
    for twin in (pickle.loads(pickle.dumps(error)), copied(error)):
        assert (str(twin), twin.__notes__) == ("gone", error.__notes__)
    assert str(error) == "gone"
