"""A plan with its evaluation: an earlier one of the same assignment where there is one, else a new one, waited for."""

from collections.abc import Iterator
from typing import Final

from planner.budget import BudgetKind
from planner.cli.following import follow
from planner.errors import PlannerError
from planner.operations import AbstractOperations
from planner.schemas.jobs import Job
from planner.schemas.plan_keeping import PlanFilters
from planner.schemas.plans import EvaluateRequest, Evaluation, PlanDocument
from planner.services.pagination import PAGE_LIMIT

KIND: Final = "evaluation"
"""Of a job."""
OF_PLAN: Final = "plan"
"""Label of the plan among the assignments of its evaluation."""


def evaluated(bitplan: AbstractOperations, plan: PlanDocument, *, quiet: bool) -> tuple[PlanDocument, Evaluation]:
    """Measure a plan of effective bits on the text of its curves, unless that was done, or begun, before.

    Args:
        bitplan: who answers.
        plan: a stored plan.
        quiet: show no progress.

    Returns:
        An evaluation of the plan's weights, of an older plan where one of the same weights was evaluated, and the plan: the older
        one where that answers the same question, runtime and all.

    Raises:
        JobFailedError: the evaluation failed.
        PlannerError: it has no result for the plan.
    """
    alike = list(_alike(bitplan, plan))
    for one in alike:
        known = _stored(bitplan, one)
        if known is not None:
            return _of_question(plan, one), known
    begun = {one.id: one for one in alike}
    for job in bitplan.list_jobs(model=plan.model, limit=PAGE_LIMIT).items if begun else ():
        if _is_under_way(job, plan) and job.request.get("plan_id") in begun:
            one = begun[job.request["plan_id"]]
            return _of_question(plan, one), _waited_for(bitplan, one, job.id, quiet=quiet)
    job = bitplan.evaluate_plan(plan.id, EvaluateRequest(baselines=[]))
    return plan, _waited_for(bitplan, plan, job.id, quiet=quiet)


def is_alike(plan: PlanDocument, other: PlanDocument) -> bool:
    """Whether two plans of one model are the same weights, measured on the same text."""
    here, there = ({choice.layer: choice.format for choice in one.choices} for one in (plan, other))
    facts = [(one.provenance.rounding, one.provenance.calibration) for one in (plan, other)]
    return here == there and facts[0] == facts[1]


def _of_question(plan: PlanDocument, other: PlanDocument) -> PlanDocument:
    """The other plan of the same weights if the same was asked for it: its evaluation is stored with it."""
    return other if other.request == plan.request else plan


def _alike(bitplan: AbstractOperations, plan: PlanDocument) -> Iterator[PlanDocument]:
    """Older plans of the same budget that are the same weights, newest first."""
    bits = plan.budget.effective_bits
    filters = PlanFilters(model=plan.model, budget_kind=BudgetKind.EFFECTIVE_BITS, budget_min=bits, budget_max=bits)
    for item in bitplan.list_plans(filters, limit=PAGE_LIMIT).items:
        if item.id != plan.id and item.effective_bits == plan.size.effective_bits:
            other = bitplan.get_plan(item.id)
            if is_alike(plan, other):
                yield other


def _stored(bitplan: AbstractOperations, plan: PlanDocument, job: str | None = None) -> Evaluation | None:
    """What the job, or the newest one on the text of the curves, measured of the plan."""
    text = plan.provenance.calibration
    items = (item for item in bitplan.list_evaluations(plan.id).items if item.label == OF_PLAN)
    return next((item for item in items if (item.calibration == text if job is None else item.job == job)), None)


def _is_under_way(job: Job, plan: PlanDocument) -> bool:
    return job.kind == KIND and not job.state.is_final and job.request.get("calibration_id") == plan.provenance.calibration


def _waited_for(bitplan: AbstractOperations, plan: PlanDocument, job: str, *, quiet: bool) -> Evaluation:
    follow(bitplan, job, quiet=quiet)
    found = _stored(bitplan, plan, job)
    if found is None:
        msg = f"job {job} has no evaluation of plan {plan.id}: look at it with `bitplan jobs show {job}`"
        raise PlannerError(msg, job=job)
    return found
