"""Plans: made in milliseconds from stored curves, stored whole, never changed."""

import secrets

from sqlalchemy import select
from sqlalchemy.orm import Session

import solvers
from planner.budget import Budget, Footprint
from planner.build import Classes, GroupCurves
from planner.errors import InvalidRequestError, NotFoundError
from planner.runtimes import get_runtime
from planner.schemas.plans import (
    Bounds,
    BoundsRequest,
    BudgetSpec,
    Choice,
    GroupChoice,
    NextFormat,
    PlanDocument,
    PlanRequest,
    PlanSummary,
    Prediction,
    Proof,
    Reference,
    Size,
)
from planner.services.planning_inputs import Inputs, Selected, find_model, load_inputs, select_layers
from planner.services.posing import Posed, legal_classes, pose, provenance_of, size_of, unit_of
from planner.solving import BITS_PER_MEGABYTE, Solved, check_ceiling, check_floor, solve_plan, uniform_column
from planner.storage.tables import PlanRow, utc_now
from sensitivity.formats.registry import get_format


def bounds(session: Session, model: str, request: BoundsRequest) -> Bounds:
    """Smallest and largest plan of a model for a runtime and formats, before any measuring."""
    selected = select_layers(session, model, request)
    classes = legal_classes(selected, request, [get_format(name).name for name in request.formats])
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


def make_plan(session: Session, request: PlanRequest) -> PlanDocument:
    """Solve and prove, without storing: needs a reader only, so plans that are made at once do not wait for each other.

    Raises:
        NotFoundError: no such model or probe setting.
        InvalidRequestError: rules that contradict each other or the model, cells that nobody measured.
        BudgetError: below the floor or above the ceiling, with the limits.
    """
    budget = request.budget.budget()
    selected = select_layers(session, request.model, request)
    inputs = load_inputs(session, selected, request)
    classes = legal_classes(selected, request, [fmt.name for fmt in inputs.curves.formats])
    check_floor(classes.smallest_bits, budget, selected.footprint)
    posed = pose(classes, inputs)
    check_floor(posed.classes.smallest_bits, budget, selected.footprint)
    if not request.allow_slack:
        check_ceiling(posed.classes.largest_bits, budget, selected.footprint)
    budget_bits = budget.layer_bits(selected.footprint)
    solved = solve_plan(posed.classes, posed.curves, budget_bits, solver=solvers.Mckp(), deadline=request.deadline_seconds)
    return _document(request, budget, selected, inputs, posed, solved)


def store_plan(session: Session, document: PlanDocument) -> None:
    """Keep a plan that was made.

    Raises:
        NotFoundError: the model was deleted since.
    """
    find_model(session, document.model)
    session.add(_row(document))


def get_plan(session: Session, plan_id: str) -> PlanDocument:
    """A stored plan.

    Raises:
        NotFoundError: no such plan.
    """
    row = session.get(PlanRow, plan_id)
    if row is None:
        msg = f"no plan {plan_id!r}: list plans with GET /v1/plans"
        raise NotFoundError(msg)
    return PlanDocument.model_validate(row.document)


def list_plans(
    session: Session, *, model: str | None = None, before: str | None = None, limit: int = 50
) -> tuple[list[PlanSummary], str | None]:
    """Stored plans, newest first, and the id to go on from (``before``), if there are more."""
    query = select(PlanRow).order_by(PlanRow.created_at.desc(), PlanRow.id.desc()).limit(limit + 1)
    if model is not None:
        query = query.where(PlanRow.model_id == model)
    if before is not None:
        last = session.get(PlanRow, before)
        if last is None:
            msg = f"no plan {before!r} to continue after; start again without a cursor"
            raise InvalidRequestError(msg)
        query = query.where(
            (PlanRow.created_at < last.created_at) | ((PlanRow.created_at == last.created_at) & (PlanRow.id < last.id))
        )
    rows = list(session.scalars(query))
    more = rows[limit - 1].id if len(rows) > limit else None
    return [_summary(row) for row in rows[:limit]], more


def _budget_size(bits: int, footprint: Footprint, spec: BudgetSpec) -> Size:
    return size_of(bits, footprint, context=spec.context, batch=spec.batch, workspace=spec.workspace_bytes)


def _document(
    request: PlanRequest,
    budget: Budget,
    selected: Selected,
    inputs: Inputs,
    posed: Posed,
    solved: Solved,
) -> PlanDocument:
    classes, curves, solution = posed.classes, posed.curves, solved.solution
    bits = int(solution.sizes[0]) if len(solution.sizes) else 0
    price = float(solution.multipliers[0]) if len(solution.multipliers) else 0.0
    setting = inputs.setting
    binds = bits < classes.largest_bits
    return PlanDocument(
        id=secrets.token_hex(12),
        created_at=utc_now(),
        model=selected.model.id,
        model_name=selected.model.name,
        runtime=request.runtime,
        formats=[fmt.name for fmt in classes.formats],
        budget=request.budget,
        size=_budget_size(bits, selected.footprint, request.budget),
        predicted=Prediction(
            loss=float(solution.loss),
            standard_error=solved.standard_error,
            unit=unit_of(setting),
            probe=setting.probe,
        ),
        proof=_proof(solved, price, bits),
        binding=budget.kind.value if binds else None,
        price_per_megabyte=price * BITS_PER_MEGABYTE,
        references=[_uniform(request.budget, selected.footprint, classes, curves, solved.budget_bits)],
        choices=_choices(classes, solved, get_runtime(request.runtime).size_bits),
        groups=_group_choices(classes, curves, solved),
        ignored=[layer.name for layer in selected.ignored],
        notes=list(curves.notes),
        provenance=provenance_of(selected, setting),
        request=request,
    )


def _proof(solved: Solved, price: float, bits: int) -> Proof:
    solution = solved.solution
    return Proof(
        status=solution.status.name.lower(),
        advice=solution.status.advice,
        lower_bound=float(solution.lower_bound),
        gap=float(solution.gap),
        multiplier=price,
        lagrangian_bound=float(solution.stats.lagrangian_bound),
        budget_layer_bits=solved.budget_bits,
        slack_bits=solved.budget_bits - bits,
        solver="mckp",
        solve_seconds=solved.seconds,
    )


def _uniform(spec: BudgetSpec, footprint: Footprint, classes: Classes, curves: GroupCurves, budget_bits: int) -> Reference:
    column = uniform_column(classes, curves, budget_bits)
    if column is None:
        return Reference(label="uniform", format=None, loss=None, size=None)
    return Reference(
        label=f"uniform {classes.formats[column].name}",
        format=classes.formats[column].name,
        loss=float(curves.loss[:, column].sum()),
        size=_budget_size(int(classes.sizes[:, column].sum()), footprint, spec),
    )


def _choices(classes: Classes, solved: Solved, size_bits: object) -> list[Choice]:
    assert callable(size_bits)  # noqa: S101
    of_layer = classes.group_of_layer
    found = []
    for index, layer in enumerate(classes.layers):
        group = int(of_layer[index])
        fmt = classes.formats[int(solved.solution.choice[group])]
        found.append(
            Choice(
                layer=layer.name,
                kind=layer.kind,
                block=layer.block,
                group=group,
                format=fmt.name,
                size_bits=size_bits(fmt, layer.shape),
            )
        )
    return found


def _group_choices(classes: Classes, curves: GroupCurves, solved: Solved) -> list[GroupChoice]:
    found = []
    for group, members in enumerate(classes.groups):
        column = int(solved.solution.choice[group])
        up = int(solved.next_up[group])
        found.append(
            GroupChoice(
                layers=[classes.layers[i].name for i in members],
                format=classes.formats[column].name,
                size_bits=int(classes.sizes[group, column]),
                predicted_loss=float(curves.loss[group, column]),
                standard_error=float(curves.standard_error[group, column]),
                next_up=None if up < 0 else _next_format(classes, curves, group=group, column=column, up=up),
                fragile=bool(solved.fragile[group]),
            )
        )
    return found


def _next_format(classes: Classes, curves: GroupCurves, *, group: int, column: int, up: int) -> NextFormat:
    return NextFormat(
        format=classes.formats[up].name,
        more_bits=int(classes.sizes[group, up] - classes.sizes[group, column]),
        loss_change=float(curves.loss[group, up] - curves.loss[group, column]),
    )


def _row(document: PlanDocument) -> PlanRow:
    budget = document.budget.budget()
    return PlanRow(
        id=document.id,
        model_id=document.model,
        setting_id=document.provenance.setting,
        runtime=document.runtime,
        solver=document.proof.solver,
        status=document.proof.status,
        budget_kind=budget.kind.value,
        budget_value=budget.value,
        size_bits=document.size.layer_bits,
        file_bytes=document.size.file_bytes,
        effective_bits=document.size.effective_bits,
        predicted_loss=document.predicted.loss,
        gap=document.proof.gap,
        document=document.model_dump(mode="json"),
        created_at=document.created_at,
    )


def _summary(row: PlanRow) -> PlanSummary:
    return PlanSummary(
        id=row.id,
        model=row.model_id,
        runtime=row.runtime,
        probe=row.document["predicted"]["probe"],
        budget=BudgetSpec.model_validate(row.document["budget"]),
        status=row.status,
        effective_bits=row.effective_bits,
        file_bytes=row.file_bytes,
        predicted_loss=row.predicted_loss,
        gap=row.gap,
        created_at=row.created_at,
    )
