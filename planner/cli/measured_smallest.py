"""`bitplan plan --max-loss … --measured`: the smallest plan whose measured loss keeps a limit, by bisection with evaluations."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from planner.budget import BudgetKind
from planner.cli.following import follow
from planner.cli.rendering import show_evaluations, show_plan
from planner.cli.reporting import in_bytes, out, say, show_json, show_table, with_error
from planner.errors import BudgetError, InvalidRequestError, PlannerError
from planner.operations import AbstractOperations
from planner.schemas.frontiers import FrontierRequest
from planner.schemas.plans import EvaluateRequest, Evaluation, PlanDocument, PlanRequest, Question
from solvers import Bisection
from solvers.bisection import BisectionResult

FAMILY: Final = 64
"""Plans of rising size among which the smallest is looked for: seven evaluations, and those that check it."""


def plan_by_measuring(bitplan: AbstractOperations, request: PlanRequest, *, as_json: bool) -> None:
    """Evaluate plans of rising size on held-out text, halving the range each time; show the smallest that keeps the limit.

    The measured loss need not fall with every bit, so the two next smaller plans are measured too. Each of them is stored with
    its evaluation.

    Raises:
        InvalidRequestError: no greatest loss, or caches, which evaluations do not quantize.
        BudgetError: no plan that was measured keeps the limit.
        JobFailedError: an evaluation failed.
    """
    limit = request.budget.max_loss
    if limit is None or request.kv_formats is not None:
        msg = "--measured finds the smallest plan of --max-loss, for weights alone: give --max-loss, and no --kv"
        raise InvalidRequestError(msg)
    family = _Family(bitplan, request, quiet=as_json)
    with bitplan.working():
        found = Bisection(limit).search(lambda t: np.array([t]), family.measure, count=len(family.bits))
    if found.position is None:
        msg = f"no plan that was measured loses {limit:g} or less; the least was {found.best_loss:.4g}. Raise --max-loss"
        raise BudgetError(msg, measured=found.best_loss)
    plan, evaluation = family.made[found.position]
    if as_json:
        show_json(_facts(found, plan, evaluation, family))
        return
    _show_steps(found, family)
    show_plan(plan)
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
        job = self._bitplan.evaluate_plan(plan.id, EvaluateRequest(baselines=[]))
        follow(self._bitplan, job.id, quiet=self._quiet)
        items = self._bitplan.list_evaluations(plan.id).items
        evaluation = next((item for item in items if item.job == job.id), None)
        if evaluation is None:
            msg = f"job {job.id} has no evaluation of plan {plan.id}: look at it with `bitplan jobs show {job.id}`"
            raise PlannerError(msg, job=job.id)
        self.made[place] = plan, evaluation
        return evaluation.kl.value


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
