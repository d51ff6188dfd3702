"""Plans: made in milliseconds from stored curves. ``planner.services.plan_store`` keeps them."""

from sqlalchemy.orm import Session

import solvers
from planner.errors import CountConflictError
from planner.schemas.plans import BoundsRequest, PlanDocument, PlanRequest
from planner.schemas.sizes import Bounds
from planner.services.asking import Asked, ask
from planner.services.cross_terms import plan_cross_terms
from planner.services.menu_limits import menu_limit
from planner.services.plan_documents import Answered, Found, found_of, plan_document
from planner.services.plan_notes import plan_notes
from planner.services.plan_sheets import Chosen
from planner.services.plan_store import get_plan, no_plan, plan_json, store_plan
from planner.services.planning_inputs import select_layers
from planner.services.posing import legal_classes, size_of
from planner.services.preparing import Moment, Prepared, prepare
from planner.solving import Alternative, Solved, next_best, refuse_conflict, rows_of, smallest_plan, solve_plan
from sensitivity.formats.registry import resolve_format

__all__ = ["answer", "bounds", "create_plan", "get_plan", "make_plan", "no_plan", "plan_json", "solve_asked", "store_plan"]

USUAL_SHARE = 10  # alternatives differ in one layer of so many, unless the request says otherwise


def bounds(session: Session, model: str, request: BoundsRequest) -> Bounds:
    """Smallest and largest plan of a model for a runtime and formats, before any measuring."""
    selected = select_layers(session, model, request)
    classes = legal_classes(selected, request, [resolve_format(name).name for name in request.formats])
    sizes = [
        size_of(bits, selected.footprint, context=request.context, batch=request.batch)
        for bits in (classes.smallest_bits, classes.largest_bits)
    ]
    return Bounds(
        model=selected.model.id,
        runtime=request.runtime,
        formats=[fmt.name for fmt in classes.formats],
        layers=len(classes.layers),
        groups=len(classes.groups),
        smallest=sizes[0],
        largest=sizes[1],
    )


def create_plan(session: Session, request: PlanRequest) -> PlanDocument:
    """Plan now: solve, prove, store, in one write transaction; raises what ``make_plan`` raises."""
    document = make_plan(session, request)
    store_plan(session, document)
    return document


def make_plan(session: Session, request: PlanRequest, moment: Moment | None = None) -> PlanDocument:
    """Solve and prove, without storing: needs a reader only, so plans that are made at once do not wait for each other.

    Args:
        session: where curves are read.
        request: what is asked for.
        moment: as of which measurements count, after the request had come; by default now.

    Raises:
        NotFoundError: no such model, probe setting or device.
        InvalidRequestError: rules that contradict each other or the model, cells that nobody measured.
        CountConflictError: counts that no plan keeps together, whatever the budget.
        BudgetError: below the floor (that of the counts too) or above the ceiling, with the limits; limits that exclude each
            other; a loss that no plan keeps.
    """
    stop = solvers.Deadline.after(request.deadline_seconds)
    return answer(session, prepare(session, request, moment), request, stop)


def answer(session: Session, prepared: Prepared, request: PlanRequest, stop: solvers.Deadline) -> PlanDocument:
    """The plan of one request; ``prepared`` may serve many of them. Arguments and errors are those of ``answer_facts``."""
    facts, chosen = answer_facts(session, prepared, request, stop)
    return facts.model_copy(update=prepared.choices.of(chosen))  # they are valid, and stay what they are


def answer_facts(
    session: Session, prepared: Prepared, request: PlanRequest, stop: solvers.Deadline
) -> tuple[PlanDocument, Chosen]:
    """Solve and prove for the limits, the counts and the caution of one request; ``prepared`` may serve many of them.

    Args:
        session: where cross terms and devices are read.
        prepared: what ``prepare`` gave for a question with the same fields of ``Question``.
        request: what is asked for.
        stop: after it nothing is searched for beside the plan.

    Returns:
        The plan without its choices, and what it chose of ``prepared.choices``.

    Raises:
        InvalidRequestError: counts that contradict the model, cells that nobody measured.
        CountConflictError: counts that no plan keeps together, whatever the budget.
        BudgetError: below the floor (that of the counts too) or above the ceiling, with the limits; limits that exclude each
            other; a loss that no plan keeps.
    """
    asked = ask(session, prepared, request)
    found = solve_asked(asked, stop)
    solved, posed, inputs = found.solved, asked.whole.posed, prepared.inputs
    together = limit = None
    if inputs.products is not None:
        choice = asked.whole.of_weights(solved.proved.choice)
        together = plan_cross_terms(session, prepared.selected.model.id, inputs.products, posed.classes, choice)
    if inputs.step is None and asked.is_plain:  # changes say nothing of far formats
        limit = menu_limit(request, prepared.outside, solved, stop)
    answered = Answered(asked, found, together)
    facts = plan_document(answered, _alternatives(answered, stop), limit=limit, notes=plan_notes(answered))
    return facts, Chosen.of(solved, len(posed.classes.groups))


def _alternatives(answered: Answered, stop: solvers.Deadline) -> list[Alternative]:
    asked, request = answered.asked, answered.request
    if request.alternatives == 0:
        return []
    layers = len(asked.whole.classes.layers)
    return next_best(
        asked.whole.classes,
        asked.whole.curves,
        answered.solved,
        count=request.alternatives,
        layers=request.alternative_layers or max(1, layers // USUAL_SHARE),
        rows=answered.rows,
        caution=request.caution,
        stop=stop,
    )


def solve_asked(asked: Asked, stop: solvers.Deadline) -> Found:
    """The answer, from memory if the question was answered with a proven plan before."""
    request, items, curves, limits, rows = asked.request, asked.limits.classes, asked.curves, asked.limits, asked.rows

    def solve_at(bits: int, left: float | None = None) -> Solved:
        seconds = request.deadline_seconds if left is None else left
        posed = None if asked.pools or rows else asked.whole.stored_bits
        return solve_plan(items, curves, bits, deadline=seconds, rows=rows, caution=request.caution, posed=posed)

    def solve() -> Found:
        try:
            if request.budget.max_loss is None:
                return found_of(asked, solve_at(limits.budget_bits))
            smallest = smallest_plan(items, curves, request.budget.max_loss, limits.budget_bits, solve_at, stop)
            return found_of(asked, smallest.solved, smallest)
        except CountConflictError:
            footprint = asked.prepared.selected.footprint
            refuse_conflict(limits, rows_of(asked.counts), footprint, deadline=request.deadline_seconds)

    return asked.prepared.solutions.recall(asked.key, solve, size=_kept_bytes)


def _kept_bytes(found: Found) -> int | None:
    """Only what is proven is kept: more time would find nothing better."""
    proven = found.solved.proved.status is solvers.Status.OPTIMAL and (found.smallest is None or found.smallest.is_proven)
    return found.solved.bytes if proven else None
