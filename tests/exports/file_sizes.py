"""Bytes of the files of weights: as plans promise them, and as they are on disk."""

from collections.abc import Mapping
from pathlib import Path

from planner.budget import DTYPE_BITS
from planner.containers import ContainedModel, container_of
from planner.runtimes import RuntimeProfile
from planner.runtimes.rest import Rest
from sensitivity.checkpoint.description import ModelDescription
from sensitivity.formats.candidate import CandidateFormat

WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "*.gguf")


def tensor_bytes(model: ModelDescription, plan: Mapping[str, CandidateFormat], runtime: RuntimeProfile) -> int:
    """Bytes of all tensors, as planning counts them; layers that are not in the plan stay as they are."""
    bits = sum(
        runtime.size_bits(plan[layer.name], layer.shape)
        if layer.name in plan
        else layer.parameters * DTYPE_BITS.get(model.dtype, 16)
        for layer in model.layers
    )
    rest = Rest(model.layers, model.parameters, model.unquantized_bytes, model.vocab_size, model.dtype)
    return -(-bits // 8) + runtime.rest_bytes(rest)


def promised_bytes(model: ModelDescription, plan: Mapping[str, CandidateFormat], runtime: RuntimeProfile) -> int:
    """Bytes of the files of weights, as a plan says them."""
    container = container_of(runtime)
    assert container is not None
    planned = [layer for layer in model.layers if layer.name in plan]
    left = [layer for layer in model.layers if layer.name not in plan]
    beside = container.bytes_beside(ContainedModel.of(model, model.rest or ()), planned, left, runtime)
    assert beside is not None
    return tensor_bytes(model, plan, runtime) + beside


def written_bytes(directory: Path) -> int:
    """Bytes of the files of weights on disk, their index included."""
    return sum(path.stat().st_size for pattern in WEIGHTS for path in directory.glob(pattern))
