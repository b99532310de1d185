"""LangCache's scale."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from semcache_async.serve.langcache.search import distance_of, similarity_of


@given(st.floats(0, 2))
def test_the_scale_there_and_back(distance: float) -> None:
    similarity = similarity_of(distance)
    assert 0 <= similarity <= 1
    assert distance <= distance_of(similarity) <= distance + 1e-11
