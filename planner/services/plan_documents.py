"""A solved plan as a document: sizes, prediction, proof, what explains each choice, alternatives."""

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.build import Classes
from planner.schemas.caveats import Correction, MenuLimit
from planner.schemas.choices import PoolPart
from planner.schemas.cross_terms import CrossTermsDocument
from planner.schemas.plans import AlternativePlan, PlanDocument, PlanRequest, Prediction, Reference
from planner.schemas.proofs import KeptCount, KeptLimit, Proof, SmallestDocument, StepDocument
from planner.schemas.sizes import Size
from planner.services.asking import Asked
from planner.services.cache_choices import kv_choices, kv_groups
from planner.services.caveats import confidence, correction
from planner.services.cross_terms import PlanCrossTerms
from planner.services.kept_limits import kept_limits, used
from planner.services.placed_uniforms import placed_uniform
from planner.services.planning_inputs import Inputs, Selected
from planner.services.posing import Posed, provenance_of, size_of, unit_of
from planner.services.uniform_plans import UniformPlan, best_uniform
from planner.solving import BITS_PER_MEGABYTE, Alternative, Row, Smallest, Solved, placed, rows_of
from planner.storage.tables import utc_now
from planner.telemetry import PlanReport, report_plan
from sensitivity.formats.abstract import AbstractFormat


@dataclass(frozen=True, slots=True)
class Found:
    """An answer.

    Attributes:
        solved: the plan.
        smallest: how far it is proven to be the smallest, where that was asked for.
        items: int64 (groups,): what it chose of the columns that the limits are over: a format, and a pool where there are any.
        places: int64 (groups,): which memory pool; ``None`` where there are none.
    """

    solved: Solved
    smallest: Smallest | None
    items: NDArray[np.int64]
    places: NDArray[np.int64] | None


def found_of(asked: Asked, solved: Solved, smallest: Smallest | None = None) -> Found:
    """The answer of a solve over the columns of the request, with its places apart where it has any."""
    if not asked.pools:
        return Found(solved, smallest, solved.proved.choice, None)
    sizes = asked.limits.classes.sizes
    apart = placed(solved, asked.curves, sizes, asked.rows, formats=len(asked.whole.classes.formats))
    return Found(apart.solved, smallest, apart.items, apart.pools)


@dataclass(frozen=True, slots=True)
class Answered:
    """A planning question and its answer.

    Attributes:
        asked: the request over its layer groups and caches.
        found: the answer.
        cross_terms: what the layers of the answer cost together, where it is known.
    """

    asked: Asked
    found: Found
    cross_terms: PlanCrossTerms | None

    @property
    def request(self) -> PlanRequest:
        """What was asked for."""
        return self.asked.request

    @property
    def solved(self) -> Solved:
        """The plan."""
        return self.found.solved

    @property
    def selected(self) -> Selected:
        """The layers."""
        return self.asked.prepared.selected

    @property
    def inputs(self) -> Inputs:
        """Their curves."""
        return self.asked.prepared.inputs

    @property
    def posed(self) -> Posed:
        """Groups of weights and their losses."""
        return self.asked.whole.posed

    @property
    def of_weights(self) -> NDArray[np.int64]:
        """What the plan gives the groups of weights."""
        return self.asked.whole.of_weights(self.solved.proved.choice)

    @property
    def rows(self) -> Sequence[Row]:
        """What is kept besides the stored bits."""
        return self.asked.rows


def plan_document(
    answered: Answered, alternatives: Sequence[Alternative], *, limit: MenuLimit | None = None, notes: Sequence[str] = ()
) -> PlanDocument:
    """The document, with a new id, without its choices; whoever watches this process hears of it."""
    request, selected, setting = answered.request, answered.selected, answered.inputs.setting
    whole, curves, solved = answered.asked.whole, answered.posed.curves, answered.solved
    prepared = answered.asked.prepared
    limits = kept_limits(answered.asked, solved, answered.found.smallest, answered.found.items)
    report_plan(PlanReport(solved.proved.solver, solved.proved.status.value, solved.proved.gap, solved.seconds))
    return PlanDocument(
        id=secrets.token_hex(12),
        created_at=utc_now(),
        model=selected.model.id,
        model_name=selected.model.name,
        runtime=request.runtime,
        formats=[fmt.name for fmt in answered.posed.classes.formats],
        budget=request.budget,
        size=size_under(answered, solved.proved.choice),
        predicted=Prediction(
            loss=solved.proved.loss,
            standard_error=solved.proved.standard_error,
            unit=unit_of(setting),
            probe=setting.probe,
            step=_step(answered),
            cross_terms=_cross_terms(answered),
        ),
        proof=_proof(answered),
        binding=binding(answered, limits),
        price_per_megabyte=bit_price(answered) * BITS_PER_MEGABYTE,
        references=[_uniform(answered)],
        choices=[],
        groups=[],
        ignored=[layer.name for layer in selected.ignored],
        notes=[*notes, *_note_on_alternatives(request, len(alternatives))],
        provenance=provenance_of(
            selected,
            setting,
            kv_setting=None if prepared.caches is None else prepared.caches.setting,
            device=used(answered.asked.device),
        ),
        request=request,
        alternatives=[_alternative(answered, other) for other in alternatives],
        corrected=_corrected(answered),
        menu_limit=limit,
        confidence=confidence(answered.posed.classes, curves, answered.of_weights, setting),
        limits=limits,
        kv=kv_choices(prepared.caches, whole, solved, context=request.budget.context, batch=request.budget.batch),
        kv_groups=kv_groups(whole, solved),
        kv_formats=[] if prepared.caches is None else list(prepared.caches.formats),
        placement=_placement(answered),
    )


def _placement(answered: Answered) -> list[PoolPart]:
    places, classes = answered.found.places, answered.asked.whole.classes
    if places is None:
        return []
    bits = classes.sizes[np.arange(len(places)), answered.solved.proved.choice]
    of_layer = places[classes.group_of_layer]
    return [
        PoolPart(
            pool=name,
            layers=[classes.layers[i].name for i in np.flatnonzero(of_layer == pool).tolist()],
            size_bits=int(bits[places == pool].sum()),
        )
        for pool, name in enumerate(answered.asked.pools)
    ]


def _corrected(answered: Answered) -> Correction | None:
    """The expected loss of the chosen cells; the caches' cells are not shrunk and stand in both sums as measured."""
    found = correction(answered.posed, answered.inputs.shrunk, answered.of_weights)
    whole, choice = answered.asked.whole, answered.solved.proved.choice
    if found is None or whole.caches is None:
        return found
    rows = np.arange(whole.weight_groups, len(choice))
    cells = rows, choice[rows]
    loss, error = float(whole.curves.loss[cells].sum()), float(np.linalg.norm(whole.curves.standard_error[cells]))
    added = {"loss": found.loss + loss, "uncorrected_loss": found.uncorrected_loss + loss}
    return found.model_copy(update=added | {"standard_error": math.hypot(found.standard_error, error)})


def _step(answered: Answered) -> StepDocument | None:
    step, classes = answered.inputs.step, answered.posed.classes
    if step is None:
        return None
    columns = answered.of_weights[classes.group_of_layer]
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


def _note_on_alternatives(request: PlanRequest, found: int) -> list[str]:
    if found == request.alternatives:
        return []
    return [f"{found} of {request.alternatives} alternatives: no more differ in as many layers, or the deadline came first"]


def size_under(answered: Answered, choice: NDArray[np.int64]) -> Size:
    """Exact sizes of an assignment, int64 (groups,), at the context and batch of the request."""
    whole = answered.asked.whole
    return _size(answered, whole.weight_bits(choice), whole.cache_bits(choice))


def _size(answered: Answered, weight_bits: int, cache_bits: int | None) -> Size:
    spec = answered.request.budget
    return size_of(
        weight_bits,
        answered.selected.footprint,
        context=spec.context,
        batch=spec.batch,
        workspace=spec.workspace_bytes,
        cache_bits=cache_bits,
    )


def bit_price(answered: Answered) -> float:
    """Loss that one more stored bit of weights would save: the prices of all limits that count it."""
    asked, solved = answered.asked, answered.solved
    prices = zip(asked.limits.others, solved.prices.tolist(), strict=False)
    return float(solved.price + sum(price for limit, price in prices if limit.budget.kind.counts_bits))


def binding(answered: Answered, limits: Sequence[KeptLimit]) -> str | None:
    """The limits with a price, if any; a single one unless the plan is the largest; where only counts have a price, these."""
    solved = answered.solved
    priced = [limit.name for limit in limits if limit.binds]
    if len(limits) > 1 or not answered.asked.is_plain:
        return ", ".join(priced) or ("counts" if solved.prices.any() else None)
    if solved.price == 0 and solved.prices.any():
        return "counts"
    return limits[0].kind if solved.size_bits < answered.posed.classes.largest_bits else None


def _proof(answered: Answered) -> Proof:
    solved, proved, caution = answered.solved, answered.solved.proved, answered.request.caution
    smallest = answered.found.smallest
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
        direction=_direction(answered.asked.whole.classes, solved),
        counts=_kept_counts(answered),
        smallest=None
        if smallest is None
        else SmallestDocument(bits=solved.size_bits, least_bits=smallest.least_bits, solves=smallest.solves),
    )


def _direction(classes: Classes[AbstractFormat], solved: Solved) -> dict[int, dict[str, float]]:
    direction = solved.proved.direction
    if direction is None:
        return {}
    found: dict[int, dict[str, float]] = {}
    for group, column in np.argwhere(direction).tolist():
        found.setdefault(group, {})[classes.formats[column].name] = float(direction[group, column])
    return found


def _kept_counts(answered: Answered) -> list[KeptCount]:
    prices = iter(answered.solved.prices[len(answered.asked.limits.rows) :].tolist())
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
        for posed in answered.asked.counts
    ]


def _alternative(answered: Answered, other: Alternative) -> AlternativePlan:
    whole, proved = answered.asked.whole, other.solved.proved
    size = size_under(answered, proved.choice)
    of_layer = whole.classes.group_of_layer
    return AlternativePlan(
        predicted_loss=proved.loss,
        standard_error=proved.standard_error,
        objective=proved.objective,
        effective_bits=size.effective_bits,
        file_bytes=size.file_bytes,
        layers=len(other.layers),
        changes={whole.classes.layers[i].name: whole.format_name(i, int(proved.choice[of_layer[i]])) for i in other.layers},
        status=proved.status.name.lower(),
        gap=proved.gap,
    )


def _uniform(answered: Answered) -> Reference:
    """One format for all weights, and where caches are planned one for all keys and one for all values, under every limit."""
    asked = answered.asked
    uniform = _placed_uniform(asked) if asked.pools else _best_uniform(answered)
    if uniform is None:
        return Reference(label="uniform", format=None, loss=None, size=None)
    return Reference(
        label=uniform.label,
        format=uniform.format,
        loss=uniform.loss,
        size=_size(answered, uniform.weight_bits, uniform.cache_bits),
        keeps_counts=bool(asked.pools) or _keeps_counts(asked, uniform),
        corrected_loss=None if answered.inputs.shrunk is None else uniform.expected_loss,
        kv_formats=uniform.kv_formats,
    )


def _placed_uniform(asked: Asked) -> UniformPlan | None:
    choice, whole = placed_uniform(asked), asked.whole
    return None if choice is None else UniformPlan.of(whole, tuple(int(choice[part[0]]) for part in whole.uniforms.parts))


def _keeps_counts(asked: Asked, uniform: UniformPlan) -> bool:
    choice = asked.whole.uniforms.choice(uniform.columns) if asked.counts else np.empty(0, dtype=np.int64)
    return all(row.taken(choice) <= row.limit for row in rows_of(asked.counts))


def _best_uniform(answered: Answered) -> UniformPlan | None:
    asked, whole, budget = answered.asked, answered.asked.whole, answered.request.budget
    bits = answered.solved.budget_bits if budget.max_loss is None else asked.limits.budget_bits
    return best_uniform(whole, bits, asked.limits.rows, most_loss=budget.max_loss, caution=answered.request.caution)
