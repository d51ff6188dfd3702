"""Checkpoints of optimum-quanto, which ``QuantizedModelForCausalLM.from_pretrained`` loads."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from planner.exports.target import file_text
from planner.exports.transformers_names import engine_name
from planner.worker.checkpoint_writers.port import AbstractCheckpointWriter, PlannedCheckpoint
from sensitivity.rounding.packing_quanto import quanto
from sensitivity.writing import Container, Stored, write_checkpoint


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
            container=Container(pack=quanto, arrange=_renamed, texts={"quanto_qmap.json": file_text(planned.exported)}),
            companions=planned.companions,
            rounding=planned.rounding,
        )


def _renamed(tensors: Iterator[Stored]) -> Iterator[Stored]:
    return ((engine_name(name), tensor) for name, tensor in tensors)


WRITER = QuantoWriter()
