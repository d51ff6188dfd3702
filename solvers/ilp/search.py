"""From the bound to the proof: a first choice, the kernel, the core."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from solvers.arrays import Integers
from solvers.ilp.bound import Bound, cells_near
from solvers.ilp.model import Mask, Model, NoChoiceError, row_totals
from solvers.ilp.program import Effort, Outcome, Program, build_program
from solvers.ilp.repair import repaired
from solvers.problem import Problem, chosen_losses, total_sizes
from solvers.solver import Deadline

Backend = Callable[[Program, Effort], Outcome]
ROUNDS = 40  # of excluding what a backend calls best and exact integers refuse
GROWTH = 4  # of the kernel, while it is solved and the core is still far larger
GRACE = 0.5  # seconds that the first program has even past the deadline, when nothing else found a choice
KERNEL_SHARE = 0.25  # of the effort
MARGIN = 1e-14  # of the largest loss: reduced costs are not known better


@dataclass(slots=True, eq=False)
class Search:
    """The state of one solve.

    Attributes:
        problem: what is solved; it judges every choice, in exact integers.
        model: its rows after presolve.
        bound: multipliers and reduced costs.
        backend: solves programs.
        effort: of one program.
        deadline: looked at before each program.
        tolerance: relative error of the loss up to which a closed program counts as proof.
        incumbent: best choice known.
        gap: its height above the bound, in scaled losses.
        nodes: of all programs.
    """

    problem: Problem
    model: Model
    bound: Bound
    backend: Backend
    effort: Effort
    deadline: Deadline
    tolerance: float
    incumbent: Integers | None = None
    gap: float = math.inf
    nodes: int = 0

    def run(self, kernel: int, max_cells: int) -> bool:
        """Look for the best choice; True when nothing better exists (or nothing at all, without an incumbent).

        The kernel, the cells of least reduced cost, gives a good choice at little cost; the gap of that choice then says
        which cells can matter at all, and these, the core, give the proof.

        Args:
            kernel: its cells beside one a class.
            max_cells: no program with more cells than this beside one a class.
        """
        self._offer(repaired(self.model, self.bound))
        core = self._core()
        while _beside_one(core) > 2 * kernel:
            near = core & self._near(kernel)
            if not self._allows(near, max_cells):
                return False
            closed = self._solve(near, KERNEL_SHARE)
            if self.incumbent is not None:
                core = self._core()
                if closed and not (core & ~near).any():
                    return True
                if not closed:
                    break
            kernel *= GROWTH
        return self._allows(core, max_cells) and self._solve(core, 1.0)

    def core_size(self) -> tuple[int, int]:
        """Classes that the gap of the incumbent leaves undecided, and their cells beside one a class."""
        core = self._core()
        return int((core.sum(axis=1) > 1).sum()), _beside_one(core)

    def _near(self, count: int) -> Mask:
        return self._with_incumbent(cells_near(self.bound.reduced, count))

    def _with_incumbent(self, cells: Mask) -> Mask:
        if self.incumbent is not None:
            cells[np.arange(cells.shape[0]), self.incumbent] = True
        return cells

    def _core(self) -> Mask:
        """The cells that a choice as good as the incumbent can take: reduced-cost fixing."""
        core: Mask = self.model.open & (self.bound.reduced <= self.gap * (1 + 1e-9) + MARGIN)
        return self._with_incumbent(core)

    def _allows(self, cells: Mask, max_cells: int) -> bool:
        """There is time for a program over these cells, and they are not too many; without a choice the first one always runs."""
        first = self.incumbent is None and self.nodes == 0
        return _beside_one(cells) <= max_cells and (first or not self.deadline.passed())

    def _solve(self, cells: Mask, share: float) -> bool:
        """Let the backend find the best choice of some cells; True when it is proven to be the best of them."""
        program = self._program(cells)
        error = math.inf
        for _ in range(ROUNDS):
            if program is None:
                return True
            outcome = self.backend(program, self._effort(share))
            self.nodes += max(outcome.nodes, 1)
            if outcome.chosen is None:
                return outcome.closed and program.hint is None
            choice = program.choice(outcome.chosen)
            if not self._keeps_all(choice):
                if self.deadline.passed():
                    break
                program = program.without(outcome.chosen)
                continue
            self._offer(choice)
            if not outcome.closed or outcome.error <= self.tolerance * self._magnitude(choice):
                return outcome.closed
            if self.deadline.passed() or outcome.error > error / 2:
                break
            program, error = self._program(cells), outcome.error  # the new incumbent bounds the costs better
        return False

    def _program(self, cells: Mask) -> Program | None:
        """The program over some cells; ``None`` where they leave one choice, which is then offered, or none."""
        gap = self.gap if self.gap < math.inf else float(self.bound.reduced[cells].max())
        try:
            program = build_program(self.model, self.bound, cells, self.incumbent, max(gap, MARGIN))
        except NoChoiceError:
            return None
        if program.columns:
            return program
        self._offer(program.base)
        return None

    def _effort(self, share: float) -> Effort:
        seconds = self.deadline.remaining()
        if self.incumbent is None:
            seconds = max(seconds, GRACE)
        time, nodes = self.effort.time * share, math.ceil(self.effort.nodes * share)
        return replace(self.effort, time=time, nodes=nodes, seconds=seconds)

    def _magnitude(self, choice: Integers) -> float:
        """What an error of the loss is compared with: the losses of a choice, and how far they lie above the least."""
        losses = np.ldexp(np.abs(chosen_losses(self.problem, choice)), -self.model.exponent)
        return float((losses + self.model.loss[np.arange(choice.shape[0]), choice]).sum())

    def _offer(self, choice: Integers | None) -> None:
        """Take a choice that keeps everything and beats the incumbent."""
        if choice is not None and self._keeps_all(choice) and (gap := self._gap_of(choice)) < self.gap:
            self.incumbent, self.gap = choice, gap

    def _keeps_all(self, choice: Integers) -> bool:
        fits = bool((total_sizes(self.problem, choice) <= self.problem.budgets).all())
        return fits and all(rule.broken_by(choice) is None for rule in self.problem.rules)

    def _gap_of(self, choice: Integers) -> float:
        """Σ reduced costs + Σ μ·slack + what the helpers cost above their least, ≥ 0 up to rounding."""
        parts = [-float(np.minimum(self.bound.helper_prices, 0.0).sum())]
        for price, row, total in zip(self.bound.prices.tolist(), self.model.rows, row_totals(self.model, choice), strict=True):
            parts.append(price * (row.room - total))
        return math.fsum((*parts, *self.bound.reduced[np.arange(choice.shape[0]), choice].tolist()))


def _beside_one(cells: Mask) -> int:
    """Cells beside one a class."""
    return int(cells.sum()) - int(cells.shape[0])
