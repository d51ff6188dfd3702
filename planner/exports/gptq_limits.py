"""What no GPTQ file can say of a plan, whichever engine reads it."""

from collections.abc import Mapping

from planner.errors import ExportError
from planner.exports.target import ExportedModel
from planner.exports.ties import Assignment
from sensitivity.formats.packing_gptq import gptq_refusal


def require_expressible(assignment: Assignment, model: ExportedModel, *, unloadable: Mapping[str, str]) -> None:
    """Check that the engine loads models of this kind and that the file can hold each layer's format.

    Args:
        assignment: format of each planned layer by name.
        model: the model that the plan is for.
        unloadable: architectures that the engine cannot load quantized, with the reason.

    Raises:
        ExportError: names the layer and the rule.
    """
    reason = unloadable.get(model.architecture)
    if reason is not None:
        msg = f"a quantized {model.architecture} cannot be loaded: {reason}. Plan it for another runtime, or export json"
        raise ExportError(msg, rule="architecture")
    if not any(fmt.is_quantized for fmt in assignment.values()):
        msg = "the plan leaves every layer unquantized, so there is nothing to export: serve the original checkpoint"
        raise ExportError(msg, rule="nothing-quantized")
    for layer in model.layers:
        fmt = assignment.get(layer.name)
        reason = None if fmt is None else gptq_refusal(fmt, layer.shape)
        if reason is None and fmt is not None and not fmt.is_quantized and fmt.name != model.unquantized_format:
            reason = f"unquantized layers of a {model.dtype} model stay {model.unquantized_format}, not {fmt.name}"
        if reason is not None:
            msg = f"{layer.name} cannot be exported: {reason}. Pin the layer to another format, or export json"
            raise ExportError(msg, layers=[layer.name], rule="format")
