"""What models of a family are compared by: the unquantized model's loss on one held-out text, from stored evaluations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from planner.errors import InvalidRequestError
from planner.schemas.families import FamilyMeasured
from planner.services.calibrations import find_calibration
from planner.storage.tables import EvaluationRow, ModelRow

SHOWN = 8
"""Evaluations that a document lists for each model."""


@dataclass(frozen=True, slots=True)
class Yardstick:
    """The reference of one model on a text.

    Attributes:
        nll: mean negative log-likelihood, nats per token.
        error: its standard error over sequences; ``None`` where one sequence cannot tell.
        job: the evaluation job that measured it.
        measured: assignments that were measured on the same text, newest first.
    """

    nll: float
    error: float | None
    job: str
    measured: list[FamilyMeasured]


def yardsticks(session: Session, models: Sequence[ModelRow], text: str | None) -> tuple[str, list[Yardstick]]:
    """The references of all models on one text.

    Args:
        session: a reader.
        models: to compare.
        text: calibration set, by id or name; by default the one that was evaluated last of those that all have in common.

    Returns:
        Id of the calibration set, and the yardstick of each model.

    Raises:
        NotFoundError: no such calibration set.
        InvalidRequestError: a model that was not evaluated on it; the message says what to run.
    """
    rows = {model.id: _evaluations(session, model.id) for model in models}
    chosen = _common(models, rows) if text is None else find_calibration(session, text).id
    found = []
    for model in models:
        there = [row for row in rows[model.id] if row.calibration_id == chosen]
        if not there:
            raise _unevaluated(models, rows, chosen)
        found.append(_yardstick(there))
    return chosen, found


def _evaluations(session: Session, model_id: str) -> list[EvaluationRow]:
    query = (
        select(EvaluationRow)
        .where(EvaluationRow.model_id == model_id)
        .order_by(EvaluationRow.created_at.desc(), EvaluationRow.id.desc())
    )
    return list(session.scalars(query))


def _common(models: Sequence[ModelRow], rows: dict[str, list[EvaluationRow]]) -> str:
    common = set.intersection(*({row.calibration_id for row in rows[model.id]} for model in models))
    newest = [row for row in rows[models[0].id] if row.calibration_id in common]
    if not newest:
        raise _unevaluated(models, rows, None)
    return newest[0].calibration_id


def _unevaluated(models: Sequence[ModelRow], rows: dict[str, list[EvaluationRow]], text: str | None) -> InvalidRequestError:
    texts = {model.name: sorted({row.calibration_id for row in rows[model.id]}) for model in models}
    missing = [name for name, there in texts.items() if (text not in there if text is not None else not there)]
    if missing or text is not None:
        what = f"{', '.join(missing)} {'was' if len(missing) == 1 else 'were'} not evaluated"
        what += "" if text is None else f" on calibration set {text}"
    else:
        what = "the models were evaluated on different texts"
    known = "; ".join(f"{name}: {', '.join(one[:12] for one in there) or 'none'}" for name, there in texts.items())
    msg = (
        f"{what}, so there is no yardstick (evaluated on: {known}). Evaluate a plan of each model on one text: "
        f"bitplan evaluate PLAN --calibration {text or 'TEXT'}"
    )
    return InvalidRequestError(msg, models=missing, evaluated=texts)


def _yardstick(rows: Sequence[EvaluationRow]) -> Yardstick:
    newest = rows[0]
    error = newest.reference_perplexity_error
    return Yardstick(
        nll=math.log(newest.reference_perplexity),
        error=None if error is None else error / newest.reference_perplexity,
        job=newest.job_id,
        measured=[_measured(row) for row in rows[:SHOWN]],
    )


def _measured(row: EvaluationRow) -> FamilyMeasured:
    nll = math.log(row.perplexity)
    return FamilyMeasured(
        label=row.label,
        plan=row.plan_id,
        effective_bits=row.effective_bits,
        kl=row.kl,
        nll=nll,
        nll_increase=nll - math.log(row.reference_perplexity),
    )
