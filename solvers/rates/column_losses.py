"""From second moments of inputs to the loss of each column, as BAQ and GPTQ count it."""

import numpy as np

from solvers.arrays import Floats
from solvers.errors import ProblemError, SettingError


def column_losses(squared_errors: Floats, hessian: Floats, *, damping: float = 0.01) -> Floats:
    """BAQ's sensitivity of each input column, ``l_j = ½·Σ_i (w_ij − q_ij)²/d_j²`` (arXiv 2506.05664).

    d is the diagonal of the upper Cholesky factor of H⁻¹: GPTQ's loss of column j when the columns after it make up for its
    error. ``1/d_j²`` is the squared diagonal of the upper factor R of ``H = R·Rᵀ``, so nothing is inverted; O(M³).

    As ``Components.scale`` these losses belong to the bits at which the errors were measured: multiply by β^bits for 0 bits,
    which for one common β changes no allocation.

    Args:
        squared_errors: float64 ``[M]``, Σ over the rows of the squared rounding error of each column.
        hessian: float64 ``[M, M]``, symmetric, the second moment E[x·xᵀ] of the inputs, times any constant.
        damping: share of the mean diagonal that is added to the diagonal, GPTQ's ``percdamp``.

    Returns:
        float64 ``[M]``, in the unit of squared error times second moment.

    Raises:
        ProblemError: shapes that do not fit, negative errors, or a matrix that is not positive definite after damping.
        SettingError: negative damping.
    """
    if not damping >= 0:
        msg = f"damping is {damping}; give zero or more, such as 0.01"
        raise SettingError(msg)
    count = squared_errors.shape[0]
    if squared_errors.ndim != 1 or hessian.shape != (count, count) or not (squared_errors >= 0).all():
        msg = (
            f"errors of shape {squared_errors.shape} and a matrix of shape {hessian.shape}; (M,), all >= 0, and (M, M) are needed"
        )
        raise ProblemError(msg)
    if count == 0:
        return np.zeros(0)
    damped = hessian + damping * float(np.diag(hessian).mean()) * np.eye(count)
    try:
        lower = np.linalg.cholesky(damped[::-1, ::-1])
    except np.linalg.LinAlgError as error:
        msg = "the second moment is not positive definite; use more samples, or a larger damping"
        raise ProblemError(msg) from error
    diagonal = np.diag(lower)[::-1]
    losses: Floats = 0.5 * squared_errors * diagonal**2
    return losses
