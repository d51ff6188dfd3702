"""Stored plans with made-up evaluations, for the tests of what is shown of them."""

import math
from collections.abc import Mapping

from sqlalchemy.orm import Session

from planner.schemas.plans import EvaluateRequest, PlanDocument, PlanRequest
from planner.services import evaluations, plans
from planner.storage.tables import EvaluationRow

NLL = 3.0
"""Of every unquantized model."""


def made(session: Session, **request: object) -> PlanDocument:
    """A stored plan; 4.25 bits of the toy unless the request says otherwise."""
    asked = {"model": "toy", "budget": {"effective_bits": 4.25}} | request
    return plans.create_plan(session, PlanRequest.model_validate(asked))


def evaluated(session: Session, plan: PlanDocument, kl: Mapping[str, float], *, error: float | None = 0.004) -> str:
    """A job that measured a plan, and what it found by label; the job's id."""
    job = evaluations.submit_evaluation(session, plan.id, EvaluateRequest())
    sizes = {reference.label: reference.size for reference in plan.references} | {"plan": plan.size}
    for label, loss in kl.items():
        size = sizes[label]
        assert size is not None
        session.add(
            EvaluationRow(
                job_id=job.id,
                model_id=plan.model,
                plan_id=plan.id,
                calibration_id=plan.provenance.calibration,
                label=label,
                size_bits=size.layer_bits,
                effective_bits=size.effective_bits,
                kl=loss,
                kl_error=error,
                perplexity=math.exp(NLL + loss),
                perplexity_error=0.1,
                reference_perplexity=math.exp(NLL),
                reference_perplexity_error=0.1,
                top1_agreement=0.9,
                top1_error=0.01,
                sequences=2,
            )
        )
    session.flush()
    return job.id
