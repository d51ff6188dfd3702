"""Shrunk curves: a dense reference, known truths, and cells that must not move."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import solvers
from planner.solving.shrinkage import LEAST_LAYERS, shrink
from sensitivity.statistics import mean_and_error, observe

Table = NDArray[np.float64]
BITS = np.array([2, 3, 4, 5, 6, 8])


@dataclass(frozen=True)
class World:
    """Curves whose truth is known, and one measurement of them."""

    truth: Table
    measured: Table
    error: Table
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, seed: int, *, layers: int = 200, samples: int = 50, spread: float = 0.3, tail: float = 1.2) -> "World":
        """Heavy-tailed layers, residuals about layer + format, samples that are χ² with one degree of freedom."""
        rng = np.random.default_rng(seed)
        level = tail * rng.standard_t(6, size=(layers, 1))
        truth = np.exp(level - BITS * np.log(4) + spread * rng.normal(size=(layers, len(BITS))))
        measured, error = mean_and_error(observe(truth * rng.chisquare(1, size=(samples, layers, len(BITS)))))
        return cls(truth, measured, error, rng.integers(4, 12, layers)[:, None] * 64 * BITS)

    def plan(self, loss: Table, bits: float) -> NDArray[np.int64]:
        """The exact plan of some curves at so many bits a weight."""
        budget = int(bits * self.sizes[:, 0].sum() / BITS[0])
        problem = solvers.Problem(loss, self.sizes[None], np.array([budget]))
        choice: NDArray[np.int64] = solvers.solve(problem, solvers.Mckp()).choice
        return choice

    def sum(self, loss: Table, choice: NDArray[np.int64]) -> float:
        return float(loss[np.arange(len(choice)), choice].sum())


def _worlds(count: int, samples: int, **options: float) -> Iterator[World]:
    for seed in range(count):
        yield World.of(seed, samples=samples, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("samples", "too_low"), [(200, 0.985), (50, 0.94), (12, 0.75)])
def test_the_prediction_of_chosen_plans_is_right_where_the_raw_one_is_too_low(samples: int, too_low: float) -> None:
    """Relative noise of 10, 20 and 40 %: predicted over true loss, and the true loss of the plans themselves."""
    raw, from_raw, from_shrunk, better, expected = [], [], [], [], []
    for world in _worlds(6, samples):
        found = shrink(world.measured, world.error)
        for bits in (3.5, 4.5):
            plain, chosen = world.plan(world.measured, bits), world.plan(found.loss, bits)
            true, shrunk_true = world.sum(world.truth, plain), world.sum(world.truth, chosen)
            raw.append(world.sum(world.measured, plain) / true)
            from_raw.append(world.sum(found.loss, plain) / true)
            from_shrunk.append(world.sum(found.loss, chosen) / shrunk_true)
            better.append(shrunk_true / true)
            spread = float(np.sqrt(np.square(found.standard_error[np.arange(len(chosen)), chosen]).sum()))
            expected.append((world.sum(found.loss, chosen) - shrunk_true) / spread)
        relative = 2 / samples  # variance of a measured loss; that of its logarithm is the trigamma function of the inverse
        assert found.noise == pytest.approx(np.sqrt(relative + relative**2 / 2 + relative**3 / 6), rel=0.08)
        assert found.spread == pytest.approx(0.3, rel=0.25)
    assert np.mean(raw) < too_low
    assert np.mean(from_raw) == pytest.approx(1, abs=0.025)  # whoever chose, posterior means are right
    assert np.mean(from_shrunk) == pytest.approx(1, abs=0.025)
    assert np.mean(better) < 1
    assert np.mean(np.square(expected)) < 4  # the standard error is of the right size, over plans


@pytest.mark.parametrize(("layers", "spread", "at_most"), [(8, 0.3, 1.005), (14, 0.3, 1.0), (60, 1.5, 1.005)])
def test_few_layers_and_formats_with_hardly_anything_in_common_are_not_made_worse(
    layers: int, spread: float, at_most: float
) -> None:
    ratios = []
    for seed in range(12):
        world = World.of(seed, layers=layers, samples=24, spread=spread)
        shrunk = shrink(world.measured, world.error).loss
        for bits in (3.5, 4.5):
            plain, chosen = world.plan(world.measured, bits), world.plan(shrunk, bits)
            ratios.append(world.sum(world.truth, chosen) / world.sum(world.truth, plain))
    assert np.mean(ratios) < at_most


def test_a_dense_reference_agrees() -> None:
    """One layer at a time, with solves instead of eigenvectors, from the equations of the docstring."""
    world = World.of(3, layers=12)
    loss, error = world.measured, world.error
    layers, formats = loss.shape
    squared = np.square(error / loss)
    gamma_cells = squared / (1 - squared)
    of_layer = np.array([np.mean(row) for row in gamma_cells])
    gamma = np.outer(of_layer, gamma_cells.sum(axis=0) / of_layer.sum())
    variances = gamma + gamma**2 / 2 + gamma**3 / 6
    row = variances.mean(axis=1)
    noise = np.outer(row, variances.sum(axis=0) / row.sum())
    logs = np.log(loss) + gamma / 2 + gamma**2 / 12
    weight = 1 / (row + np.median(row))
    center = np.average(logs, axis=0, weights=weight)
    effective = weight.sum() ** 2 / (weight**2).sum()
    covariance = np.cov(logs.T, aweights=weight, ddof=0) * effective / (effective - 1)
    covariance = covariance - np.diag(np.average(noise, axis=0, weights=weight))
    off = (covariance.sum() - np.trace(covariance)) / (formats * (formats - 1))
    own = max(0, np.trace(covariance) / formats - off)
    share = formats / (formats + effective - 1)
    prior = (1 - share) * covariance + share * (off + own * np.eye(formats))
    scale = np.sqrt(np.outer(noise[0], noise[0]) / row[0])
    values, vectors = np.linalg.eigh(prior / scale)
    prior = (vectors * np.maximum(values, 0)) @ vectors.T * scale
    found = shrink(loss, error)
    for layer in range(layers):
        gain = prior @ np.linalg.inv(prior + np.diag(noise[layer]))
        mean, posterior = center + gain @ (logs[layer] - center), np.diag(prior - gain @ prior)
        assert found.loss[layer] == pytest.approx(np.exp(mean + posterior / 2), rel=1e-9)
        assert found.standard_error[layer] == pytest.approx(found.loss[layer] * np.sqrt(np.expm1(posterior)), rel=1e-6)


def test_cells_without_an_error_stay_bit_for_bit() -> None:
    world = World.of(1, layers=30)
    for error in (np.zeros_like(world.error), np.full_like(world.error, np.nan)):
        found = shrink(world.measured, error)
        assert found.loss.tobytes() == world.measured.tobytes()
        assert found.standard_error.tobytes() == error.tobytes()
        assert not found.changed.any()
        assert (found.noise, found.spread) == (0, 0)


def test_exact_empty_and_unmeasured_cells_among_noisy_ones_stay_and_take_no_part() -> None:
    world = World.of(2, layers=30)
    wide = np.column_stack([world.measured, np.zeros(30), np.full(30, 0.5), np.full(30, 0.7)])  # 16 bits, exact, one sequence
    errors = np.column_stack([world.error, np.zeros(30), np.zeros(30), np.full(30, np.nan)])
    found, alone = shrink(wide, errors), shrink(world.measured, world.error)
    assert found.loss[:, :6].tobytes() == alone.loss.tobytes()
    assert found.loss[:, 6:].tobytes() == wide[:, 6:].tobytes()
    assert found.changed.sum() == 180
    wide[4, 2], errors[4, 2], errors[5, 3], wide[6, :], errors[6, :] = np.nan, np.nan, 0.0, np.nan, np.nan
    holes = shrink(wide, errors)
    assert np.isnan(holes.loss[4, 2])
    assert holes.loss[5, 3] == wide[5, 3]
    assert np.isnan(holes.loss[6]).all()
    others = np.delete(np.arange(30), [4, 5, 6])
    assert holes.loss[others] == pytest.approx(found.loss[others], rel=0.3)


def test_a_format_that_only_the_sensitive_layers_have_is_not_taken_for_a_bad_one() -> None:
    truth = np.exp(np.linspace(-4, 4, 40))[:, None] * 4.0**-BITS
    error = 0.2 * truth
    loss = truth.copy()
    loss[:28, 3] = error[:28, 3] = np.nan
    found = shrink(loss, error)
    assert found.loss[28:, 3] == pytest.approx(truth[28:, 3], rel=0.1)


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (5, 0), (LEAST_LAYERS - 1, 6), (50, 1)])
def test_too_little_to_learn_from_changes_nothing(shape: tuple[int, int]) -> None:
    loss = np.random.default_rng(0).lognormal(size=shape)
    found = shrink(loss, loss / 5)
    assert found.loss.tobytes() == loss.tobytes()
    assert not found.changed.any()


def test_one_sample_that_is_all_of_a_cell_leaves_finite_numbers() -> None:
    loss = np.random.default_rng(0).lognormal(size=(20, 4))
    found = shrink(loss, loss.copy())
    assert np.isfinite(found.loss).all()
    assert np.isfinite(found.standard_error).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(8, 40), st.floats(-290, 290))
def test_units_and_order_do_not_matter_and_what_is_sure_hardly_moves(seed: int, layers: int, power: float) -> None:
    world = World.of(seed, layers=layers, samples=20)
    rng = np.random.default_rng(seed)
    found = shrink(world.measured, world.error)
    unit = np.exp(rng.normal(size=len(BITS))) * 10.0**power  # each format in a unit of its own
    scaled = shrink(world.measured * unit, world.error * unit)
    assert scaled.loss / unit == pytest.approx(found.loss, rel=1e-6)
    rows, columns = rng.permutation(layers), rng.permutation(len(BITS))
    part = np.ix_(rows, columns)
    assert shrink(world.measured[part], world.error[part]).loss == pytest.approx(found.loss[part], rel=1e-6)
    assert (found.standard_error > 0).all() or found.spread == 0
    sure = shrink(world.measured, world.measured * 1e-5)
    assert sure.loss == pytest.approx(world.measured, rel=1e-4)
