"""Architectures that an engine cannot load quantized, whatever the plan."""

from collections.abc import Mapping

from planner.errors import ExportError
from planner.exports.target import ExportedModel


def require_architecture(model: ExportedModel, unloadable: Mapping[str, str]) -> None:
    """Check that the engine loads models of this kind.

    Args:
        model: the model that the plan is for.
        unloadable: architectures (``model_type``) that the engine cannot load quantized, with the reason.

    Raises:
        ExportError: the model's is one of them.
    """
    reason = unloadable.get(model.architecture)
    if reason is not None:
        msg = f"a quantized {model.architecture} cannot be loaded: {reason}. Plan it for another runtime, or export json"
        raise ExportError(msg, rule="architecture")
