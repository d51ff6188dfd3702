"""Checkpoints of optimum-quanto, which ``QuantizedModelForCausalLM.from_pretrained`` loads."""

from pathlib import Path
from typing import ClassVar

from planner.exports.target import file_text
from planner.worker.checkpoint_writers.port import AbstractCheckpointWriter, PlannedCheckpoint
from planner.worker.checkpoint_writers.renaming import renamed
from sensitivity.rounding.packing_quanto import quanto
from sensitivity.writing import Container, write_checkpoint


class QuantoWriter(AbstractCheckpointWriter):
    """Packed weights under the names of transformers' modules, and the quantization map beside them."""

    target: ClassVar[str] = "quanto"

    def write(self, planned: PlannedCheckpoint, directory: Path) -> Path:
        """Safetensors with ``quanto_qmap.json``."""
        return write_checkpoint(
            planned.state,
            planned.assignment,
            directory,
            config=planned.config,
            container=Container(pack=quanto, arrange=renamed, texts={"quanto_qmap.json": file_text(planned.exported)}),
            companions=planned.companions,
            rounding=planned.rounding,
            files=planned.files,
        )


WRITER = QuantoWriter()
