"""Architectures and modules that an engine cannot load quantized, whatever the formats."""

from collections.abc import Mapping
from typing import Final

from planner.errors import ExportError
from planner.exports.target import ExportedModel
from planner.exports.ties import Assignment

CONV1D: Final = frozenset({"gpt2", "openai-gpt"})
"""Architectures that transformers keeps in transposed ``Conv1D`` modules, which most engines do not quantize."""


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


def require_linear_modules(model: ExportedModel, engine: str) -> None:
    """Check that the layers are linear modules, which alone the engine quantizes.

    Raises:
        ExportError: they are transposed ``Conv1D`` modules.
    """
    if model.architecture in CONV1D:
        msg = f"{model.architecture} keeps its layers in Conv1D modules, which {engine} does not quantize; export json"
        raise ExportError(msg, rule="linear-modules")


def require_dense(assignment: Assignment, model: ExportedModel, engine: str) -> None:
    """Check that no expert is quantized: transformers stacks them, so that none is a linear module.

    Raises:
        ExportError: names the experts.
    """
    experts = [
        layer.name
        for layer in model.layers
        if layer.expert is not None and layer.name in assignment and assignment[layer.name].is_quantized
    ]
    if experts:
        msg = f"{experts[0]} cannot be exported: transformers stacks experts, and {engine} quantizes linear modules alone"
        raise ExportError(msg, layers=experts[:20], rule="linear-modules")
