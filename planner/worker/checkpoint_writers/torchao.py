"""Checkpoints of torchao, as transformers writes and loads them: flattened tensor classes, described in the files' headers."""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from planner.containers.torchao_classes import stacked_name, tensor_classes
from planner.worker.checkpoint_writers.port import AbstractCheckpointWriter, PlannedCheckpoint
from planner.worker.checkpoint_writers.stacking import Place, StackedExperts
from sensitivity.checkpoint.description import Layer
from sensitivity.rounding.packing_torchao import torchao
from sensitivity.writing import Container, write_checkpoint

WEIGHT = "_weight"


class TorchaoWriter(AbstractCheckpointWriter):
    """``_weight_qdata``, ``_weight_scale`` and ``_weight_zero_point`` of each quantized layer; quantized experts stacked."""

    target: ClassVar[str] = "torchao"

    def write(self, planned: PlannedCheckpoint, directory: Path) -> Path:
        """Safetensors with ``quantization_config`` that ``from_pretrained`` reads."""
        chosen = planned.assignment
        layers = [layer for layer in planned.description.layers if layer.name in chosen and chosen[layer.name].is_quantized]
        return write_checkpoint(
            planned.state,
            chosen,
            directory,
            config={**planned.config, **planned.exported},
            container=Container(
                pack=torchao,
                arrange=stacked_experts(layers).arranged,
                header=tensor_classes(layers, chosen, planned.state, dtype=planned.description.dtype),
            ),
            companions=planned.companions,
            rounding=planned.rounding,
            files=planned.files,
        )


def stacked_experts(layers: Iterable[Layer]) -> StackedExperts:
    """Quantized experts as transformers stacks them: the gate above up, and down."""
    places = {}
    for layer in layers:
        stack = stacked_name(layer)
        if stack is not None and layer.expert is not None:
            places[layer.name] = Place(stack, layer.expert, part=int(layer.kind in ("up_proj", "w3")))
    return StackedExperts(places, stored_as=lambda stack, part: stack + part.removeprefix(WEIGHT))


WRITER = TorchaoWriter()
