"""The solver for losses that classes share."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from solvers.arrays import Integers
from solvers.errors import SettingError
from solvers.interaction.additive import AdditivePart
from solvers.interaction.bound import InteractionBound
from solvers.interaction.chain import Row, RowBound, RowFound, bound_row, find_row, messages_of, search_row
from solvers.interaction.convex_program import solve_convex_core
from solvers.interaction.core import Core, CoreResult, gather_core
from solvers.interaction.diagonal_share import find_share, share_certificate
from solvers.interaction.frank_wolfe import bound_gram
from solvers.interaction.gram import Gram
from solvers.interaction.local_search import improve
from solvers.interaction.messages import bound_pairs
from solvers.interaction.pair_program import solve_pair_core
from solvers.interaction.pairs import PairTables
from solvers.interaction.quadratic import AbstractQuadratic
from solvers.mckp import Mckp
from solvers.mckp.excess import Excess
from solvers.problem import Problem, total_loss, total_sizes
from solvers.solution import Stats, Status
from solvers.solver import AbstractSolver, Answer, Deadline

LONG_LIST = 200_000  # states of a row after which a better plan is looked for first
WIDTH = 256
PLANS = 4  # additive plans at conditional losses, one after the other


@dataclass(frozen=True, slots=True)
class Interaction(AbstractSolver):
    """Additive losses and an interaction, ``Gram`` or ``PairTables``, under one budget or more.

    A certified bound (fully corrective Frank–Wolfe for ``Gram``, message passing for ``PairTables``), plans by exact knapsacks
    at conditional losses, exchanges of one and two classes, reduced-cost fixing, and HiGHS on the core that is left. Pairs
    that form a row, under one budget, are solved by dynamic programming instead. Without an interaction it is ``Mckp()``.
    OPTIMAL is only said when the core was searched to its end; otherwise the status is LIMIT, with the gap to the bound.

    Attributes:
        tolerance: the bound under a ``Gram`` is sharpened until this close to what is possible, relative.
        max_bound_steps: most linear relaxations, or sweeps of messages, for it.
        max_steps: most exchanges from one plan.
        patience: exchanges in a row, the least worsening ones, that may pass without a better plan.
        max_dimensions: independent items of all classes above which a ``Gram`` is not examined for a tighter form.
        max_states: partial choices that the search of a row may keep (some 30 bytes each).
        max_core: moves above which a core is not given to HiGHS.
        max_products: products of two moves above which a core of pairs is not given to HiGHS.
        max_nodes: branch-and-bound nodes that HiGHS may open each time; 0 leaves it out. Unlike a time limit it ends at the
            same place on every machine.
        max_rounds: how often HiGHS may be asked again with more tangents.
        program_gap: HiGHS is not asked about a relative gap below this; the status is then LIMIT, with the gap.
    """

    takes_interaction: ClassVar[bool] = True

    tolerance: float = 1e-12
    max_bound_steps: int = 400
    max_steps: int = 1_000
    patience: int = 60
    max_dimensions: int = 1_000
    max_states: int = 2_000_000
    max_core: int = 400
    max_products: int = 20_000
    max_nodes: int = 1_000
    max_rounds: int = 12
    program_gap: float = 1e-9

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) >= 0:
                msg = f"{name} is {getattr(self, name)}; give zero or more"
                raise SettingError(msg)

    def refusal(self, problem: Problem) -> str | None:
        """Refuses interactions of other kinds, and several budgets without an interaction where ``Mckp`` does."""
        interaction = problem.interaction
        if interaction is None:
            return Mckp().refusal(problem)
        if not isinstance(interaction, Gram | PairTables):
            return f"Interaction takes a Gram or PairTables, not {type(interaction).__name__}; BruteForce() takes any, if tiny"
        return None

    def run(self, problem: Problem, deadline: Deadline) -> Answer:
        """The optimum, or the best plan and the bound when a limit or the deadline ended the search."""
        interaction = problem.interaction
        additive = _as_additive(problem)
        if additive is not None and Mckp().refusal(additive) is None:
            return Mckp().run(additive, deadline)
        part = AdditivePart(problem)
        first = part.plan(problem.loss, deadline)
        if first.choice is None:
            return first
        if isinstance(interaction, Gram):
            return self._gram(part, interaction, first.choice, deadline)
        assert isinstance(interaction, PairTables)  # noqa: S101  (refusal has seen it)
        row = find_row(interaction) if part.excess is not None else None
        if row is not None:
            return self._row(part, interaction, row, first.choice, deadline)
        bound = bound_pairs(part, interaction, first.choice, max_sweeps=self.max_bound_steps, deadline=deadline)
        choice = self._plan(part, interaction, bound, first.choice, deadline)
        return self._pairs(part, interaction, bound, choice, 0, deadline)

    def _gram(self, part: AdditivePart, gram: Gram, first: Integers, deadline: Deadline) -> Answer:
        """The same problem with the share of the squares of single classes in the losses, where there is one."""
        found = None if deadline.passed() else find_share(gram.rooted(), largest=self.max_dimensions)
        if found is None:
            return self._convex(part, gram, first, deadline)
        loss = part.problem.loss + (found.share * gram.squares() if gram.diagonal else 0.0)
        tight = Gram(found.factors, np.ones(found.factors.shape[0]), gram.diagonal)
        problem = Problem(loss, part.problem.sizes, part.problem.budgets, (), tight)
        answer = self._convex(AdditivePart(problem), tight, first, deadline)
        totals = np.zeros(tight.weights.shape) if answer.certificate is None else answer.certificate
        return replace(answer, certificate=share_certificate(found, totals))

    def _convex(self, part: AdditivePart, gram: Gram, first: Integers, deadline: Deadline) -> Answer:
        bound = bound_gram(part, gram, tolerance=self.tolerance, max_steps=self.max_bound_steps, deadline=deadline)
        choice = self._plan(part, gram, bound, first, deadline)
        core = self._core(part, gram, bound, choice, deadline)
        if not self._is_for_program(core, deadline):
            return _answer(core, bound, CoreResult(core.choice, not core.is_open, 0), 0, "search")
        at = np.zeros(gram.weights.shape) if bound.certificate is None else bound.certificate
        result = solve_convex_core(core, part, gram, at, max_nodes=self.max_nodes, max_rounds=self.max_rounds, deadline=deadline)
        return _answer(core, bound, result, 0, "milp")

    def _pairs(
        self,
        part: AdditivePart,
        interaction: PairTables,
        bound: InteractionBound,
        choice: Integers,
        states: int,
        deadline: Deadline,
    ) -> Answer:
        core = self._core(part, interaction, bound, choice, deadline)
        if not self._is_for_program(core, deadline):
            return _answer(core, bound, CoreResult(core.choice, not core.is_open, 0), states, "search")
        result = solve_pair_core(
            core, part, interaction, max_products=self.max_products, max_nodes=self.max_nodes, deadline=deadline
        )
        return _answer(core, bound, result, states, "milp")

    def _row(self, part: AdditivePart, interaction: PairTables, row: Row, first: Integers, deadline: Deadline) -> Answer:
        """Dynamic programming along the row; when its states pass the limit, the way of all pairs from its bound."""
        assert part.excess is not None  # noqa: S101  (rows are only looked for under one budget)
        guess = part.multiplier_above_zero(part.problem.loss + interaction.flips(first))
        under = bound_row(part.problem, part.excess, row, guess)
        prices = np.array([under.multiplier])
        bound = InteractionBound(-math.inf, prices, messages_of(row, under, interaction))
        found = np.empty_like(first)
        found[row.order] = under.choice
        keeps = bool((total_sizes(part.problem, found) <= part.problem.budgets).all())
        choice = self._plan(part, interaction, bound, found if keeps else first, deadline)
        result = self._search_row(part.excess, row, under, gather_core(part, interaction, bound, choice).gap, deadline)
        if result.choice is not None:
            choice = choice.copy()
            choice[row.order] = result.choice
        if not result.finished:
            return self._pairs(part, interaction, bound, choice, result.states, deadline)
        core = gather_core(part, interaction, bound, choice)
        return _answer(core, bound, CoreResult(choice, proven=True, nodes=0), result.states, "search")

    def _search_row(self, excess: Excess, row: Row, under: RowBound, gap: float, deadline: Deadline) -> RowFound:
        """Every choice below the gap; where that is long, again from the best of a narrow search."""
        best, states = None, 0
        for limit, width in ((LONG_LIST, None), (self.max_states, WIDTH), (self.max_states, None)):
            most = min(limit, self.max_states)
            found = search_row(excess, row, under, gap, max_states=most, deadline=deadline, width=width)
            best, gap, states = best if found.choice is None else found.choice, min(gap, found.gap), states + found.states
            if found.finished:
                break
        return RowFound(best, gap, finished=found.finished, states=states)

    def _plan(
        self, part: AdditivePart, quadratic: AbstractQuadratic, bound: InteractionBound, first: Integers, deadline: Deadline
    ) -> Integers:
        """The best of some plans after exchanges: ``first``, the knapsack under the bound, and those at conditional losses."""
        problem = part.problem
        starts, at = [first], part.problem.loss + quadratic.minorant(bound.certificate).loss
        for _ in range(PLANS):
            if deadline.passed():
                break
            following = part.plan(at, deadline).choice
            if following is None or any((following == known).all() for known in starts):
                break
            starts.append(following)
            at = problem.loss + quadratic.flips(following)
        starts.sort(key=lambda choice: total_loss(problem, choice))
        ends = [
            improve(problem, quadratic, choice, bound.multipliers, max_steps=self.max_steps, patience=0, deadline=deadline)
            for choice in starts[:2]
        ]
        return min(ends, key=lambda choice: total_loss(problem, choice))

    def _core(
        self, part: AdditivePart, quadratic: AbstractQuadratic, bound: InteractionBound, choice: Integers, deadline: Deadline
    ) -> Core:
        """The core of the plan; while it is open the plan is first searched for a better one."""
        core = gather_core(part, quadratic, bound, choice)
        if self.patience == 0 or not core.is_open:
            return core
        better = improve(
            part.problem,
            quadratic,
            choice,
            bound.multipliers,
            max_steps=self.max_steps,
            patience=self.patience,
            deadline=deadline,
        )
        return gather_core(part, quadratic, bound, better)

    def _is_for_program(self, core: Core, deadline: Deadline) -> bool:
        """Whether HiGHS should look at the core."""
        if not core.is_open or core.gap <= self.program_gap * abs(core.loss):
            return False
        return core.count <= self.max_core and self.max_nodes > 0 and not deadline.passed()


def _as_additive(problem: Problem) -> Problem | None:
    """The same problem without an interaction, where that adds nothing or there is one class."""
    interaction, loss = problem.interaction, problem.loss
    if isinstance(interaction, AbstractQuadratic) and not interaction.is_zero:
        if problem.classes > 1:
            return None
        loss = loss + interaction.values(np.arange(problem.items)[:, None])
    return Problem(loss, problem.sizes, problem.budgets)


def _answer(core: Core, bound: InteractionBound, result: CoreResult, states: int, proof: str) -> Answer:
    stats = Stats(
        proof=proof if result.proven else "",
        core_classes=core.classes,
        core_items=core.count,
        states=states,
        nodes=result.nodes,
    )
    status = Status.OPTIMAL if result.proven else Status.LIMIT
    return Answer(status, result.choice, bound.multipliers, stats, certificate=bound.certificate)
