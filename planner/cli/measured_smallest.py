"""`bitplan plan --max-loss … --measured`: the smallest plan whose measured loss keeps a limit, by bisection with evaluations."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from planner.budget import BudgetKind
from planner.cli.evaluated_plans import evaluated, is_alike
from planner.cli.rendering import show_evaluations, show_plan
from planner.cli.reporting import in_bytes, out, say, show_json, show_table, with_error
from planner.errors import BudgetError, InvalidRequestError, PlannerError
from planner.operations import AbstractOperations
from planner.schemas.frontiers import FrontierRequest
from planner.schemas.plans import Evaluation, PlanDocument, PlanRequest, Question
from solvers import Bisection
from solvers.bisection import BisectionResult

FAMILY: Final = 64
"""Plans of rising size among which the smallest is looked for: seven evaluations, and those that check it."""


def plan_by_measuring(bitplan: AbstractOperations, request: PlanRequest, *, as_json: bool) -> None:
    """Evaluate plans of rising size on held-out text, halving the range each time; show the smallest that keeps the limit.

    The measured loss need not fall with every bit, so the two next smaller plans are measured too. Each of them is stored with
    its evaluation: where the search is stopped, it says what it has, and the same command goes on from there.

    Raises:
        InvalidRequestError: no greatest loss, or caches, which evaluations do not quantize.
        BudgetError: no plan that was measured keeps the limit.
        JobFailedError: an evaluation failed; its fields say what was found before.
    """
    limit = request.budget.max_loss
    if limit is None or request.kv_formats is not None:
        msg = "--measured finds the smallest plan of --max-loss, for weights alone: give --max-loss, and no --kv"
        raise InvalidRequestError(msg)
    family = _Family(bitplan, request, quiet=as_json)
    try:
        with bitplan.working():
            found = Bisection(limit).search(lambda t: np.array([t]), family.measure, count=len(family.bits))
    except (PlannerError, KeyboardInterrupt) as stopped:
        _keep(family, limit, stopped)
        raise
    if found.position is None:
        msg = f"no plan that was measured loses {limit:g} or less; the least was {found.best_loss:.4g}. Raise --max-loss"
        raise BudgetError(msg, measured=found.best_loss)
    plan, evaluation = family.made[found.position]
    if as_json:
        show_json(_facts(found, plan, evaluation, family))
        return
    _show_steps(found, family)
    show_plan(plan)
    if evaluation.plan != plan.id:
        say(f"measured as plan {evaluation.plan}, which has the same weights")
    show_evaluations([evaluation])


class _Family:
    """Plans of rising size, made and measured when they are asked for."""

    def __init__(self, bitplan: AbstractOperations, request: PlanRequest, *, quiet: bool) -> None:
        self._bitplan, self._request, self._quiet = bitplan, request, quiet
        question = request.model_dump(include=set(Question.model_fields))
        frontier = bitplan.make_frontier(FrontierRequest.model_validate(question | {"points": FAMILY}))
        most = request.budget.effective_bits or float("inf")
        self.bits = sorted({min(point.effective_bits, most) for point in frontier.points})
        self.made: dict[int, tuple[PlanDocument, Evaluation]] = {}

    def measure(self, choice: NDArray[np.int64]) -> float:
        """Measured KL of the plan at a place of the family; infinite where the other limits have no plan so small."""
        place = int(choice[0])
        asked = self._request.budget.model_dump() | {"max_loss": None, "effective_bits": self.bits[place]}
        request = self._request.model_dump() | {"budget": asked, "allow_slack": True}
        try:
            plan = self._bitplan.create_plan(PlanRequest.model_validate(request))
        except BudgetError as error:
            if not self._quiet:
                say(f"{self.bits[place]:.3f} bits: {error}")
            return float("inf")
        same = next((made for made in self.made.values() if is_alike(plan, made[0])), None)
        self.made[place] = same or evaluated(self._bitplan, plan, quiet=self._quiet)
        return self.made[place][1].kl.value

    def smallest(self, limit: float) -> tuple[PlanDocument, Evaluation] | None:
        """The smallest of the plans measured so far that loses no more."""
        kept = (made for made in self.made.values() if made[1].kl.value <= limit)
        return min(kept, key=lambda made: made[0].size.layer_bits, default=None)


def _keep(family: _Family, limit: float, stopped: BaseException) -> None:
    """Say what was found before the search stopped, on stderr and in the error, whose own message stays as it is."""
    best = family.smallest(limit)
    measured = [
        {"effective_bits": family.bits[place], "loss": made[1].kl.value, "plan": made[0].id}
        for place, made in sorted(family.made.items())
    ]
    if isinstance(stopped, PlannerError):
        stopped.fields |= {"measured": measured, "plan_so_far": None if best is None else best[0].id}
    if not measured:
        return
    found = f"none of them loses {limit:g} or less"
    if best is not None:
        plan, evaluation = best
        loss = with_error(evaluation.kl.value, evaluation.kl.standard_error)
        found = (
            f"the smallest that loses {limit:g} or less is plan {plan.id} with {plan.size.effective_bits:.4f} bits ({loss}), "
            f"which is not shown to be the smallest of all"
        )
    say(f"stopped; {len(measured)} plans are measured and stay stored: {found}. The same command goes on from here")


def _facts(found: BisectionResult, plan: PlanDocument, evaluation: Evaluation, family: _Family) -> dict[str, Any]:
    below = found.largest_infeasible
    return {
        "status": found.status.value,
        "advice": found.status.advice,
        "plan": plan.model_dump(mode="json"),
        "evaluation": evaluation.model_dump(mode="json"),
        "largest_that_loses_more": None if below is None else family.bits[below],
        "measured": [
            {"effective_bits": family.bits[step.position], "loss": step.loss if np.isfinite(step.loss) else None}
            for step in found.evaluations
        ],
    }


def _show_steps(found: BisectionResult, family: _Family) -> None:
    rows = []
    for step in found.evaluations:
        made = family.made.get(step.position)
        rows.append(
            [
                f"{family.bits[step.position]:.4f}",
                "" if made is None else in_bytes(made[0].size.file_bytes),
                "" if made is None else f"{made[0].predicted.loss:.4g}",
                "no plan" if made is None else with_error(made[1].kl.value, made[1].kl.standard_error),
                "kept" if step.feasible else "",
            ]
        )
    show_table("measured", ["bits", "file", "predicted", "measured KL", BudgetKind.MAX_LOSS.value], rows)
    out.print(found.status.advice, highlight=False, soft_wrap=True)
