"""The tighter form of squares of sums: the same at every choice, certified, and refused where it is not convex."""

import numpy as np
import pytest

from solvers import BruteForce, Problem, Status, solve
from solvers.arrays import Floats
from solvers.interaction import Gram, Interaction
from solvers.interaction.diagonal_share import DiagonalShare, find_share, share_certificate
from tests.solvers.instances import tiny_problem
from tests.solvers.interaction.instances import dense_model, with_interaction
from tests.solvers.interaction.test_interactions import CHOICES


def many_samples(seed: int, *, diagonal: bool, samples: int = 40) -> Gram:
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(samples, 4, 3)) + rng.normal(size=(samples, 1, 1))
    factors[:, 0, 1] = 0.0
    factors[:, 1, 2] = 2.0 * factors[:, 1, 0]  # two items of one direction
    return Gram(factors, rng.random(samples), diagonal)


def share_of(gram: Gram) -> DiagonalShare:
    found = find_share(gram.rooted(), largest=100)
    assert found is not None
    return found


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_the_form_is_the_same_at_every_choice(seed: int, diagonal: bool) -> None:
    gram = many_samples(seed, diagonal=diagonal)
    found = share_of(gram)
    assert 0.01 < found.share < 1
    assert found.factors.shape[0] == 10
    tight = Gram(found.factors, np.ones(10), diagonal)
    loss = found.share * gram.squares() if diagonal else np.zeros((4, 3))
    values = tight.values(CHOICES) + loss[np.arange(4), CHOICES].sum(axis=1)
    assert values == pytest.approx(gram.values(CHOICES), rel=1e-9)


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0])
def test_its_tangents_are_below_at_every_choice(factor: float, diagonal: bool) -> None:
    rng = np.random.default_rng(0)
    gram = many_samples(3, diagonal=diagonal)
    share = factor * share_of(gram).share
    for size in (0.0, 1.0, 100.0):
        certificate = np.vstack((size * rng.normal(size=(4, 3)), np.full(3, share)))
        below = gram.minorant(certificate)
        lower = below.constant + below.loss[np.arange(4), CHOICES].sum(axis=1)
        assert (lower <= gram.values(CHOICES) + 1e-12 * (1 + size**2)).all()


def test_its_tangent_touches_at_a_choice() -> None:
    gram = many_samples(1, diagonal=True)
    found = share_of(gram)
    for choice in CHOICES[::9]:
        totals = found.factors[:, np.arange(4), choice].sum(axis=1)
        below = gram.minorant(share_certificate(found, totals))
        assert below.constant + below.loss[np.arange(4), choice].sum() == pytest.approx(gram.values(choice[None])[0], rel=1e-6)


def test_a_share_that_is_too_large_is_refused() -> None:
    gram = many_samples(2, diagonal=True)
    for share in (1.001 * share_of(gram).share, 1.0, -1.0 + 1e3):
        with pytest.raises(ValueError, match="not convex"):
            gram.minorant(np.vstack((np.zeros((4, 3)), np.full(3, share))))


def test_few_samples_and_many_dimensions_have_no_share() -> None:
    assert find_share(many_samples(0, diagonal=True, samples=9).rooted(), largest=100) is None
    assert find_share(many_samples(0, diagonal=True).rooted(), largest=9) is None


@pytest.mark.parametrize("seed", range(12))
def test_the_solver_uses_it_and_equals_brute_force(seed: int) -> None:
    problem = tiny_problem(seed, losses="uniform", sizes="bits", forbid=seed % 2 == 0)
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(40, *problem.loss.shape))
    problem = with_interaction(problem, Gram(factors, np.full(40, 0.02), seed % 3 == 0))
    solution, judge = solve(problem, Interaction()), solve(problem, BruteForce())
    assert solution.status is judge.status
    if judge.status is Status.OPTIMAL:
        assert solution.loss == pytest.approx(judge.loss, rel=1e-8)
        assert solution.stats.lagrangian_bound <= judge.loss * (1 + 1e-12)
        if problem.classes > 1:
            assert solution.certificate is not None
            assert solution.certificate.shape == (problem.classes + 1, problem.items)


def whole_form(problem: Problem) -> Problem:
    """The dense model with its identity part among the factors instead of the losses."""
    gram = problem.interaction
    assert isinstance(gram, Gram)
    roots = np.sqrt(problem.loss)
    alone: Floats = np.zeros((problem.classes, *roots.shape))
    alone[np.arange(problem.classes), np.arange(problem.classes)] = roots
    factors = np.concatenate((gram.factors, alone))
    weights = np.concatenate((gram.weights, np.ones(problem.classes)))
    return Problem(np.zeros(roots.shape), problem.sizes, problem.budgets, (), Gram(factors, weights))


def test_it_finds_the_part_that_is_linear() -> None:
    split = dense_model(84)
    first, second, blunt = (
        solve(split, Interaction()),
        solve(whole_form(split), Interaction()),
        solve(whole_form(split), Interaction(max_dimensions=0, max_nodes=0)),
    )
    assert first.status is second.status is Status.OPTIMAL
    assert second.loss == pytest.approx(first.loss, rel=1e-9)
    assert second.stats.lagrangian_gap == pytest.approx(first.stats.lagrangian_gap, rel=0.05)
    assert blunt.gap > 3 * first.stats.lagrangian_gap
