"""Where a stored plan can go: the targets of its own runtime, and what the other runtimes say of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from planner.errors import ExportError
from planner.exports.kv_cache import require_kept, with_caches
from planner.exports.registry import get_exporter
from planner.exports.target import ExportedModel, require_loadable
from planner.exports.ties import check_runtime_ties
from planner.runtimes import RUNTIMES, RuntimeProfile
from planner.schemas.choices import KVChoice
from planner.services.exporting import exported_model
from planner.services.plan_layers import plan_layers
from planner.services.plan_summaries import plan_summary
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import resolve_format


@dataclass(frozen=True, slots=True)
class TargetChoice:
    """An export target of the plan's runtime.

    Attributes:
        name: its name.
        description: what it writes, in a sentence.
        refusal: why it cannot express the plan; ``None`` where it can.
    """

    name: str
    description: str
    refusal: str | None


@dataclass(frozen=True, slots=True)
class RuntimeChoice:
    """Another runtime.

    Attributes:
        name: its name.
        description: what it accepts, in a sentence.
        targets: what it would load.
        refusal: why it cannot load the plan as it is; ``None`` where it could.
    """

    name: str
    description: str
    targets: tuple[str, ...]
    refusal: str | None


@dataclass(frozen=True, slots=True)
class ExportChoices:
    """Where a plan can go.

    Attributes:
        runtime: the plan's own.
        targets: its targets, the default one first.
        others: every other runtime, those that could load the plan first.
    """

    runtime: RuntimeProfile
    targets: list[TargetChoice]
    others: list[RuntimeChoice]


def export_choices(session: Session, plan_id: str) -> ExportChoices:
    """Targets and runtimes, each with the reason where it cannot take the plan.

    Of layers of one kind, shape and format one is asked for: an export of tens of thousands of layers takes minutes. What only
    shows in the whole plan is said by the export itself.

    Raises:
        NotFoundError: no such plan.
    """
    plan, planned = plan_summary(session, plan_id), plan_layers(session, plan_id)
    resolved = {name: resolve_format(name) for name in plan.formats}
    formats = {layer: resolved[name] for layer, name in zip(planned.names, planned.formats, strict=True)}
    model, own, caches = exported_model(session, plan.facts), RUNTIMES[plan.facts.runtime], plan.facts.kv
    alike = _alike(model, formats)
    others = [_other(runtime, formats, model, alike, caches) for runtime in RUNTIMES.values() if runtime.name != own.name]
    return ExportChoices(
        runtime=own,
        targets=[_target(name, formats, alike, own, caches) for name in own.exports],
        others=sorted(others, key=lambda one: one.refusal is not None),
    )


def _target(
    name: str,
    formats: Mapping[str, CandidateFormat],
    alike: ExportedModel,
    runtime: RuntimeProfile,
    caches: Sequence[KVChoice],
) -> TargetChoice:
    exporter, refusal = get_exporter(name), None
    try:
        document = exporter.export({layer.name: formats[layer.name] for layer in alike.layers}, alike, runtime)
        with_caches(document, caches, target=name, runtime=runtime)
    except ExportError as error:
        refusal = str(error)
    return TargetChoice(name, exporter.description, refusal)


def _other(
    runtime: RuntimeProfile,
    formats: Mapping[str, CandidateFormat],
    model: ExportedModel,
    alike: ExportedModel,
    caches: Sequence[KVChoice],
) -> RuntimeChoice:
    refusal = None
    try:
        require_loadable({layer.name: formats[layer.name] for layer in alike.layers}, alike, runtime)
        check_runtime_ties(formats, model.layers, runtime)
        require_kept(caches, runtime)
    except ExportError as error:
        refusal = str(error)
    return RuntimeChoice(runtime.name, runtime.description, runtime.exports, refusal)


def _alike(model: ExportedModel, formats: Mapping[str, CandidateFormat]) -> ExportedModel:
    """The model with one planned layer for each kind, shape and format: what a runtime says of one it says of all."""
    found: dict[tuple[str, tuple[int, int], str], Layer] = {}
    for layer in model.layers:
        if layer.name in formats:
            found.setdefault((layer.kind, layer.shape, formats[layer.name].name), layer)
    return replace(model, layers=tuple(found.values()))
