"""The core of a problem with pair tables as a linear integer program (reformulation-linearisation; Adams and Sherali 1986).

A product of two moves becomes a variable ``z`` of its own, and for every pair of classes with moves the products of one move
add up to no more than it: with the products of the incumbent's items written out as what is left over, these are all the
marginal constraints of the pair. Where the moves are whole numbers the products are exact.
"""

from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.interaction.additive import AdditivePart
from solvers.interaction.core import Core, CoreResult, changes_of
from solvers.interaction.move_program import LinearRows, solve_moves
from solvers.interaction.pairs import PairTables
from solvers.problem import total_loss
from solvers.solver import Deadline


@dataclass(frozen=True, slots=True, eq=False)
class _Products:
    """Pairs of moves whose classes interact.

    Attributes:
        one: int64 ``[Z]``, the first move.
        other: int64 ``[Z]``, the second, of a later class.
        value: float64 ``[Z]``, what they change together beyond what each changes alone.
    """

    one: Integers
    other: Integers
    value: Floats


def solve_pair_core(
    core: Core, part: AdditivePart, interaction: PairTables, *, max_products: int, max_nodes: int, deadline: Deadline
) -> CoreResult:
    """Search the core for the optimum, unless it has more than ``max_products`` products.

    Args:
        core: moves away from the incumbent.
        part: losses, sizes and budgets.
        interaction: the pairs.
        max_products: most variables for products.
        max_nodes: branch-and-bound nodes.
        deadline: wall-clock limit.
    """
    products = _products(core, interaction)
    count = products.value.shape[0]
    if count > max_products or deadline.passed():
        return CoreResult(core.choice, proven=False, nodes=0)
    changes = changes_of(core, part, interaction) / core.gap
    variables = core.count + count
    answer = solve_moves(
        core,
        np.concatenate((changes, products.value / core.gap)),
        np.zeros(variables),
        np.ones(variables),
        _marginals(core, products) if count else [],
        max_nodes=max_nodes,
        deadline=deadline,
    )
    found = core.choice if answer.chosen is None else core.with_moves(answer.chosen)
    better = total_loss(part.problem, found) < core.loss  # what HiGHS holds at a limit may be worse than the incumbent
    return CoreResult(found if better else core.choice, proven=answer.closed, nodes=answer.nodes)


def _products(core: Core, interaction: PairTables) -> _Products:
    crossings = interaction.crossings(core.choice, core.klass, core.item)
    position = np.full(interaction.classes, -1, dtype=np.int64)
    moved, row = np.unique(core.klass, return_inverse=True)
    position[moved] = np.arange(moved.shape[0])
    ends = position[interaction.pairs]
    ends = ends[(ends >= 0).all(axis=1)]
    linked = np.zeros((moved.shape[0], moved.shape[0]), dtype=bool)
    linked[ends[:, 0], ends[:, 1]] = True
    one, other = np.nonzero(linked[np.ix_(row, row)])
    return _Products(one, other, crossings[one, other])


def _marginals(core: Core, products: _Products) -> list[LinearRows]:
    """``Σ_n z_mn ≤ x_m`` for each move and other class, and ``Σ_m x_m + Σ_n x_n − Σ_mn z_mn ≤ 1`` for each pair of classes."""
    from scipy.sparse import coo_array

    count, moves = products.value.shape[0], core.count
    z = moves + np.arange(count)
    classes = int(core.klass.max()) + 1
    keys = [products.one * classes + core.klass[products.other], products.other * classes + core.klass[products.one]]
    rows = []
    for move, key in zip((products.one, products.other), keys, strict=True):
        unique, first, row = np.unique(key, return_index=True, return_inverse=True)
        whole = np.arange(unique.shape[0])
        matrix = coo_array(
            (
                np.concatenate((np.ones(count), -np.ones(unique.shape[0]))),
                (np.concatenate((row, whole)), np.concatenate((z, move[first]))),
            ),
            shape=(unique.shape[0], moves + count),
        )
        rows.append(LinearRows(matrix.tocsr(), np.zeros(unique.shape[0])))
    return [*rows, _leftovers(core, products, classes)]


def _leftovers(core: Core, products: _Products, classes: int) -> LinearRows:
    from scipy.sparse import coo_array

    count, moves = products.value.shape[0], core.count
    pair = core.klass[products.one] * classes + core.klass[products.other]
    unique, row = np.unique(pair, return_inverse=True)
    ends = np.concatenate((np.stack((row, products.one)), np.stack((row, products.other))), axis=1)
    ends = np.unique(ends, axis=1)
    matrix = coo_array(
        (
            np.concatenate((-np.ones(count), np.ones(ends.shape[1]))),
            (np.concatenate((row, ends[0])), np.concatenate((moves + np.arange(count), ends[1]))),
        ),
        shape=(unique.shape[0], moves + count),
    )
    return LinearRows(matrix.tocsr(), np.ones(unique.shape[0]))
