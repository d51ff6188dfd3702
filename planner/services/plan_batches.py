"""Many planning questions at once: what they share is prepared once, and one that fails does not spoil the others."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from sqlalchemy.orm import Session

import solvers
from planner.errors import (
    TYPE_PREFIX,
    BatchLimitError,
    InvalidRequestError,
    NotFoundError,
    PlannerError,
    StorageError,
    problem_code,
    problem_title,
)
from planner.schemas.plan_batches import BatchItem, BatchProblem, PlanBatch, PlanBatchAnswer
from planner.schemas.plans import PlanDocument, PlanRequest, Question
from planner.services.plan_listing import summary_of
from planner.services.plans import answer, store_plan
from planner.services.preparing import Prepared, prepare
from sensitivity.errors import SensitivityError

MOST_LAYERS: Final = 200_000
"""Planned layers of a batch, added over its plans: they are all in memory until they are stored, at about 2 kB a layer."""

Outcome = PlanDocument | PlannerError | SensitivityError


def make_plans(session: Session, requests: Sequence[PlanRequest], *, deadline: float) -> list[Outcome]:
    """Solve and prove every request, without storing.

    Args:
        session: a reader.
        requests: the questions.
        deadline: wall seconds for all of them: a request that is not begun by then is not planned.

    Returns:
        For each request, in order, the plan or why there is none: what ``make_plan`` raises, or ``BatchLimitError``.

    Raises:
        StorageError: the database failed: no request of the batch is answered.
    """
    stop = solvers.Deadline.after(deadline)
    shared: defaultdict[str, list[int]] = defaultdict(list)
    for number, request in enumerate(requests):
        shared[request.model_dump_json(include=set(Question.model_fields))].append(number)
    outcomes: dict[int, Outcome] = {}
    layers = 0
    for numbers in shared.values():
        prepared = _prepared(session, requests[numbers[0]], stop)
        for number in numbers:
            outcome = outcomes[number] = _answered(session, prepared, requests[number], stop, room=MOST_LAYERS - layers)
            layers += len(outcome.choices) if isinstance(outcome, PlanDocument) else 0
    return [outcomes[number] for number in range(len(requests))]


def store_plans(session: Session, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Keep the plans of a batch, in one transaction; a plan that cannot be kept, for its model was deleted since, is an error."""
    return [_stored(session, outcome) for outcome in outcomes]


def batch_answer(batch: PlanBatch, outcomes: Sequence[Outcome]) -> PlanBatchAnswer:
    """What a batch is answered with, once its plans are stored."""
    items = [_item(batch, outcome) for outcome in outcomes]
    planned = sum(item.problem is None for item in items)
    return PlanBatchAnswer(items=items, planned=planned, failed=len(items) - planned)


def _item(batch: PlanBatch, outcome: Outcome) -> BatchItem:
    if not isinstance(outcome, PlanDocument):
        return BatchItem(problem=_problem(outcome))
    if batch.answers == "summaries":
        return BatchItem(summary=summary_of(outcome))
    return BatchItem(plan=outcome)


def _problem(error: PlannerError | SensitivityError) -> BatchProblem:
    fields = error.fields if isinstance(error, PlannerError) else {}
    said = {"type": TYPE_PREFIX + problem_code(type(error)), "title": problem_title(type(error)), "detail": str(error)}
    return BatchProblem.model_validate(fields | said)


def _prepared(session: Session, request: PlanRequest, stop: solvers.Deadline) -> Prepared | PlannerError | SensitivityError:
    try:
        _check_time(stop)
        return prepare(session, request)
    except StorageError:
        raise
    except (PlannerError, SensitivityError) as error:
        return error


def _answered(
    session: Session,
    prepared: Prepared | PlannerError | SensitivityError,
    request: PlanRequest,
    stop: solvers.Deadline,
    *,
    room: int,
) -> Outcome:
    if not isinstance(prepared, Prepared):
        return prepared
    try:
        _check_time(stop)
        _check_room(len(prepared.classes.layers), room)
        return answer(session, prepared, request, solvers.Deadline.after(request.deadline_seconds))
    except StorageError:
        raise
    except (PlannerError, SensitivityError) as error:
        return error


def _stored(session: Session, outcome: Outcome) -> Outcome:
    if not isinstance(outcome, PlanDocument):
        return outcome
    try:
        with session.begin_nested():
            store_plan(session, outcome)
    except (NotFoundError, InvalidRequestError) as error:
        return error
    return outcome


def _check_time(stop: solvers.Deadline) -> None:
    if stop.passed():
        msg = "the time of the batch was over before this request was begun: ask for it again, or raise deadline_seconds"
        raise BatchLimitError(msg)


def _check_room(layers: int, room: int) -> None:
    if layers > room:
        msg = f"a batch plans {MOST_LAYERS:,} layers at most, of which {room:,} are left: ask in several batches"
        raise BatchLimitError(msg, layers=layers, left=room)
