"""What two stored plans differ in, from their documents alone: curves may have been measured again since."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy.orm import Session

from planner.errors import InvalidRequestError
from planner.grouping import merged
from planner.schemas.base import Schema
from planner.schemas.choices import Choice
from planner.schemas.plan_diffs import ComparedPlan, FieldChange, GroupChange, KVChange, LayerChange, LimitChange, PlanDiff
from planner.schemas.plans import PlanDocument
from planner.services.planning_inputs import load_layers
from planner.services.plans import get_plan

_SAID_ELSEWHERE: Final = {"request.model", "request.runtime", "request.budget", "provenance.fingerprint"}
"""Fields that the two plans themselves say in ``ComparedPlan``."""


def diff_plans(session: Session, plan_id: str, other_id: str) -> PlanDiff:
    """From one stored plan to another.

    Losses are those that the plans were made with, added over the smallest parts that both plans know the loss of: single layers
    where neither ties any.

    Args:
        session: where to read.
        plan_id: the plan.
        other_id: the plan to compare it with: of the same model, or of one with the same layers in the same shapes.

    Raises:
        NotFoundError: no such plan.
        InvalidRequestError: plans of models with different layers.
    """
    plan, other = get_plan(session, plan_id), get_plan(session, other_id)
    if plan.model != other.model:
        _check_same_layers(session, plan, other)
    return diff_documents(plan, other)


def diff_documents(plan: PlanDocument, other: PlanDocument) -> PlanDiff:
    """From one plan to another one, of the same model or of one with the same layers; neither needs to be stored."""
    here, there = _choices(plan), _choices(other)
    both = [layer for layer in here if layer in there]
    different = [layer for layer in both if here[layer].format != there[layer].format]
    same, whole = _curves(plan) == _curves(other), here.keys() == there.keys()
    parts = _parts(here, there, plan, other)
    changed = sorted({parts[layer] for layer in different})
    places = {part: place for place, part in enumerate(changed)}
    return PlanDiff(
        plan=_compared(plan),
        other=_compared(other),
        same_curves=same,
        layers=len(both),
        changed=[_layer_change(here[layer], there[layer], places[parts[layer]]) for layer in different],
        groups=_group_changes((plan, other), parts, changed, same=same),
        kv_changed=_kv_changes(plan, other),
        limits=_limit_changes(plan, other),
        only_in_plan=[layer for layer in here if layer not in there],
        only_in_other=[layer for layer in there if layer not in here],
        bits_change=other.size.layer_bits - plan.size.layer_bits,
        file_bytes_change=other.size.file_bytes - plan.size.file_bytes,
        resident_bytes_change=other.size.resident_bytes - plan.size.resident_bytes,
        loss_change=other.predicted.loss - plan.predicted.loss if same and whole and _same_caches(plan, other) else None,
        facts=[*_facts("request", plan.request, other.request), *_facts("provenance", plan.provenance, other.provenance)],
        notes=_notes(plan, other, same=same, whole=whole),
    )


def _check_same_layers(session: Session, plan: PlanDocument, other: PlanDocument) -> None:
    shapes, others = ({layer.name: layer.shape for layer in load_layers(session, one.model)} for one in (plan, other))
    if shapes == others:
        return
    alike = sum(others.get(name) == shape for name, shape in shapes.items())
    msg = (
        f"plans of different models: {alike} of the {len(shapes)} layers of {plan.model_name!r} are in {other.model_name!r} "
        f"with the same name and shape. Compare plans of one model, or of a model and its fine-tune"
    )
    raise InvalidRequestError(msg, models=[plan.model, other.model])


def _choices(document: PlanDocument) -> dict[str, Choice]:
    return {choice.layer: choice for choice in document.choices}


def _curves(document: PlanDocument) -> tuple[object, ...]:
    """What the losses of two plans must have in common to be compared."""
    shrunk = document.corrected is not None and document.request.shrinkage
    step = None if document.predicted.step is None else document.predicted.step.errors
    return document.model, document.provenance.setting, shrunk, step


def _same_caches(plan: PlanDocument, other: PlanDocument) -> bool:
    """Losses of caches, where both plans have any, come from the same cells."""
    return len({one.provenance.kv_setting for one in (plan, other)} - {None}) < 2


def _parts(here: Mapping[str, Choice], there: Mapping[str, Choice], plan: PlanDocument, other: PlanDocument) -> dict[str, int]:
    """Layer → number of the smallest part that is a union of layer groups in both plans."""
    layers = list(dict.fromkeys([*here, *there]))
    places = {layer: place for place, layer in enumerate(layers)}
    groupings = [[[places[layer] for layer in group.layers] for group in document.groups] for document in (plan, other)]
    parts = merged(len(layers), groupings)
    return {layers[place]: number for number, members in enumerate(parts) for place in members}


def _group_changes(
    documents: tuple[PlanDocument, PlanDocument], parts: Mapping[str, int], changed: Sequence[int], *, same: bool
) -> list[GroupChange]:
    members: defaultdict[int, list[str]] = defaultdict(list)
    for layer, part in parts.items():
        members[part].append(layer)
    bits, losses, layers = ([defaultdict[int, Any](int) for _ in documents] for _ in range(3))
    for side, document in enumerate(documents):
        for group in document.groups:
            part = parts[group.layers[0]]
            bits[side][part] += group.size_bits
            losses[side][part] += group.predicted_loss
            layers[side][part] += len(group.layers)
    return [
        GroupChange(
            layers=members[part],
            bits_change=bits[1][part] - bits[0][part],
            predicted_loss=losses[0][part],
            other_loss=losses[1][part],
            loss_change=losses[1][part] - losses[0][part] if same and layers[0][part] == layers[1][part] else None,
        )
        for part in changed
    ]


def _layer_change(choice: Choice, other: Choice, group: int) -> LayerChange:
    return LayerChange(
        layer=choice.layer,
        kind=choice.kind,
        block=choice.block,
        group=group,
        format=choice.format,
        other_format=other.format,
        bits_change=other.size_bits - choice.size_bits,
    )


def _kv_changes(plan: PlanDocument, other: PlanDocument) -> list[KVChange]:
    there = {choice.layer: choice for choice in other.kv}
    both = [(choice, there[choice.layer]) for choice in plan.kv if choice.layer in there]
    return [
        KVChange(
            layer=one.layer,
            block=one.block,
            format=one.format,
            other_format=two.format,
            bits_change=two.size_bits - one.size_bits,
        )
        for one, two in both
        if one.format != two.format
    ]


def _limit_changes(plan: PlanDocument, other: PlanDocument) -> list[LimitChange]:
    here, there = ({limit.name: limit for limit in document.limits} for document in (plan, other))
    return [
        LimitChange(
            kind=kind,
            used=here[kind].used if kind in here else None,
            other_used=there[kind].used if kind in there else None,
            price=here[kind].price if kind in here else None,
            other_price=there[kind].price if kind in there else None,
        )
        for kind in dict.fromkeys([*here, *there])
    ]


def _compared(document: PlanDocument) -> ComparedPlan:
    return ComparedPlan(
        id=document.id,
        model=document.model,
        model_name=document.model_name,
        runtime=document.runtime,
        budget=document.budget,
        size=document.size,
        predicted=document.predicted,
    )


def _facts(name: str, value: Schema, other: Schema) -> list[FieldChange]:
    mine, others = value.model_dump(mode="json"), other.model_dump(mode="json")
    return [
        FieldChange(field=path, value=mine[field], other=others[field])
        for field in mine
        if mine[field] != others[field] and (path := f"{name}.{field}") not in _SAID_ELSEWHERE
    ]


def _notes(plan: PlanDocument, other: PlanDocument, *, same: bool, whole: bool) -> list[str]:
    notes = []
    if not same:
        curves = [
            f"{one.predicted.probe}, setting {one.provenance.setting[:12]}, losses {'expected' if shrunk else 'as measured'}"
            for one, (_, _, shrunk, _) in ((plan, _curves(plan)), (other, _curves(other)))
        ]
        of_models = "" if plan.model == other.model else f" of {plan.model_name!r} and {other.model_name!r}"
        notes.append(f"losses are not subtracted, they come from different curves{of_models}: {curves[0]}; {curves[1]}")
    if not _same_caches(plan, other):
        settings = [f"{(one.provenance.kv_setting or '')[:12]}" for one in (plan, other)]
        notes.append(f"losses are not subtracted in all, those of the caches come from settings {settings[0]} and {settings[1]}")
    if not whole:
        notes.append("losses are not subtracted in all, the plans leave different layers unquantized")
    return notes
