"""What planning reads from the store: the model's layers, the probe setting, and its curves."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from planner.budget import DTYPE_BITS, Footprint
from planner.curves import Curves
from planner.errors import InvalidRequestError, NotFoundError, UnmeasuredError
from planner.rules import NO_RULES, Rules
from planner.runtimes import get_runtime
from planner.runtimes.rest import Rest
from planner.schemas.plans import Question, Selection
from planner.services.cache_rules import model_caches, split_rules
from planner.services.collector import collector_paused
from planner.services.cross_terms import find_products
from planner.services.expected_curves import expected_curves
from planner.services.file_sizes import container_bytes
from planner.solving.caches import CacheLayer
from planner.solving.shrinkage import Shrunk
from planner.solving.steps import Step
from planner.storage.cells import count_cells, layer_ids, load_curves, measured_formats
from planner.storage.database import Database
from planner.storage.operating_points import AROUND, load_point
from planner.storage.tables import LayerRow, MeasuredFormatRow, ModelRow, ProbeSettingRow
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import resolve_format
from sensitivity.probe_facts import all_probe_facts, get_facts, is_ranking
from sensitivity.rounding_facts import get_rounding_facts

LINKED = "calibrated_"
"""What the name of a linked probe begins with; the name of the probe that was linked to exact cells follows."""

TRUST_ORDER = (
    "kl",
    "calibrated_fisher",
    "fisher_interaction",
    "fisher",
    "calibrated_coverage",
    "coverage",
    "calibrated_linearity",
    "linearity",
    "calibrated_hessian_trace",
    "hessian_trace",
    "calibrated_output_error",
    "calibrated_weight_error",
    "output_error",
    "weight_error",
)

_LAYER_BYTES: Final = 200
"""About what a layer takes of memory beside its name."""


@dataclass(frozen=True, slots=True)
class Selected:
    """The layers of one planning question.

    Attributes:
        model: the registered model.
        layers: planned layers, in model order.
        ignored: layers left unquantized.
        footprint: what is beside the planned layers.
        rules: pins, floors, ceilings and menus with canonical format names.
        caches: K and V caches, if they are planned; else none.
        cache_rules: the rules of the caches, in formats without the tensor.
    """

    model: ModelRow
    layers: tuple[Layer, ...]
    ignored: tuple[Layer, ...]
    footprint: Footprint
    rules: Rules
    caches: tuple[CacheLayer, ...] = ()
    cache_rules: Rules = NO_RULES


@dataclass(frozen=True, slots=True)
class Inputs:
    """Curves of the planned layers and the setting that they were measured with.

    Attributes:
        setting: how they were measured.
        measured: cells of the formats of the request, as measured.
        step: where changes were measured from, if the curves are made of changes.
        expected: the same cells freed of the luck of their measurement; ``None`` where nothing is shrunk.
        shrunk: how they came about; likewise.
        others: expected curves of the formats of the setting that the request leaves out.
        shrinkage: plan with expected losses where there are any.
        products: id of the setting whose score products say what layers cost together, if one does.
    """

    setting: ProbeSettingRow
    measured: Curves
    step: Step | None = None
    expected: Curves | None = None
    shrunk: Shrunk | None = None
    others: Curves | None = None
    shrinkage: bool = True
    products: str | None = None

    @property
    def curves(self) -> Curves:
        """What to plan with."""
        return self.measured if self.expected is None or not self.shrinkage else self.expected


def trust(probe: str) -> int:
    """Place of a probe in the order of trust: 0 is the most trusted, and one that the order does not name is the last."""
    return TRUST_ORDER.index(probe) if probe in TRUST_ORDER else len(TRUST_ORDER)


def prices_weights(probe: str) -> bool:
    """Whether weights can be planned with the numbers of a probe: rankings and prices of caches are none of theirs."""
    return probe not in {facts.name for facts in all_probe_facts() if not facts.prices_weights}


def refuse_other_numbers(probe: str) -> None:
    """Check that the numbers of a probe are losses of weights.

    Raises:
        InvalidRequestError: they are not; the message lists the probes whose numbers are.
    """
    if not prices_weights(probe):
        what = "ranks layers" if is_ranking(probe) else "prices formats of the K and V caches"
        if get_facts(probe).around_plan:
            what = "measures changes from a plan, for the next one (bitplan refine)"
        others = ", ".join(facts.name for facts in all_probe_facts() if facts.prices_weights)
        msg = f"the probe {probe} {what}, it measures no losses of weights: use those of another one ({others})"
        raise InvalidRequestError(msg, probe=probe)


def find_model(session: Session, key: str) -> ModelRow:
    """A model by id, or by name (the newest of that name).

    Raises:
        NotFoundError: neither exists.
    """
    row = session.get(ModelRow, key)
    if row is None:
        row = session.scalar(select(ModelRow).where(ModelRow.name == key).order_by(ModelRow.created_at.desc()).limit(1))
    if row is None:
        raise no_model(key)
    return row


def no_model(key: str) -> NotFoundError:
    """What is said of an id or name that no model has."""
    return NotFoundError(f"no model {key!r}: register it first (bitplan models add PATH, or POST /v1/models)", model=key)


def load_layers(session: Session, model_id: str) -> tuple[Layer, ...]:
    """The layers of a model, in model order; they are what its id says, so they are read once."""
    found: tuple[Layer, ...] = Database.of(session).memory.recall(
        ("layers", model_id),
        lambda: _read_layers(session, model_id),
        size=lambda made: _LAYER_BYTES * len(made) or None,
        waiting=True,
    )
    return found


def _read_layers(session: Session, model_id: str) -> tuple[Layer, ...]:
    """As the driver has them: without an object of SQLAlchemy's for each. Names are those of ``layer_ids``, kept once."""
    columns = (
        LayerRow.kind,
        LayerRow.block,
        LayerRow.expert,
        LayerRow.out_features,
        LayerRow.in_features,
        LayerRow.active_fraction,
    )
    query = select(*columns).where(LayerRow.model_id == model_id).order_by(LayerRow.position)
    rows: Any = session.connection().execute(query).cursor
    with collector_paused:
        return tuple(Layer(name, *row) for name, row in zip(layer_ids(session, model_id), rows, strict=True))


def select_layers(session: Session, model: str, request: Selection) -> Selected:
    """Split a model's layers into planned and ignored ones.

    Raises:
        NotFoundError: no such model.
        InvalidRequestError: unknown runtime.
    """
    row = find_model(session, model)
    runtime = get_runtime(request.runtime)
    layers = load_layers(session, row.id)
    if request.ignore is None:
        ignored = [layer.kind in runtime.ignore_kinds for layer in layers]
    else:
        ignored = [any(fnmatchcase(layer.name, pattern) for pattern in request.ignore) for layer in layers]
    planned = tuple(layer for layer, out in zip(layers, ignored, strict=True) if not out)
    left = tuple(layer for layer, out in zip(layers, ignored, strict=True) if out)
    left_bytes = sum(layer.parameters for layer in left) * DTYPE_BITS.get(row.dtype, 16) // 8
    footprint = Footprint(
        parameters=sum(layer.parameters for layer in planned),
        fixed_bytes=runtime.rest_bytes(rest_of(row, layers)) + left_bytes,
        kv_elements_per_token=row.kv_elements_per_token,
        container_bytes=container_bytes(session, row, request, runtime, planned=planned, left=left),
    )
    caches = model_caches(row, layers) if isinstance(request, Question) and request.kv_formats is not None else ()
    rules, cache_rules = split_rules(request, planned, caches)
    return Selected(row, planned, left, footprint, rules, caches, cache_rules)


def rest_of(row: ModelRow, layers: Sequence[Layer]) -> Rest:
    """What a runtime needs to know of a model to say what it keeps beside the layers."""
    return Rest(layers, row.parameters, row.unquantized_bytes, row.vocab_size, row.dtype)


@dataclass(frozen=True, slots=True)
class _ModelCurves:
    """All cells of a model in one setting: what every question about them takes its part of.

    Attributes:
        measured: as measured.
        expected: freed of the luck of their measurement; ``measured`` where nothing is shrunk.
        shrunk: how they came about; ``None`` likewise.
    """

    measured: Curves
    expected: Curves
    shrunk: Shrunk | None

    @property
    def bytes(self) -> int:
        """Memory of the arrays; both curves share the status, and all if nothing is shrunk."""
        return self.measured.bytes + self.expected.bytes - self.measured.status_bytes


def load_inputs(session: Session, selected: Selected, request: Question, version: Hashable) -> Inputs:
    """The curves to plan with.

    Args:
        session: where to read.
        selected: the layers.
        request: which curves.
        version: of the model's measurements, read before.

    Raises:
        NotFoundError: a setting that this model was not measured in.
        InvalidRequestError: a probe, or a setting of one, that measures no losses of weights.
        UnmeasuredError: nothing was measured for this model (and probe and rounding method).
        FormatError: no such rounding method.
    """
    measured = measured_formats(session, selected.model.id)
    setting = _find_setting(session, selected.model, measured, request, planned=len(selected.layers))
    seen = {row.format for row in measured if row.setting_id == setting.id}
    known = sorted(map(resolve_format, seen), key=lambda fmt: (fmt.num_bits, fmt.name))
    asked = known if request.formats is None else list(dict.fromkeys(resolve_format(name) for name in request.formats))
    formats = [*asked, *(fmt for fmt in known if fmt not in asked)]
    point = load_point(session, selected.model.id, setting.id)
    if point is not None:
        changes = load_curves(session, selected.model.id, setting.id, asked, [layer.name for layer in selected.layers])
        step = Step(point, changes, request.step_errors)
        return Inputs(setting, step.guarded(), step)
    curves = Database.of(session).memory.recall(
        ("curves", selected.model.id, setting.id, *(fmt.name for fmt in formats)),
        lambda: _model_curves(session, selected.model, setting, formats),
        size=lambda made: made.bytes,
        version=version,
    )
    places = {name: place for place, name in enumerate(curves.measured.layers)}
    rows, first, others = [places[layer.name] for layer in selected.layers], range(len(asked)), range(len(asked), len(formats))
    return Inputs(
        setting,
        curves.measured.part(rows, first),
        expected=None if curves.shrunk is None else curves.expected.part(rows, first),
        shrunk=curves.shrunk,
        others=curves.expected.part(rows, others),
        shrinkage=request.shrinkage,
        products=find_products(session, selected.model.id, setting),
    )


def _model_curves(
    session: Session, model: ModelRow, setting: ProbeSettingRow, formats: Sequence[CandidateFormat]
) -> _ModelCurves:
    measured = load_curves(session, model.id, setting.id, formats).with_exact_formats(model.dtype).packed()
    expected, shrunk = expected_curves(setting.probe, measured)
    for curves in (measured, expected):
        curves.freeze()
    return _ModelCurves(measured, expected, shrunk)


def _find_setting(
    session: Session, model: ModelRow, measured: Sequence[MeasuredFormatRow], request: Question, *, planned: int
) -> ProbeSettingRow:
    """The setting asked for; else the freshest of the most trusted probe, of one rounding method if it is named.

    Settings in which only some of the planned layers were measured (a few exact cells beside the curves) stand back. Changes
    from a plan are taken only if their setting is asked for.
    """
    if request.probe is not None:
        refuse_other_numbers(request.probe)
    rounding = None if request.rounding is None else get_rounding_facts(request.rounding).name
    newest = {row.setting_id: row.measured_at for row in sorted(measured, key=lambda row: row.measured_at)}
    if request.setting is not None and request.setting not in newest:
        msg = (
            f"model {model.name!r} has no cells of probe setting {request.setting!r}: see bitplan curves list "
            f"{model.name}, or GET /v1/models/{model.id}/settings"
        )
        raise NotFoundError(msg, setting=request.setting)
    wanted = [request.setting] if request.setting is not None else list(newest)
    found = list(session.scalars(select(ProbeSettingRow).where(ProbeSettingRow.id.in_(wanted))))
    if request.setting is not None and AROUND not in found[0].parameters:
        refuse_other_numbers(found[0].probe)
    rows = [row for row in found if prices_weights(row.probe) or request.setting is not None]
    fitting = [row for row in rows if request.probe in (None, row.probe) and rounding in (None, row.rounding)]
    if not fitting:
        raise _unmeasured(model, rows, request)
    fitting.sort(key=lambda row: newest[row.id], reverse=True)
    fitting.sort(key=lambda row: trust(row.probe))
    if len(fitting) == 1:
        return fitting[0]
    formats = {row.id: [column.id for column in measured if column.setting_id == row.id] for row in fitting}
    whole = (row for row in fitting if any(count_cells(session, number) >= planned for number in formats[row.id]))
    return next(whole, fitting[0])


def _unmeasured(model: ModelRow, rows: Sequence[ProbeSettingRow], request: Question) -> UnmeasuredError:
    asked = [f"probe {request.probe!r}"] if request.probe is not None else []
    asked += [f"rounding {request.rounding!r}"] if request.rounding is not None else []
    what = f"with {' and '.join(asked)}" if asked else "yet"
    pairs = sorted({(row.probe, row.rounding) for row in rows})
    there = f" (measured: {', '.join(f'{probe} with {rounding}' for probe, rounding in pairs)})" if pairs else ""
    msg = f"model {model.name!r} has no curves {what}{there}: run a sensitivity job first (bitplan measure, or POST /v1/jobs)"
    return UnmeasuredError(msg, model=model.id, measured=[{"probe": probe, "rounding": rounding} for probe, rounding in pairs])
