"""From a planning question to its knapsack: what plans and frontiers have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.budget import Footprint, unquantized_kv_bytes
from planner.build import Classes, GroupCurves, build_classes, group_curves
from planner.errors import InvalidRequestError
from planner.grouping import MEASURED_TOGETHER, Tying, merged, ranked, tied
from planner.runtimes import get_runtime
from planner.schemas.plans import BoundsRequest, CountSpec, Provenance, Question
from planner.schemas.proofs import DeviceUsed
from planner.schemas.sizes import Size
from planner.services.planning_inputs import Inputs, Selected
from planner.solving import Count, PosedCount, pose_count
from planner.storage.tables import ProbeSettingRow
from planner.versions import BITPLAN_VERSION
from sensitivity.formats.registry import resolve_format


@dataclass(frozen=True, slots=True)
class Posed:
    """A planning question with everything but its budget and its counts.

    Attributes:
        classes: layer groups with exact sizes; legal where the runtime, the rules and the curves allow it.
        curves: losses of the groups to plan with, one of the next two.
        measured: losses as measured.
        expected: losses freed of the luck of their measurement; ``measured`` where nothing was shrunk.
    """

    classes: Classes
    curves: GroupCurves
    measured: GroupCurves
    expected: GroupCurves


def legal_classes(
    selected: Selected, request: Question | BoundsRequest, formats: list[str], inputs: Inputs | None = None
) -> Classes:
    """Layer groups and what each may take by runtime and rules; needs no measurement unless experts are grouped by theirs.

    Raises:
        InvalidRequestError: experts in groups by their sensitivity, without curves.
        PinConflictError: a group that is left without a format.
    """
    groups = _groups(selected, request, inputs)
    candidates = [resolve_format(name) for name in formats]
    return build_classes(selected.layers, candidates, get_runtime(request.runtime), selected.rules, groups=groups)


def _groups(selected: Selected, request: Question | BoundsRequest, inputs: Inputs | None) -> list[tuple[int, ...]]:
    """What the runtime ties, what the request ties, and what was only measured together."""
    layers = selected.layers
    groupings = [get_runtime(request.runtime).groups(layers)]
    if isinstance(request.experts, int):
        if inputs is None:
            msg = "experts in groups by their sensitivity need curves: ask with experts=block or experts=projection"
            raise InvalidRequestError(msg)
        groupings.append(ranked(layers, inputs.curves.loss, request.experts))
    elif request.experts != "free":
        groupings.append(tied(layers, Tying(request.experts)))
    together = None if inputs is None else inputs.setting.parameters.get(MEASURED_TOGETHER)
    if together is not None:
        groupings.append(tied(layers, Tying(together)))
    return groupings[0] if len(groupings) == 1 else merged(len(layers), groupings)


def pose(classes: Classes, inputs: Inputs) -> Posed:
    """Put the curves beside the legal classes; a format that could not be measured is not offered.

    Raises:
        UnmeasuredError: legal cells that nobody measured.
        PinConflictError: a group whose every legal format failed to be measured.
    """
    measured = group_curves(classes, inputs.measured)
    expected = measured if inputs.expected is None else group_curves(classes, inputs.expected)
    curves = expected if inputs.shrinkage else measured
    offered = classes.legal & np.isfinite(curves.loss)
    return Posed(Classes(classes.layers, classes.formats, classes.groups, classes.sizes, offered), curves, measured, expected)


def pose_counts(counts: Sequence[CountSpec], classes: Classes) -> list[PosedCount]:
    """The counts of a request over the layer groups.

    Raises:
        InvalidRequestError: a pattern that matches nothing, or a format that is no candidate.
        UnknownFormatError: no such format.
    """
    return [
        pose_count(
            Count(
                pattern=spec.pattern,
                above_bits=spec.above_bits,
                formats=tuple(resolve_format(name).name for name in spec.formats or ()),
                at_most=spec.at_most,
                at_least=spec.at_least,
            ),
            classes,
        )
        for spec in counts
    ]


def size_of(
    bits: int, footprint: Footprint, *, context: int = 0, batch: int = 1, workspace: int = 0, cache_bits: int | None = None
) -> Size:
    """Exact sizes of an assignment whose planned layers take so many bits, and planned caches ``cache_bits``."""
    kv_bits = cache_bits
    if kv_bits is None:
        kv_bits = 8 * unquantized_kv_bytes(footprint.kv_elements_per_token, context=context, batch=batch)
    return Size(
        layer_bits=bits,
        effective_bits=bits / footprint.parameters if footprint.parameters else 0.0,
        tensor_bytes=footprint.fixed_bytes + -(-bits // 8),
        container_bytes=footprint.container_bytes,
        file_bytes=footprint.fixed_file_bytes + -(-bits // 8),
        kv_bytes=-(-kv_bits // 8),
        resident_bytes=footprint.fixed_bytes + -(-(bits + kv_bits) // 8) + workspace,
    )


def unit_of(setting: ProbeSettingRow) -> str:
    """Unit of a setting's losses."""
    return "nats/token" if setting.in_nats else "relative"


def provenance_of(
    selected: Selected, setting: ProbeSettingRow, *, kv_setting: str | None = None, device: DeviceUsed | None = None
) -> Provenance:
    """What an answer from these curves stands on."""
    return Provenance(
        fingerprint=selected.model.id,
        setting=setting.id,
        probe=setting.probe,
        probe_version=setting.code_version,
        probe_parameters=setting.parameters,
        rounding=setting.rounding,
        calibration=setting.calibration_id,
        bitplan=BITPLAN_VERSION,
        kv_setting=kv_setting,
        device=device,
    )
