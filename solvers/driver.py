"""The one way to solve: run a solver, then recompute everything it says."""

import math
import time
from dataclasses import replace

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.errors import UnsupportedProblemError
from solvers.problem import Problem, chosen_losses, total_loss, total_sizes
from solvers.relaxation import Relaxation, relax, rule_rows
from solvers.solution import Solution, Stats, Status
from solvers.solver import AbstractSolver, Answer, Deadline, no_multipliers

BLOCK = 16_384  # classes looked at together: what one block needs stays in the processor's cache


def solve(problem: Problem, solver: AbstractSolver, *, deadline: float | None = None) -> Solution:
    """Run ``solver`` and certify its answer.

    The totals are recomputed from the choice (sizes in int64, loss in float64) and the Lagrangian bound from the
    multipliers. A solver that breaks a budget, takes a forbidden item or returns something else than a choice gets the
    status FAILED with the reason: its answer is not passed on.

    Args:
        problem: what to solve.
        solver: how.
        deadline: wall seconds from now after which the solver hands in its incumbent. Reading the problem, the bound and
            a first incumbent are always computed, so very large problems can take longer than a very short deadline.

    Raises:
        UnsupportedProblemError: the solver does not take such a problem; the message names what does.
        SettingError: a negative deadline.
    """
    started = time.perf_counter()
    stop = Deadline.after(deadline)
    refusal = find_unsupported(problem, solver) or solver.refusal(problem)
    if refusal is not None:
        raise UnsupportedProblemError(refusal)
    solution = _solve(problem, solver, stop)
    return replace(solution, stats=replace(solution.stats, solver=repr(solver), seconds=time.perf_counter() - started))


def find_unsupported(problem: Problem, solver: AbstractSolver) -> str | None:
    """What of the problem the solver would not look at; ``None`` when it takes all of it."""
    name = type(solver).__name__
    if problem.rules and not solver.takes_rules:
        return f"{name} would not keep the {len(problem.rules)} side rules of the problem; use Ilp()"
    if problem.interaction is not None and not solver.takes_interaction:
        return f"{name} would not see the interaction between the classes; use Interaction()"
    return None


def _solve(problem: Problem, solver: AbstractSolver, stop: Deadline) -> Solution:
    smallest = problem.smallest_sizes()
    short = smallest > problem.budgets
    if short.any():
        r = int(short.argmax())
        reason = f"budget {problem.budgets[r]} of row {r} is below {smallest[r]}, the sum of the smallest allowed items"
        return _without_choice(problem, Status.INFEASIBLE, smallest, reason)
    answer = solver.run(problem, stop) if problem.classes else _without_classes(problem)
    joint = len(problem.budgets) + len(problem.rules)
    if answer.status is Status.INFEASIBLE and joint > 1:  # each row alone is feasible, all together are not
        return _without_choice(problem, Status.INFEASIBLE, smallest, answer.reason)
    fault = find_fault(problem, answer)
    if fault is not None:
        return _without_choice(problem, Status.FAILED, smallest, fault)
    return _certified(problem, answer, smallest)


def _without_classes(problem: Problem) -> Answer:
    nothing = np.empty(0, dtype=np.int64)
    faults = [fault for rule in problem.rules if (fault := rule.broken_by(nothing)) is not None]
    return Answer(Status.INFEASIBLE, None, reason=faults[0]) if faults else Answer(Status.OPTIMAL, nothing)


def find_fault(problem: Problem, answer: Answer) -> str | None:
    """What is wrong with an answer, in one sentence; ``None`` when it may be certified."""
    choice = answer.choice
    if choice is None or answer.status in (Status.FAILED, Status.INFEASIBLE):
        return answer.reason or f"the solver returned no choice, with status {answer.status}"
    if choice.shape != (problem.classes,) or choice.dtype.kind not in "iu":
        return f"the choice has shape {choice.shape} and dtype {choice.dtype}; {problem.classes} whole numbers were due"
    if choice.size and not 0 <= int(choice.min()) <= int(choice.max()) < problem.items:
        return f"the choice leaves the range of items 0..{problem.items - 1}"
    allowed = np.isfinite(chosen_losses(problem, choice))
    if not allowed.all():
        i = int(allowed.argmin())
        return f"the choice takes item {choice[i]} of class {i}, whose loss is inf"
    totals = total_sizes(problem, choice)
    if (totals > problem.budgets).any():
        return f"the choice has sizes {totals.tolist()}, over the budgets {problem.budgets.tolist()}"
    broken = (rule.broken_by(choice) for rule in problem.rules)
    return next((fault for fault in broken if fault is not None), None) or _find_proof_fault(problem, answer)


def _find_proof_fault(problem: Problem, answer: Answer) -> str | None:
    prices, rule_prices = answer.multipliers, answer.rule_multipliers
    if prices is not None and not _are_prices(prices, len(problem.budgets)):
        return f"the multipliers {prices.tolist()} are not one finite number >= 0 for each budget"
    if rule_prices is not None and not _are_prices(rule_prices, len(rule_rows(problem))):
        return f"the multipliers {rule_prices.tolist()} are not one finite number >= 0 for each linear row of the side rules"
    if problem.interaction is not None:
        try:
            problem.interaction.minorant(answer.certificate)
        except ValueError as error:
            return f"the certificate of the interaction cannot be used: {error}"
    return None


def _are_prices(prices: Floats, count: int) -> bool:
    return prices.shape == (count,) and bool(np.isfinite(prices).all()) and bool((prices >= 0).all())


def lagrangian_bound(problem: Problem, choice: Integers, totals: Integers, multipliers: Floats, relaxation: Relaxation) -> float:
    """Σ_i min_k(loss + λ·size) − λ·budget of a relaxation, without cancellation: sizes are counted from those of the choice.

    The term of class i is ``min_k loss[i,k] + λ·(size[i,k] − size[i,c])``, and λ·slack is taken off, with ``slack = budget −
    Σ size[i,c]``. A class whose chosen item is the cheapest adds its loss alone, so that the bound of an optimum without
    slack is the loss to the last digit; and the loss of a poor choice, however large, does not blur the bound.

    Args:
        problem: of the relaxation.
        choice: that sizes are counted from.
        totals: its sizes.
        multipliers: λ of each budget.
        relaxation: of the problem.
    """
    slacks = [int(budget) - int(total) for budget, total in zip(problem.budgets, totals, strict=True)]
    parts = [relaxation.constant, *(-float(price) * slack for price, slack in zip(multipliers, slacks, strict=True))]
    for start in range(0, problem.classes, BLOCK):
        parts += _cheapest_terms(problem, relaxation.loss, choice, multipliers, slice(start, start + BLOCK))
    return math.fsum(parts)


def _cheapest_terms(problem: Problem, losses: Floats, choice: Integers, multipliers: Floats, block: slice) -> list[float]:
    """What the cheapest item of every class adds to the bound: its loss, and its price where it is not the chosen one."""
    loss, chosen = losses[block].T, choice[block].copy()
    rows = np.arange(loss.shape[1])
    value = loss.copy()
    for price, sizes in zip(multipliers, problem.sizes[:, block], strict=True):
        value += price * (sizes.T - sizes.T[chosen, rows])
    moved = (value.min(axis=0) < value[chosen, rows]).nonzero()[0]
    best = value[:, moved].argmin(axis=0)
    terms: list[float] = []
    for price, sizes in zip(multipliers, problem.sizes[:, block], strict=True):
        terms += (price * (sizes[moved, best] - sizes[moved, chosen[moved]])).tolist()
    chosen[moved] = best
    terms += loss[chosen, rows].tolist()
    return terms


def relative_gap(loss: float, bound: float) -> float:
    """(loss − bound)/|loss|; 0 when both are equal, ``inf`` when only the loss is 0."""
    if loss == bound:
        return 0.0
    return (loss - bound) / abs(loss) if loss else math.inf


def _certified(problem: Problem, answer: Answer, smallest: Integers) -> Solution:
    assert answer.choice is not None  # noqa: S101  (find_fault has seen it)
    choice = answer.choice.astype(np.int64)
    multipliers = no_multipliers(problem) if answer.multipliers is None else answer.multipliers.astype(np.float64)
    loss, totals = total_loss(problem, choice), total_sizes(problem, choice)
    rule_multipliers = np.zeros(len(rule_rows(problem))) if answer.rule_multipliers is None else answer.rule_multipliers
    relaxation = relax(problem, rule_multipliers, answer.certificate)
    bound = min(lagrangian_bound(problem, choice, totals, multipliers, relaxation), loss)
    closed = bound == loss
    status = Status.OPTIMAL if closed else answer.status
    proof = "bound" if closed else answer.stats.proof
    lower = loss if status is Status.OPTIMAL else bound
    stats = replace(answer.stats, lagrangian_bound=bound, lagrangian_gap=relative_gap(loss, bound), proof=proof)
    return _frozen(
        Solution(
            status,
            choice,
            loss,
            totals,
            lower,
            relative_gap(loss, lower),
            multipliers,
            smallest,
            stats,
            rule_multipliers=rule_multipliers.copy(),
            certificate=None if answer.certificate is None else answer.certificate.copy(),
        )
    )


def _without_choice(problem: Problem, status: Status, smallest: Integers, reason: str) -> Solution:
    rows = problem.budgets.shape[0]
    nothing, zeros = np.empty(0, dtype=np.int64), np.zeros(rows, dtype=np.int64)
    bound = math.inf if status is Status.INFEASIBLE else -math.inf
    stats = Stats(lagrangian_bound=bound, lagrangian_gap=math.inf)
    return _frozen(Solution(status, nothing, math.inf, zeros, bound, math.inf, np.zeros(rows), smallest, stats, reason))


def _frozen(solution: Solution) -> Solution:
    for array in (solution.choice, solution.sizes, solution.multipliers, solution.smallest_sizes, solution.rule_multipliers):
        array.setflags(write=False)
    if solution.certificate is not None:
        solution.certificate.setflags(write=False)
    return solution
