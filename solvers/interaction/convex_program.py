"""The core of a problem with a convex interaction as an integer program in the totals of the samples.

Away from the totals ``r0`` of the certificate the loss is ``linear(x) + Σ_s w_s·(r_s − r0_s)²`` exactly, so a choice whose
loss is below that of the incumbent has ``w_s·(r_s − r0_s)² ≤ gap`` for every sample: the totals live in short intervals, and
there few tangents describe their squares. HiGHS minimises the losses of the moves plus one variable for each square, held up
by its tangents (outer approximation; Duran and Grossmann 1986). Where its answer lies above the tangents, tangents are added
there and HiGHS is asked again. Tangents lie below the squares: what is proven about a program holds for the problem.

The totals are first turned to the principal directions of what the moves can do to them: there are no more of these than moves,
and a rotation changes neither the sum of the squares nor the ball that ``gap`` leaves.
"""

from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats
from solvers.interaction.additive import AdditivePart
from solvers.interaction.core import Core, CoreResult
from solvers.interaction.gram import Gram
from solvers.interaction.move_program import LinearRows, ProgramAnswer, solve_moves
from solvers.solver import Deadline

TANGENTS = 9  # over the interval of each total, to begin with
MARGIN = 1e-6  # of an interval, for rounding
TOTAL_SCALE = 1e3  # totals are counted so that HiGHS's tolerance of 1e-6 is 1e-9 of an interval
CLOSE = 1e-7  # of the gap: what HiGHS's tolerances leave


@dataclass(frozen=True, slots=True, eq=False)
class _Scaled:
    """The core in gaps: loss above the incumbent is ``linear·x + Σ_d u_d²`` with ``u = pull·x``.

    Attributes:
        linear: float64 ``[M]``.
        pull: float64 ``[D, M]``, D ≤ min(S, M).
        low: float64 ``[D]``, least u of a better choice.
        high: float64 ``[D]``, largest.
    """

    linear: Floats
    pull: Floats
    low: Floats
    high: Floats


def solve_convex_core(
    core: Core, part: AdditivePart, gram: Gram, at: Floats, *, max_nodes: int, max_rounds: int, deadline: Deadline
) -> CoreResult:
    """Search the core for the optimum.

    Args:
        core: moves away from the incumbent.
        part: losses, sizes and budgets.
        gram: the interaction.
        at: float64 ``[S]``, the totals of the certificate from which the core was fixed.
        max_nodes: branch-and-bound nodes of each program.
        max_rounds: most programs.
        deadline: looked at before each program.
    """
    scaled = _scale(core, part, gram, at)
    points = [*np.linspace(scaled.low, scaled.high, TANGENTS), np.zeros(scaled.low.shape)]
    best, least, nodes = core.choice, 0.0, 0
    for _ in range(max_rounds):
        if deadline.passed():
            break
        answer = _solve_tangents(core, scaled, np.array(points), max_nodes, deadline)
        nodes += answer.nodes
        if answer.chosen is not None:
            total = scaled.pull[:, answer.chosen].sum(axis=1)
            points.append(total)
            reached = float(scaled.linear[answer.chosen].sum() + total @ total)
            if reached < least:
                best, least = core.with_moves(answer.chosen), reached
        if answer.closed and answer.bound >= least - CLOSE:
            return CoreResult(best, proven=True, nodes=nodes)
        if not answer.closed:
            break
    return CoreResult(best, proven=False, nodes=nodes)


def _scale(core: Core, part: AdditivePart, gram: Gram, at: Floats) -> _Scaled:
    own = core.choice[core.klass]
    roots, now = np.sqrt(gram.weights / core.gap), gram.totals(core.choice)
    pull = roots[:, None] * (gram.factors[:, core.klass, core.item] - gram.factors[:, core.klass, own])
    loss = part.problem.loss if gram.diagonal else part.problem.loss - gram.squares()
    linear = (loss[core.klass, core.item] - loss[core.klass, own]) / core.gap + 2.0 * ((roots * now) @ pull)
    directions, lengths, _ = np.linalg.svd(pull, full_matrices=False)
    directions = directions[:, lengths > 0]
    turned = directions.T @ pull
    centre = directions.T @ (roots * (at - now))
    low, high = np.minimum(turned, 0.0).sum(axis=1), np.maximum(turned, 0.0).sum(axis=1)
    return _Scaled(linear, turned, np.maximum(centre - 1.0, low) - MARGIN, np.minimum(centre + 1.0, high) + MARGIN)


def _solve_tangents(core: Core, scaled: _Scaled, points: Floats, max_nodes: int, deadline: Deadline) -> ProgramAnswer:
    """The program with tangents at the points, float64 ``[T, S]``; variables: moves, totals, squares."""
    from scipy.sparse import csr_array, dia_array, eye_array, hstack, vstack

    samples, moves = scaled.pull.shape
    nothing = csr_array((samples, samples))
    totals = hstack([csr_array(scaled.pull * TOTAL_SCALE), -eye_array(samples), nothing], format="csr")
    slopes = [
        hstack(
            [
                csr_array((samples, moves)),
                dia_array((2 * at[None] / TOTAL_SCALE, [0]), shape=(samples, samples)),
                -eye_array(samples),
            ]
        )
        for at in points
    ]
    return solve_moves(
        core,
        np.concatenate((scaled.linear, np.zeros(samples), np.ones(samples))),
        np.concatenate((np.zeros(moves), scaled.low * TOTAL_SCALE, np.zeros(samples))),
        np.concatenate((np.ones(moves), scaled.high * TOTAL_SCALE, np.full(samples, np.inf))),
        [
            LinearRows(totals, np.zeros(samples), equal=True),
            LinearRows(vstack(slopes, format="csr"), (points * points).ravel()),
        ],
        max_nodes=max_nodes,
        deadline=deadline,
    )
