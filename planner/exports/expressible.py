"""What an exporter checks of a plan before it writes: formats that the target has, unquantized layers as the model keeps them."""

from collections.abc import Callable

from planner.errors import ExportError
from planner.exports.target import ExportedModel
from planner.exports.ties import Assignment
from sensitivity.formats.candidate import CandidateFormat

Refusal = Callable[[CandidateFormat, tuple[int, int]], str | None]


def require_expressible(assignment: Assignment, model: ExportedModel, refusal: Refusal) -> None:
    """Check every planned layer.

    Args:
        assignment: format of each planned layer by name.
        model: the model that the plan is for.
        refusal: why the target cannot store a (out, in) matrix in a format, or ``None``.

    Raises:
        ExportError: names the layer and the rule, or says that nothing is quantized.
    """
    if not any(fmt.is_quantized for fmt in assignment.values()):
        msg = "the plan leaves every layer unquantized, so there is nothing to export: serve the original checkpoint"
        raise ExportError(msg, rule="nothing-quantized")
    for layer in model.layers:
        fmt = assignment.get(layer.name)
        if fmt is None:
            continue
        reason = refusal(fmt, layer.shape)
        if reason is None and not fmt.is_quantized and fmt.name != model.unquantized_format:
            reason = f"unquantized layers of a {model.dtype} model stay {model.unquantized_format}, not {fmt.name}"
        if reason is not None:
            msg = f"{layer.name} cannot be exported: {reason}. Pin the layer to another format, or export json"
            raise ExportError(msg, layers=[layer.name], rule="format")
