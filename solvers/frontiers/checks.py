"""What a frontier takes: one row of sizes, and budgets in whole units."""

import numpy as np
from numpy.typing import ArrayLike

from solvers.arrays import Integers
from solvers.errors import SettingError, UnsupportedProblemError
from solvers.problem import Problem


def refuse_more_than_one_row(problem: Problem) -> None:
    """A frontier runs over one size.

    Raises:
        UnsupportedProblemError: several rows of sizes, side rules or an interaction.
    """
    faults = (
        (problem.budgets.shape[0] > 1, f"{problem.budgets.shape[0]} rows of sizes; keep the one that binds"),
        (bool(problem.rules), "side rules; solve each budget with Ilp()"),
        (problem.interaction is not None, "an interaction; solve each budget with Interaction()"),
    )
    for found, what in faults:
        if found:
            msg = f"a frontier runs over one row of sizes alone, and the problem has {what}"
            raise UnsupportedProblemError(msg)


def whole_budgets(budgets: ArrayLike) -> Integers:
    """The budgets as int64 ``[B]``, a copy.

    Raises:
        SettingError: not a list of whole numbers within int64.
    """
    try:
        whole = np.asarray(budgets)
    except (OverflowError, ValueError) as error:
        msg = f"budgets must be a list of whole numbers within int64: {error}"
        raise SettingError(msg) from error
    if whole.ndim != 1 or (whole.size and whole.dtype.kind not in "iu"):
        msg = f"budgets have shape {whole.shape} and dtype {whole.dtype}; give a list of whole numbers, in the unit of the sizes"
        raise SettingError(msg)
    if whole.size and int(whole.max()) > np.iinfo(np.int64).max:
        msg = f"budgets reach {int(whole.max())}, past int64; count in a larger unit"
        raise SettingError(msg)
    return whole.astype(np.int64)
