"""Lists of few partial choices are extended number by number: the same states and the same answers as with arrays."""

import pytest

import solvers
from solvers.mckp import list_search, short_lists
from tests.solvers.instances import LOSSES, SIZES, adversarial, curves, tiny_problem

ARRAYS_ALONE, NUMBERS_ALONE = -1, 10**9
PROBLEMS = [
    *(curves(classes, 8, seed=seed, share=share) for seed, (classes, share) in enumerate(((30, 0.2), (120, 0.5), (224, 0.8)))),
    curves(60, 5, seed=3, equal_sizes=True),
    *(
        tiny_problem(seed, losses=losses, sizes=sizes, forbid=seed % 2 == 1)
        for seed in range(4)
        for losses in LOSSES
        for sizes in SIZES
    ),
    curves(2_000, 8, seed=1),
    adversarial("nearly_proportional", 60, seed=1),
]


def _solved(problem: solvers.Problem, short: int, monkeypatch: pytest.MonkeyPatch) -> solvers.Solution:
    monkeypatch.setattr(list_search, "SHORT", short)
    return solvers.solve(problem, solvers.Mckp(max_states=20_000, max_nodes=0))


@pytest.mark.parametrize("short", [short_lists.SHORT, NUMBERS_ALONE])
def test_numbers_one_by_one_find_what_arrays_find(short: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for problem in PROBLEMS:
        arrays, numbers = (_solved(problem, limit, monkeypatch) for limit in (ARRAYS_ALONE, short))
        assert numbers.choice.tolist() == arrays.choice.tolist()
        assert (numbers.status, numbers.stats.states, numbers.stats.core_items) == (
            arrays.status,
            arrays.stats.states,
            arrays.stats.core_items,
        )


def test_the_problems_use_lists_of_both_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []
    extend = list_search._extended

    def noting(*args: object, **options: object) -> object:
        found = extend(*args, **options)  # type: ignore[arg-type]
        lengths.append(len(found[0]))
        return found

    monkeypatch.setattr(list_search, "_extended", noting)
    for problem in PROBLEMS:
        _solved(problem, short_lists.SHORT, monkeypatch)
    assert sum(length > short_lists.SHORT for length in lengths) > 20
    assert sum(0 < length < short_lists.SHORT for length in lengths) > 20
