"""Checkpoints of compressed-tensors, which vLLM and transformers load."""

from pathlib import Path
from typing import ClassVar

from planner.worker.checkpoint_writers.port import AbstractCheckpointWriter, PlannedCheckpoint
from sensitivity.writing import write_checkpoint


class CompressedTensorsWriter(AbstractCheckpointWriter):
    """Packed weights, scales and zero points, with the export in ``config.json``."""

    target: ClassVar[str] = "compressed-tensors"

    def write(self, planned: PlannedCheckpoint, directory: Path) -> Path:
        """Safetensors with ``quantization_config``."""
        return write_checkpoint(
            planned.state,
            planned.assignment,
            directory,
            config={**planned.config, **planned.exported},
            companions=planned.companions,
            rounding=planned.rounding,
            files=planned.files,
        )


WRITER = CompressedTensorsWriter()
