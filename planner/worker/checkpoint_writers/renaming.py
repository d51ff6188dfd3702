"""Tensors under the names of engines that load checkpoints on transformers 5."""

from collections.abc import Iterator

from planner.exports.transformers_names import engine_name
from sensitivity.writing import Stored


def renamed(tensors: Iterator[Stored]) -> Iterator[Stored]:
    """The same tensors under the engine's names."""
    return ((engine_name(name), tensor) for name, tensor in tensors)
