"""Checkpoints of dense weights, which have no budget: they are as large as the model."""

from dataclasses import replace

from planner.containers.port import ContainedModel
from planner.containers.registry import FAKE
from planner.runtimes import get_runtime
from planner.runtimes.registry import FIRST
from planner.runtimes.rest import BYTES_OF_DTYPE
from sensitivity.checkpoint.description import ModelDescription


def dense_file_bytes(description: ModelDescription, dtype: str) -> int | None:
    """Bytes of the files of weights when every parameter has one dtype; ``None`` where the parameters are not known."""
    if description.rest is None:
        return None
    model = replace(ContainedModel.of(description, description.rest), dtype=dtype)
    data = description.parameters * BYTES_OF_DTYPE.get(dtype, 2)
    return data + FAKE.bytes_beside(model, (), description.layers, get_runtime(FIRST))
