"""Checkpoints of mlx-lm: our codes in MLX's packing, the experts of a projection stacked to one tensor."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from planner.exports.mlx import module_path
from planner.worker.checkpoint_writers.mlx_configuration import mlx_configuration
from planner.worker.checkpoint_writers.port import AbstractCheckpointWriter, PlannedCheckpoint
from sensitivity.checkpoint.description import Layer
from sensitivity.errors import CheckpointError
from sensitivity.rounding.packing_mlx import mlx
from sensitivity.writing import Container, Stored, write_checkpoint


class MlxWriter(AbstractCheckpointWriter):
    """``weight``, ``scales`` and ``biases`` of each quantized module, with the export in ``config.json``."""

    target: ClassVar[str] = "mlx"

    def write(self, planned: PlannedCheckpoint, directory: Path) -> Path:
        """Safetensors with ``quantization`` that ``mlx_lm.load`` reads."""
        experts = StackedExperts(planned.description.layers)
        return write_checkpoint(
            planned.state,
            planned.assignment,
            directory,
            config={**mlx_configuration(planned.config), **planned.exported},
            container=Container(pack=mlx, arrange=experts.stacked, metadata="mlx"),
            companions=planned.companions,
            rounding=planned.rounding,
        )


class StackedExperts:
    """The tensors of the experts of a projection as one tensor, in the order of the experts."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._experts = {layer.name: (layer.expert, module_path(layer)) for layer in layers if layer.expert is not None}
        self._counts = Counter(module for _, module in self._experts.values())

    def stacked(self, tensors: Iterator[Stored]) -> Iterator[Stored]:
        """Every tensor that is of no expert as it comes; those of a projection once the last of its experts has come.

        Raises:
            CheckpointError: the tensors end before all experts of a projection have come.
        """
        waiting: dict[str, dict[int, Tensor]] = {}
        for name, tensor in tensors:
            layer, _, part = name.rpartition(".")
            if layer not in self._experts:
                yield name, tensor
                continue
            expert, module = self._experts[layer]
            found = waiting.setdefault(f"{module}.{part}", {})
            found[expert] = tensor
            if len(found) == self._counts[module]:
                del waiting[f"{module}.{part}"]
                yield f"{module}.{part}", torch.stack([found[index] for index in sorted(found)])
        if waiting:
            msg = f"{next(iter(waiting))} lacks experts in the model's files; register the model again"
            raise CheckpointError(msg)


WRITER = MlxWriter()
