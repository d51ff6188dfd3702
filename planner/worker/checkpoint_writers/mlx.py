"""Checkpoints of mlx-lm: our codes in MLX's packing, the experts of a projection stacked to one tensor."""

from pathlib import Path
from typing import ClassVar

from planner.exports.mlx import module_path
from planner.worker.checkpoint_writers.mlx_configuration import mlx_configuration
from planner.worker.checkpoint_writers.port import AbstractCheckpointWriter, PlannedCheckpoint
from planner.worker.checkpoint_writers.stacking import Place, StackedExperts
from sensitivity.rounding.packing_mlx import mlx
from sensitivity.writing import Container, write_checkpoint


class MlxWriter(AbstractCheckpointWriter):
    """``weight``, ``scales`` and ``biases`` of each quantized module, with the export in ``config.json``."""

    target: ClassVar[str] = "mlx"

    def write(self, planned: PlannedCheckpoint, directory: Path) -> Path:
        """Safetensors with ``quantization`` that ``mlx_lm.load`` reads."""
        layers = planned.description.layers
        places = {layer.name: Place(module_path(layer), layer.expert) for layer in layers if layer.expert is not None}
        stacked = StackedExperts(places, stored_as="{}.{}".format)
        return write_checkpoint(
            planned.state,
            planned.assignment,
            directory,
            config={**mlx_configuration(planned.config), **planned.exported},
            container=Container(pack=mlx, arrange=stacked.arranged, metadata="mlx"),
            companions=planned.companions,
            rounding=planned.rounding,
            files=planned.files,
        )


WRITER = MlxWriter()
