"""A solved plan as a document: sizes, prediction, proof, what explains each choice, alternatives."""

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.build import Classes
from planner.curves import Curves
from planner.schemas.caveats import MenuLimit
from planner.schemas.cross_terms import CrossTermsDocument
from planner.schemas.plans import (
    AlternativePlan,
    KeptCount,
    PlanDocument,
    PlanRequest,
    Prediction,
    Proof,
    Reference,
    Size,
    StepDocument,
)
from planner.services.caveats import confidence, correction
from planner.services.cross_terms import PlanCrossTerms
from planner.services.planning_inputs import Inputs, Selected
from planner.services.posing import Posed, provenance_of, size_of, unit_of
from planner.services.preparing import Prepared
from planner.solving import BITS_PER_MEGABYTE, Alternative, PosedCount, Solved, rows_of, uniform_column
from planner.storage.tables import utc_now
from planner.telemetry import PlanReport, report_plan
from sensitivity.statistics import CellStatus


@dataclass(frozen=True, slots=True)
class Answered:
    """A planning question and its answer.

    Attributes:
        request: what was asked for.
        prepared: what it shares with the requests of other budgets.
        counts: the counts of the request over the layer groups.
        solved: the answer.
        cross_terms: what the layers of the answer cost together, where it is known.
    """

    request: PlanRequest
    prepared: Prepared
    counts: Sequence[PosedCount]
    solved: Solved
    cross_terms: PlanCrossTerms | None

    @property
    def selected(self) -> Selected:
        """The layers."""
        return self.prepared.selected

    @property
    def inputs(self) -> Inputs:
        """Their curves."""
        return self.prepared.inputs

    @property
    def posed(self) -> Posed:
        """Layer groups and their losses."""
        return self.prepared.posed


def plan_document(
    answered: Answered, alternatives: Sequence[Alternative], *, limit: MenuLimit | None = None, notes: Sequence[str] = ()
) -> PlanDocument:
    """The document, with a new id; whoever watches this process hears of it."""
    request, selected, setting = answered.request, answered.selected, answered.inputs.setting
    classes, curves, solved = answered.posed.classes, answered.posed.curves, answered.solved
    report_plan(PlanReport(solved.proved.solver, solved.proved.status.value, solved.proved.gap, solved.seconds))
    return PlanDocument(
        id=secrets.token_hex(12),
        created_at=utc_now(),
        model=selected.model.id,
        model_name=selected.model.name,
        runtime=request.runtime,
        formats=[fmt.name for fmt in classes.formats],
        budget=request.budget,
        size=_size(answered, solved.size_bits),
        predicted=Prediction(
            loss=solved.proved.loss,
            standard_error=solved.proved.standard_error,
            unit=unit_of(setting),
            probe=setting.probe,
            step=_step(answered),
            cross_terms=_cross_terms(answered),
        ),
        proof=_proof(answered),
        binding=_binding(answered),
        price_per_megabyte=solved.price * BITS_PER_MEGABYTE,
        references=[_uniform(answered)],
        choices=answered.prepared.choices.of_layers(solved),
        groups=answered.prepared.choices.of_groups(solved),
        ignored=[layer.name for layer in selected.ignored],
        notes=[*curves.notes, *notes, *_note_on_alternatives(request, len(alternatives))],
        provenance=provenance_of(selected, setting),
        request=request,
        alternatives=[_alternative(answered, other) for other in alternatives],
        corrected=correction(answered.posed, answered.inputs.shrunk, solved.proved.choice),
        menu_limit=limit,
        confidence=confidence(classes, curves, solved.proved.choice, setting),
    )


def _step(answered: Answered) -> StepDocument | None:
    step, classes = answered.inputs.step, answered.posed.classes
    if step is None:
        return None
    columns = answered.solved.proved.choice[classes.group_of_layer]
    chosen = {layer.name: classes.formats[int(k)].name for layer, k in zip(classes.layers, columns, strict=True)}
    layers, change = step.taken(chosen)
    error = step.point.standard_error
    return StepDocument(
        layers=layers,
        change=change,
        from_loss=step.point.loss,
        from_error=error if math.isfinite(error) else None,
        errors=step.errors,
    )


def _cross_terms(answered: Answered) -> CrossTermsDocument | None:
    """Beside the sum of the curves. Its error is that of the whole where both are of the same samples (shrunken cells: less)."""
    found, proved = answered.cross_terms, answered.solved.proved
    if found is None:
        return None
    terms, apart = found.terms, math.hypot(proved.standard_error, found.terms.standard_error)
    total_error = terms.total_error if found.setting == answered.inputs.setting.id else apart
    return CrossTermsDocument(
        loss=terms.loss,
        standard_error=terms.standard_error if math.isfinite(terms.standard_error) else None,
        total=proved.loss + terms.loss,
        total_error=total_error if math.isfinite(total_error) else None,
        setting=found.setting,
        layers=found.layers,
    )


def notes_on_errors(curves: Curves, caution: float) -> list[str]:
    """What a cautious plan should know of the standard errors; nothing without caution."""
    measured = curves.status == CellStatus.MEASURED
    unknown = int((measured & ~np.isfinite(curves.standard_error)).sum())
    if caution == 0 or unknown == 0:
        return []
    whole = "all of them: caution changes nothing" if unknown == int(measured.sum()) else "caution takes them as sure"
    return [f"{unknown} cells have no standard error; {whole}"]


def _note_on_alternatives(request: PlanRequest, found: int) -> list[str]:
    if found == request.alternatives:
        return []
    return [f"{found} of {request.alternatives} alternatives: no more differ in as many layers, or the deadline came first"]


def _size(answered: Answered, bits: int) -> Size:
    spec = answered.request.budget
    return size_of(bits, answered.selected.footprint, context=spec.context, batch=spec.batch, workspace=spec.workspace_bytes)


def _binding(answered: Answered) -> str | None:
    """The budget unless the plan is the largest; where the budget has no price and a count has one, the counts."""
    solved = answered.solved
    if solved.price == 0 and solved.prices.any():
        return "counts"
    kind = answered.request.budget.budget().kind.value
    return kind if solved.size_bits < answered.posed.classes.largest_bits else None


def _proof(answered: Answered) -> Proof:
    solved, proved, caution = answered.solved, answered.solved.proved, answered.request.caution
    return Proof(
        status=proved.status.name.lower(),
        advice=proved.advice,
        lower_bound=proved.lower_bound,
        gap=proved.gap,
        multiplier=solved.price,
        lagrangian_bound=proved.lagrangian_bound,
        budget_layer_bits=solved.budget_bits,
        slack_bits=solved.budget_bits - solved.size_bits,
        solver=proved.solver,
        solve_seconds=solved.seconds,
        caution=caution,
        objective=proved.objective if caution else None,
        direction=_direction(answered.posed.classes, solved),
        counts=_kept_counts(answered),
    )


def _direction(classes: Classes, solved: Solved) -> dict[int, dict[str, float]]:
    direction = solved.proved.direction
    if direction is None:
        return {}
    found: dict[int, dict[str, float]] = {}
    for group, column in np.argwhere(direction).tolist():
        found.setdefault(group, {})[classes.formats[column].name] = float(direction[group, column])
    return found


def _kept_counts(answered: Answered) -> list[KeptCount]:
    prices = iter(answered.solved.prices.tolist())
    choice = answered.solved.proved.choice
    return [
        KeptCount(
            what=posed.count.what,
            layers=int(posed.table[np.arange(len(choice)), choice].sum()),
            at_most=posed.count.at_most,
            at_least=posed.count.at_least,
            at_most_multiplier=next(prices) if posed.upper is not None else 0.0,
            at_least_multiplier=next(prices) if posed.lower is not None else 0.0,
        )
        for posed in answered.counts
    ]


def _alternative(answered: Answered, other: Alternative) -> AlternativePlan:
    classes, proved = answered.posed.classes, other.solved.proved
    size = _size(answered, other.solved.size_bits)
    of_layer = classes.group_of_layer
    return AlternativePlan(
        predicted_loss=proved.loss,
        standard_error=proved.standard_error,
        objective=proved.objective,
        effective_bits=size.effective_bits,
        file_bytes=size.file_bytes,
        layers=len(other.layers),
        changes={classes.layers[i].name: classes.formats[int(proved.choice[of_layer[i]])].name for i in other.layers},
        status=proved.status.name.lower(),
        gap=proved.gap,
    )


def _uniform(answered: Answered) -> Reference:
    classes, curves = answered.posed.classes, answered.posed.curves
    column = uniform_column(classes, curves, answered.solved.budget_bits)
    if column is None:
        return Reference(label="uniform", format=None, loss=None, size=None)
    return Reference(
        label=f"uniform {classes.formats[column].name}",
        format=classes.formats[column].name,
        loss=float(curves.loss[:, column].sum()),
        size=_size(answered, int(classes.sizes[:, column].sum())),
        keeps_counts=all(int(row.table[:, column].sum()) <= row.limit for row in rows_of(answered.counts)),
        corrected_loss=None if answered.inputs.shrunk is None else float(answered.posed.expected.loss[:, column].sum()),
    )
