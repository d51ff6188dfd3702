"""Where the best of several models changes."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from planner.services.family_envelopes import Change, changes


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    winners=st.lists(st.integers(0, 2), min_size=2, max_size=40),
    places=st.sets(st.integers(0, 39), min_size=2, max_size=6),
)
def test_changes_are_true_ones_and_lead_from_the_first_to_the_last(winners: list[int], places: set[int]) -> None:
    budgets = sorted({place % len(winners) for place in places})
    found = changes(budgets, winners.__getitem__, go_on=lambda: True)
    at = winners[budgets[0]]
    for change in found:
        assert change == Change(change.below, change.below + 1, at, winners[change.above])
        assert winners[change.below] == at
        at = change.better
    assert at == winners[budgets[-1]]
    if len(winners) - 1 == len(set(budgets)) - 1:
        assert len(found) == sum(one != two for one, two in itertools.pairwise(winners))
