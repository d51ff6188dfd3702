"""Checkpoints for the hqq library: our codes as the tensors of each ``HQQLinear``, the settings beside them."""

from pathlib import Path
from typing import ClassVar

from planner.exports.target import file_text
from planner.worker.checkpoint_writers.port import AbstractCheckpointWriter, PlannedCheckpoint
from planner.worker.checkpoint_writers.renaming import renamed
from sensitivity.rounding.packing_hqq import hqq
from sensitivity.writing import Container, write_checkpoint


class HqqWriter(AbstractCheckpointWriter):
    """``W_q``, ``scale`` and ``zero`` of each quantized module under its name in transformers, and ``hqq_plan.json``."""

    target: ClassVar[str] = "hqq"

    def write(self, planned: PlannedCheckpoint, directory: Path) -> Path:
        """Safetensors with ``hqq_plan.json``."""
        return write_checkpoint(
            planned.state,
            planned.assignment,
            directory,
            config=planned.config,
            container=Container(pack=hqq, arrange=renamed, texts={"hqq_plan.json": file_text(planned.exported)}),
            companions=planned.companions,
            rounding=planned.rounding,
            files=planned.files,
        )


WRITER = HqqWriter()
