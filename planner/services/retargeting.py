"""A stored plan's question asked again for another runtime: the same curves, budget and rules; no weights are touched."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy.orm import Session

from planner.errors import BudgetAboveCeilingError, InvalidRequestError
from planner.runtimes import RuntimeProfile, get_runtime
from planner.schemas.plans import CountSpec, PlanDocument, PlanRequest
from planner.schemas.retargeting import DroppedFormat, Retargeted, RetargetRequest
from planner.services.change_causes import Changes, totals
from planner.services.plan_diffs import diff_documents
from planner.services.plan_questions import asked_again, measured_since
from planner.services.planning_inputs import select_layers
from planner.services.plans import get_plan, make_plan
from planner.storage.cells import measured_formats
from sensitivity.checkpoint.description import Layer
from sensitivity.errors import UnknownFormatError
from sensitivity.formats.kv_cache import without_tensor
from sensitivity.formats.registry import resolve_format

SAID: Final = 12
"""Formats that a message names."""


def retarget_plan(session: Session, plan_id: str, request: RetargetRequest) -> Retargeted:
    """The same question for another runtime, solved and compared, without storing the plan: reading and milliseconds.

    Formats that the runtime takes for no planned layer are dropped from the candidates, the menus and the counts.

    Args:
        session: a reader.
        plan_id: of a stored plan.
        request: the runtime, and what is asked for otherwise than in the plan.

    Raises:
        NotFoundError: no such plan, or its model or curves are gone.
        InvalidRequestError: an unknown runtime; one that takes none of the formats, or not what the rules of the plan ask for.
        BudgetError, CountConflictError, FormatError: as when a plan is made.
    """
    document, runtime = get_plan(session, plan_id), get_runtime(request.runtime)
    asked = document.request.model_copy(update={"runtime": runtime.name})
    layers = select_layers(session, document.model, asked).layers
    wanted = [resolve_format(name).name for name in request.formats or document.formats]
    dropped = _dropped(wanted, layers, runtime)
    if len(dropped) == len(set(wanted)):
        raise _nothing_left(session, document, layers, runtime, dropped)
    question, notes = _question(document, request, wanted, dropped)
    made = _planned(session, question, request, notes)
    origin = f"retargeted from plan {document.id} for {document.runtime}"
    plan = made.model_copy(update={"notes": [*made.notes, origin]})
    diff = diff_documents(document, plan)
    changes = Changes(document, plan, diff, {layer.name: layer for layer in layers}, get_runtime(document.runtime), runtime)
    reasons = changes.reasons()
    return Retargeted(
        plan=plan,
        diff=diff,
        dropped=list(dropped.values()),
        reasons=reasons,
        causes=totals(reasons),
        repacked_bits=changes.repacked_bits(),
        gap_change=plan.proof.gap - document.proof.gap,
        notes=[*notes, *_stale(session, document), *diff.notes],
    )


def _planned(session: Session, question: PlanRequest, request: RetargetRequest, notes: list[str]) -> PlanDocument:
    """The plan; a budget that was not given anew is no slip of the unit where the runtime has no larger plan."""
    try:
        return make_plan(session, question)
    except BudgetAboveCeilingError:
        if request.budget is not None or request.allow_slack is not None:
            raise
    notes.append(f"the plan's budget is above the largest plan of runtime {request.runtime!r}, which this is")
    return make_plan(session, question.model_copy(update={"allow_slack": True}))


def _dropped(formats: Sequence[str], layers: Sequence[Layer], runtime: RuntimeProfile) -> dict[str, DroppedFormat]:
    """Formats that no layer may take, by name; one layer of each kind and shape is asked for."""
    alike = list({(layer.kind, layer.shape): layer for layer in reversed(layers)}.values())[::-1]
    found = {}
    for name in dict.fromkeys(formats):
        candidate = resolve_format(name)
        reasons = [runtime.refusal(candidate, layer) for layer in alike]
        first = reasons[0] if reasons else None
        if first is not None and all(reason is not None for reason in reasons):
            found[name] = DroppedFormat(format=name, reason=first)
    return found


def _nothing_left(
    session: Session,
    document: PlanDocument,
    layers: Sequence[Layer],
    runtime: RuntimeProfile,
    dropped: Mapping[str, DroppedFormat],
) -> InvalidRequestError:
    measured = {
        row.format for row in measured_formats(session, document.model) if row.setting_id == document.provenance.setting
    } - dropped.keys()
    taken = sorted(measured - _dropped(sorted(measured), layers, runtime).keys())
    first = next(iter(dropped.values()))
    do = f"ask with formats {', '.join(taken[:SAID])}, which these curves have" if taken else "measure formats that it takes"
    msg = (
        f"runtime {runtime.name!r} takes none of the formats {', '.join(list(dropped)[:SAID])} of plan {document.id} "
        f"({first.format}: {first.reason}): {do}"
    )
    return InvalidRequestError(msg, plan=document.id, dropped=list(dropped), formats=taken)


def _question(
    document: PlanDocument, request: RetargetRequest, wanted: Sequence[str], dropped: Mapping[str, DroppedFormat]
) -> tuple[PlanRequest, list[str]]:
    """The plan's request with another runtime and without the formats that it refuses; what that changed, in words."""
    asked = document.request
    notes = [f"dropped {one.format}: {one.reason}" for one in dropped.values()]
    notes += _refused_caches(document, get_runtime(request.runtime))
    _check_pins(asked, dropped, request.runtime)
    counts = _counts(asked.counts, dropped, notes)
    changes: dict[str, Any] = {
        "runtime": request.runtime,
        "formats": [name for name in dict.fromkeys(wanted) if name not in dropped],
        "menus": _menus(asked, dropped, request.runtime),
        "counts": [count.model_dump() for count in counts],
    }
    if request.budget is not None:
        changes["budget"] = request.budget.model_dump()
    if request.allow_slack is not None:
        changes["allow_slack"] = request.allow_slack
    return PlanRequest.model_validate(asked.model_dump() | asked_again(document) | changes), notes


def _check_pins(asked: PlanRequest, dropped: Mapping[str, DroppedFormat], runtime: str) -> None:
    for pattern, name in asked.pins.items():
        refused = dropped.get(_canonical(name))
        if refused is not None:
            msg = (
                f"the plan pins {pattern} to {name}, which runtime {runtime!r} refuses ({refused.reason}): "
                f"plan anew with another pin"
            )
            raise InvalidRequestError(msg, pattern=pattern, format=name)


def _canonical(name: str) -> str:
    """The name of a format of weights as plans have it; those of caches, whose rules are in the same maps, stay as they are."""
    try:
        return resolve_format(name).name
    except UnknownFormatError:
        return name


def _menus(asked: PlanRequest, dropped: Mapping[str, DroppedFormat], runtime: str) -> dict[str, list[str]]:
    kept = {pattern: [name for name in names if _canonical(name) not in dropped] for pattern, names in asked.menus.items()}
    empty = [pattern for pattern, names in kept.items() if not names and asked.menus[pattern]]
    if empty:
        msg = (
            f"runtime {runtime!r} refuses every format of the plan's menu of {empty[0]} ({', '.join(asked.menus[empty[0]])}): "
            f"plan anew with another menu"
        )
        raise InvalidRequestError(msg, pattern=empty[0])
    return kept


def _refused_caches(document: PlanDocument, runtime: RuntimeProfile) -> list[str]:
    """What the plan keeps its caches in and the runtime does not."""
    formats = dict.fromkeys(choice.format for choice in document.kv)
    reasons = ((name, runtime.kv.refusal(without_tensor(name), runtime.name)) for name in formats)
    return [f"caches leave {name}: {reason}" for name, reason in reasons if reason is not None]


def _counts(counts: Sequence[CountSpec], dropped: Mapping[str, DroppedFormat], notes: list[str]) -> list[CountSpec]:
    """Counts of the formats that are left; one that counted dropped formats alone asks for nothing, or for what cannot be."""
    kept = []
    for count in counts:
        names = [name for name in count.formats or () if _canonical(name) not in dropped]
        if count.formats is None or len(names) == len(count.formats):
            kept.append(count)
        elif names:
            kept.append(count.model_copy(update={"formats": names}))
        elif count.at_least:
            msg = (
                f"the plan asks for at least {count.at_least} layers of {count.pattern} in {', '.join(count.formats)}, "
                f"which the runtime refuses: plan anew without this count"
            )
            raise InvalidRequestError(msg, pattern=count.pattern)
        else:
            notes.append(f"the count of {count.pattern} in {', '.join(count.formats)} holds nothing any more")
    return kept


def _stale(session: Session, document: PlanDocument) -> list[str]:
    """Losses of the old plan are those that it was made with."""
    newer = measured_since(session, document)
    return [] if newer is None else [f"cells of {newer} were measured since the old plan was made: its losses are those of then"]
