"""Layers tied at planning time: by block, by projection, by module, by the rank of their sensitivity."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.grouping import Tying, merged, ranked, tied
from tests.planner.strategies import expert_layers, llama_layers

LAYERS = (*llama_layers(1), *expert_layers(blocks=2, experts=4))


@pytest.mark.parametrize(
    ("tying", "sizes"),
    [
        (Tying.FREE, [1] * 23),
        (Tying.BLOCK, [1] * 7 + [8, 8]),
        (Tying.PROJECTION, [1] * 7 + [4, 4, 4, 4]),
        (Tying.MODULE, [4, 3, 8, 8]),
    ],
)
def test_each_tying(tying: Tying, sizes: list[int]) -> None:
    groups = tied(LAYERS, tying)
    assert [len(group) for group in groups] == sizes
    assert sorted(index for group in groups for index in group) == list(range(len(LAYERS)))
    for group in groups:
        assert len({LAYERS[index].block for index in group}) == 1


@given(seed=st.integers(0, 2**32), groups=st.integers(1, 6))
def test_ranks_put_less_sensitive_experts_together(seed: int, groups: int) -> None:
    losses = np.random.default_rng(seed).lognormal(size=(len(LAYERS), 3))
    found = ranked(LAYERS, losses, groups)
    assert sorted(index for group in found for index in group) == list(range(len(LAYERS)))
    for block in range(2):
        of_block = [group for group in found if LAYERS[group[0]].expert is not None and LAYERS[group[0]].block == block]
        assert len(of_block) == min(groups, 4)
        assert {len(group) // 2 for group in of_block} <= {4 // len(of_block), -(-4 // len(of_block))}
        sums = [
            sorted(losses[[i for i in group if LAYERS[i].expert == expert]].sum() for expert in {LAYERS[i].expert for i in group})
            for group in of_block
        ]
        ranges = sorted((one[0], one[-1]) for one in sums)
        assert all(below[1] <= above[0] for below, above in pairwise(ranges))


def test_an_expert_without_a_number_counts_as_sensitive() -> None:
    layers = expert_layers(experts=3)
    losses = np.array([[np.nan], [1.0], [5.0], [5.0], [2.0], [2.0]])
    assert ranked(layers, losses, 3) == [(0, 1), (2, 3), (4, 5)]
    assert ranked(layers, losses, 2) == [(0, 1), (2, 3, 4, 5)]


@given(st.data())
def test_merged_groups_are_the_components_of_all_groupings(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    labels = data.draw(st.lists(st.lists(st.integers(0, 4), min_size=count, max_size=count), min_size=1, max_size=3))
    groupings = [[tuple(i for i in range(count) if row[i] == label) for label in sorted(set(row))] for row in labels]
    found = merged(count, groupings)
    assert sorted(index for group in found for index in group) == list(range(count))
    assert [group[0] for group in found] == sorted(group[0] for group in found)
    of = {index: number for number, group in enumerate(found) for index in group}
    for grouping in groupings:
        assert all(len({of[index] for index in group}) == 1 for group in grouping)
    reached = {0}
    while True:  # from the first layer along all groups
        more = {index for grouping in groupings for group in grouping if reached & set(group) for index in group}
        if more <= reached:
            break
        reached |= more
    assert reached == set(found[0])


def test_nothing_is_merged_of_nothing() -> None:
    assert merged(0, [[], []]) == []
    assert tied((), Tying.MODULE) == ranked((), np.zeros((0, 1)), 2) == []
