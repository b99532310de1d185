from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache_async.embed.runtimes.packs import plan_packs

lengths = st.lists(st.integers(1, 300), max_size=200)
budgets = st.integers(1, 256)


@given(lengths, budgets)
def test_every_item_once_and_no_pack_too_full(lengths: list[int], budget: int) -> None:
    packs = plan_packs(lengths, budget)
    assert sorted(index for pack in packs for index in pack) == list(range(len(lengths)))
    for pack in packs:
        assert pack
        assert len(pack) == 1 or sum(lengths[i] for i in pack) <= budget


@given(lengths, budgets)
def test_deterministic_and_nearly_tight(lengths: list[int], budget: int) -> None:
    packs = plan_packs(lengths, budget)
    assert plan_packs(tuple(lengths), budget) == packs
    assert sum(sum(lengths[i] for i in pack) * 2 <= budget for pack in packs) <= 1


@given(lengths, budgets)
def test_no_worse_than_half_again_of_the_bound(lengths: list[int], budget: int) -> None:
    small = [length for length in lengths if length <= budget]
    assert len(plan_packs(small, budget)) <= 1 + 1.5 * -(-sum(small) // budget) * 4 / 3


def test_examples() -> None:
    assert plan_packs([], 8) == []
    assert plan_packs([9], 8) == [[0]]
    assert plan_packs([3, 5, 8, 5, 3], 8) == [[2], [1, 0], [3, 4]]


@pytest.mark.parametrize(("lengths", "budget"), [([0], 8), ([-1], 8), ([1], 0)])
def test_nonsense_is_refused(lengths: list[int], budget: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        plan_packs(lengths, budget)
