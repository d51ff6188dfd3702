"""The search: never worse than its seeds, elitist, repeatable, within its limits, and at an end when nothing is left."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import BruteForce, Mckp, Problem, Uniform, solve
from solvers.arrays import Floats, Integers
from solvers.errors import SettingError
from solvers.evolutionary import (
    EVOPRESS,
    Allowance,
    Ending,
    Evolution,
    Evolutionary,
    FitnessError,
    Mutation,
    Sample,
    Schedule,
    Stage,
)
from tests.solvers.evolutionary.landscapes import Units, noisy_units, several_budgets
from tests.solvers.instances import curves, one_budget, tiny_problem

STAGES = (Stage(6, 2), Stage(3, 4), Stage(1, 8))


def noisy_search(seed: int, *, pool: int = 16, offspring: int = 12, generations: int = 6) -> tuple[Evolution, Units]:
    problem = curves(14, 8, seed=seed)
    units = noisy_units(problem, pool, seed=seed)
    schedule = Schedule(offspring=offspring, stages=STAGES, pool=pool, seed=seed)
    return Evolutionary(units, schedule, Allowance(generations=generations)).search(problem), units


def told(evolution: Evolution) -> tuple[object, ...]:
    return (
        evolution.choice.tolist(),
        evolution.fitness,
        evolution.origin,
        evolution.seed_fitness,
        evolution.history,
        evolution.evaluations,
        evolution.units,
        evolution.ending,
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_never_worse_than_the_best_seed_on_the_selection_sample(seed: int) -> None:
    found, units = noisy_search(seed)
    selection = units.samples[0]
    assert (selection.generation, selection.stage, selection.units) == (0, 2, 8)
    assert found.fitness == units.on(found.choice[None], selection.indices)[0]
    assert found.fitness <= min(found.seed_fitness.values())
    assert found.seed_fitness[found.origin] == min(found.seed_fitness.values())
    assert found.improved == (found.fitness < found.seed_fitness[found.origin])
    bests = [found.seed_fitness[found.origin], *(generation.best for generation in found.history)]
    assert bests == sorted(bests, reverse=True)
    assert bests[-1] == found.fitness


def test_nothing_is_measured_twice_and_everything_is_counted() -> None:
    found, units = noisy_search(3)
    assert len(set(units.asked)) == len(units.asked) == found.evaluations
    assert found.units == sum(len(indices) // 8 for _, indices in units.asked)
    assert found.history[-1].evaluations == found.evaluations


def test_samples_are_fresh_subsets_that_grow_and_the_parent_competes_in_the_last_stage_only() -> None:
    found, units = noisy_search(4, pool=64)
    by_stage = {(s.generation, s.stage): s for s in units.samples if s.generation and s.units == STAGES[s.stage].units}
    for generation, stage in itertools.product(range(1, 7), range(3)):
        indices = by_stage[generation, stage].indices
        assert indices.tolist() == sorted(set(indices.tolist()))
        assert indices.shape[0] == STAGES[stage].units
    firsts = {by_stage[generation, 0].indices.tobytes() for generation in range(1, 7)}
    assert len(firsts) > 1
    asked = iter(units.asked)
    parent = next(asked)[0]
    first = found.history[0]
    batch = [choice for choice, indices in units.asked if indices == by_stage[1, 0].indices.tobytes()]
    assert len(batch) == first.offspring
    last = [choice for choice, indices in units.asked if indices == by_stage[1, 2].indices.tobytes()]
    assert parent not in batch
    assert len(last) == 4


def test_a_run_with_the_same_seed_repeats_and_another_seed_differs() -> None:
    assert told(noisy_search(5)[0]) == told(noisy_search(5)[0])
    problem = curves(14, 8, seed=5)
    runs = set()
    for seed in range(3):
        search = Evolutionary(seeders=(Uniform(),), schedule=Schedule(seed=seed), allowance=Allowance(4))
        runs.add(tuple(search.search(problem).choice.tolist()))
    assert len(runs) > 1


def test_a_limit_is_not_passed_and_only_shortens_the_search() -> None:
    problem = curves(14, 8, seed=6)
    schedule = Schedule(offspring=10, stages=STAGES, pool=16)

    def run(allowance: Allowance, deadline: float | None = None) -> Evolution:
        return Evolutionary(noisy_units(problem, 16, seed=6), schedule, allowance).search(problem, deadline)

    whole = run(Allowance(generations=8))
    assert (whole.ending, len(whole.history)) == (Ending.GENERATIONS, 8)
    for most in range(0, whole.evaluations, 7):
        cut = run(Allowance(generations=8, evaluations=most))
        assert cut.evaluations <= max(most, len(cut.seed_fitness))
        assert cut.ending is Ending.EVALUATIONS
        assert cut.history == whole.history[: len(cut.history)]
    cut = run(Allowance(generations=8, units=200))
    assert (cut.ending, cut.units <= 200) == (Ending.UNITS, True)
    late = run(Allowance(generations=8), deadline=0.0)
    assert (late.ending, late.history, late.fitness) == (Ending.DEADLINE, (), min(late.seed_fitness.values()))
    assert "more time" in late.ending.advice


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from(["uniform", "ties", "signed", "flat"]), st.sampled_from(["small", "equal", "lattice"])
)
def test_tiny_spaces_come_to_an_end(seed: int, losses: str, sizes: str) -> None:
    problem = tiny_problem(seed, losses=losses, sizes=sizes, forbid=seed % 2 == 0, classes=3, items=3)
    if (problem.smallest_sizes() > problem.budgets).any():
        return
    found = Evolutionary(allowance=Allowance(generations=200)).search(problem)
    assert found.ending is Ending.EXHAUSTED
    assert found.evaluations <= 27
    assert all(0 < generation.offspring <= 32 for generation in found.history)
    assert found.fitness == pytest.approx(solve(problem, BruteForce()).loss, abs=1e-12)


def test_what_is_not_finite_loses() -> None:
    problem = curves(10, 8, seed=2)

    def fitness(choices: Integers, sample: Sample) -> Floats:
        losses = problem.loss[np.arange(10), choices].sum(axis=1)
        bad = choices.sum(axis=1) % 3
        return np.where(bad == 1, np.nan, np.where(bad == 2, -np.inf, losses))

    plans = itertools.islice(itertools.product(range(2), repeat=10), 3)
    found = Evolutionary(fitness, plans=tuple(plans), seeders=(), allowance=Allowance(generations=20)).search(problem)
    assert found.choice.sum() % 3 == 0
    assert math.isfinite(found.fitness)
    assert sorted(found.seed_fitness.values())[1:] == [math.inf, math.inf]
    assert all(math.isfinite(generation.fitness) for generation in found.history)


def test_a_broken_fitness_is_an_error_that_says_so() -> None:
    problem = curves(10, 8, seed=2)
    with pytest.raises(FitnessError, match="any of the seeds"):
        Evolutionary(lambda choices, _: np.full(len(choices), np.nan)).search(problem)
    with pytest.raises(FitnessError, match="one number each"):
        Evolutionary(lambda choices, _: np.zeros(len(choices) + 1)).search(problem)
    units = noisy_units(problem, 4, seed=0)

    def breaks(choices: Integers, sample: Sample) -> Floats:
        return units(choices, sample) * (np.nan if sample.generation == 2 else 1.0)

    schedule = Schedule(stages=(Stage(4, 1), Stage(1, 3)), pool=40)
    units.tables = np.repeat(units.tables, 10, axis=0)
    with pytest.raises(FitnessError, match="generation 2"):
        Evolutionary(breaks, schedule).search(problem)


@pytest.mark.parametrize("rows", [2, 3])
def test_several_budgets_come_near_the_optimum(rows: int) -> None:
    excess = []
    for seed in range(8):
        problem = several_budgets(seed, rows=rows, classes=6)
        judge, found = solve(problem, BruteForce()), solve(problem, Evolutionary(seeders=(Uniform(),), allowance=Allowance(25)))
        if found.choice.size:
            excess.append(found.loss / judge.loss - 1)
            assert found.loss >= judge.loss * (1 - 1e-12)
    assert len(excess) >= 6
    assert float(np.median(excess)) < 0.02


def test_through_the_driver_the_bound_is_that_of_the_exact_seed() -> None:
    problem = curves(40, 8, seed=7)
    exact, found = solve(problem, Mckp()), solve(problem, Evolutionary(allowance=Allowance(generations=2)))
    assert found.multipliers.tolist() == exact.multipliers.tolist()
    assert found.stats.lagrangian_bound == exact.stats.lagrangian_bound
    assert found.loss == pytest.approx(exact.loss, rel=1e-12)


def test_bad_settings_say_what_to_give() -> None:
    for make in (
        lambda: Schedule(offspring=0),
        lambda: Schedule(seed=-1),
        lambda: Allowance(generations=-1),
        lambda: Allowance(evaluations=-1),
    ):
        with pytest.raises(SettingError, match="give"):
            make()
    for stages in ((), (Stage(2, 1),), (Stage(1, 1), Stage(1, 2)), (Stage(2, 1), Stage(3, 1)), (Stage(1, 0),)):
        with pytest.raises(SettingError, match="let them"):
            Schedule(stages=stages, pool=1)
    assert Schedule(offspring=128, stages=EVOPRESS, pool=524_288).stages[-1].units == 131_072


def test_one_choice_leaves_nothing_to_search() -> None:
    found = Evolutionary().search(one_budget(np.array([[1.0]]), np.array([[1]]), 1))
    assert (found.ending, found.evaluations, found.improved) == (Ending.EXHAUSTED, 1, False)


def test_mutation_settings_reach_the_search() -> None:
    problem = curves(14, 8, seed=1, equal_sizes=True)
    schedule = Schedule(mutation=Mutation(switches=1.0))
    found = Evolutionary(seeders=(Uniform(),), schedule=schedule, allowance=Allowance(5)).search(problem)
    uniform = solve(problem, Uniform())
    assert problem.sizes[0, np.arange(14), found.choice].sum() == uniform.sizes[0]


def test_no_classes_have_one_choice() -> None:
    problem = Problem(np.empty((0, 3)), np.empty((1, 0, 3), dtype=np.int64), np.array([0]))
    found = Evolutionary().search(problem)
    assert (found.choice.tolist(), found.fitness, found.ending) == ([], 0.0, Ending.EXHAUSTED)


def test_the_fitness_cannot_change_what_it_is_given() -> None:
    def spoils(choices: Integers, sample: Sample) -> Floats:
        assert not choices.flags.writeable
        assert not sample.indices.flags.writeable
        return np.zeros(len(choices))

    assert Evolutionary(spoils, allowance=Allowance(2)).search(curves(6, 4, seed=0)).fitness == 0.0


def test_a_fitness_without_numbers_is_an_error_that_says_so() -> None:
    with pytest.raises(FitnessError, match="return one number each"):
        Evolutionary(fitness=lambda choices, sample: ["good"] * len(choices)).search(curves(4, 3, seed=0))  # type: ignore[arg-type, return-value]
