"""Fake-quantized checkpoints: dense weights that are what the formats decode to, for any engine that loads the model itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from planner.containers.dense import dense_file_bytes
from planner.worker.checkpoint_writers.port import AbstractCheckpointWriter, PlannedCheckpoint
from sensitivity.checkpoint.families import get_family
from sensitivity.rounding import Encoded, decode
from sensitivity.writing import Container, Files, Stored, write_checkpoint


@final
@dataclass(frozen=True, slots=True)
class FakeWriter(AbstractCheckpointWriter):
    """Writes what each planned layer's codes decode to, in any format that can be rounded, K-quants too.

    The file is as large as the model, and ``transformers`` loads it as the model it was. In float32 its weights are bit for bit
    those that evaluations run with; in the model's own 16 bits they are rounded once more, as an engine does that decodes to it.

    Attributes:
        dtype: of all tensors: ``float32``, ``bfloat16`` or ``float16``; ``None`` for the model's own.
    """

    target: ClassVar[str] = "fake"
    dtype: str | None = None

    @override
    def write(self, planned: PlannedCheckpoint, directory: Path) -> Path:
        dtype = self.dtype or planned.description.dtype
        stored_as: torch.dtype = getattr(torch, dtype)
        turned = _turned(planned)

        def pack(encoded: Encoded) -> dict[str, Tensor]:
            return {"weight": decode(encoded).to(stored_as)}

        def arrange(tensors: Iterator[Stored]) -> Iterator[Stored]:
            return ((name, tensor.T.contiguous() if name in turned else tensor) for name, tensor in tensors)

        config = {key: value for key, value in planned.config.items() if key != "torch_dtype"} | {"dtype": dtype}
        return write_checkpoint(
            planned.state,
            planned.assignment,
            directory,
            config=config,
            container=Container(pack=pack, arrange=arrange),
            companions=planned.companions,
            rounding=planned.rounding,
            files=Files(dtype=dtype, total_bytes=dense_file_bytes(planned.description, dtype)),
        )


def _turned(planned: PlannedCheckpoint) -> set[str]:
    """Weights of planned layers that the model stores as (in, out)."""
    if not get_family(planned.description.architecture).transposed:
        return set()
    blocks = (layer.name for layer in planned.description.layers if layer.block is not None)
    return {f"{name}.weight" for name in blocks if name in planned.assignment}
