"""BAQ's column losses against the inverse that they avoid."""

import numpy as np
import pytest

from solvers.errors import ProblemError, SettingError
from solvers.rates.column_losses import column_losses
from solvers.rates.components import Components
from solvers.rates.water_filling import water_fill


@pytest.mark.parametrize("damping", [0.0, 0.01])
def test_equals_the_cholesky_factor_of_the_inverse(damping: float) -> None:
    rng = np.random.default_rng(0)
    inputs, errors = rng.normal(size=(300, 40)) * np.exp(rng.normal(0, 1, 40)), rng.random(40)
    hessian = inputs.T @ inputs / 300
    damped = hessian + damping * np.diag(hessian).mean() * np.eye(40)
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    assert column_losses(errors, hessian, damping=damping) == pytest.approx(0.5 * errors / np.diag(upper) ** 2, rel=1e-9)


def test_independent_inputs_weigh_errors_by_their_power() -> None:
    losses = column_losses(np.array([1.0, 1.0, 2.0]), np.diag([4.0, 1.0, 1.0]), damping=0.0)
    assert losses == pytest.approx([2.0, 0.5, 1.0])
    assert column_losses(np.zeros(0), np.zeros((0, 0))).size == 0


def test_the_bits_of_columns_do_not_depend_on_where_the_losses_were_measured() -> None:
    losses = np.array([2.0, 0.5, 1.0])
    at_two, at_zero = (water_fill(Components.of(losses * 3.86**bits, beta=3.86), 9.0) for bits in (2, 0))
    assert at_two.bits == pytest.approx(at_zero.bits)


def test_what_is_refused() -> None:
    with pytest.raises(ProblemError, match="positive definite"):
        column_losses(np.ones(2), np.array([[1.0, 2.0], [2.0, 1.0]]), damping=0.0)
    with pytest.raises(ProblemError, match="shape"):
        column_losses(np.ones(2), np.eye(3))
    with pytest.raises(SettingError, match="damping"):
        column_losses(np.ones(2), np.eye(2), damping=-1.0)
