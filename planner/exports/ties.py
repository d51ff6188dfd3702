"""Rule R1: layers that the engine fuses into one kernel must carry the identical format."""

from collections.abc import Iterable, Mapping, Sequence

from planner.errors import ExportError
from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat

Assignment = Mapping[str, CandidateFormat]


def check_ties(assignment: Assignment, groups: Iterable[Sequence[str]]) -> None:
    """Check that the layers of each group have one format, or are all left out.

    Engines fail late or silently otherwise: vLLM takes the first shard's scheme for q/k/v and stops at the others' shapes.

    Args:
        assignment: format of each planned layer by name.
        groups: names of the layers of each layer group, as the runtime ties them.

    Raises:
        ExportError: a group with two formats, or only partly planned; names its layers.
    """
    for group in groups:
        formats = {name: _stored_as(assignment, name) for name in group}
        if len(set(formats.values())) > 1:
            found = ", ".join(f"{name}: {fmt}" for name, fmt in formats.items())
            msg = f"the engine fuses these layers, so they must share one format (rule R1), but the plan says {found}"
            raise ExportError(msg, layers=list(formats), rule="R1")


def check_runtime_ties(assignment: Assignment, layers: Sequence[Layer], runtime: RuntimeProfile) -> None:
    """``check_ties`` for the layer groups of a runtime.

    Raises:
        ExportError: as ``check_ties``.
    """
    check_ties(assignment, ([layers[i].name for i in group] for group in runtime.groups(layers)))


def _stored_as(assignment: Assignment, name: str) -> str:
    fmt = assignment.get(name)
    return fmt.name if fmt is not None and fmt.is_quantized else "unquantized"
