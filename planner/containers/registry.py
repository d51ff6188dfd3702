"""The containers by target."""

from collections.abc import Mapping
from typing import Final

from planner.containers.gguf import GgufContainer
from planner.containers.port import AbstractContainer
from planner.containers.safetensors import SafetensorsContainer
from planner.containers.torchao_classes import class_bytes, stacked_name
from planner.exports.mlx import module_path
from planner.exports.transformers_names import engine_name
from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.packing import compressed_tensors_parts
from sensitivity.formats.packing_gptq import autoround_parts, gptqmodel_parts
from sensitivity.formats.packing_hqq import hqq_parts
from sensitivity.formats.packing_mlx import mlx_parts
from sensitivity.formats.packing_modelopt import modelopt_parts
from sensitivity.formats.packing_quanto import quanto_parts
from sensitivity.formats.packing_torchao import torchao_parts
from sensitivity.formats.stored import as_it_is


def _mlx_stack(layer: Layer) -> str | None:
    return None if layer.expert is None else module_path(layer)


FAKE: Final = SafetensorsContainer("fake", as_it_is)
"""Dense weights, all of one dtype."""
CONTAINERS: Final[Mapping[str, AbstractContainer]] = {
    container.target: container
    for container in (
        SafetensorsContainer("compressed-tensors", compressed_tensors_parts),
        SafetensorsContainer("autoround", autoround_parts, named=engine_name),
        SafetensorsContainer("gptqmodel", gptqmodel_parts, named=engine_name),
        SafetensorsContainer("hqq", hqq_parts, named=engine_name),
        SafetensorsContainer("quanto", quanto_parts, named=engine_name),
        SafetensorsContainer("modelopt", modelopt_parts),
        SafetensorsContainer("mlx", mlx_parts, stack=_mlx_stack, metadata="mlx"),
        SafetensorsContainer("torchao", torchao_parts, stack=stacked_name, stacks_all=False, class_bytes=class_bytes),
        GgufContainer(),
    )
}
"""By target; those of the other targets are written by their own tools."""


def container_of(runtime: RuntimeProfile) -> AbstractContainer | None:
    """The container of the checkpoints that are written for a runtime; ``None`` where none are."""
    return next((CONTAINERS[target] for target in runtime.exports if target in CONTAINERS), None)
