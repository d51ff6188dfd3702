"""Checkpoints in AutoRound's packing, which transformers with AutoRound and vLLM load."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from planner.errors import ExportError
from planner.worker.checkpoint_writers.port import AbstractCheckpointWriter, PlannedCheckpoint
from planner.worker.checkpoint_writers.renaming import renamed
from sensitivity.rounding.packing_gptq import autoround
from sensitivity.writing import Container, Stored, write_checkpoint


class AutoRoundWriter(AbstractCheckpointWriter):
    """``qweight``, ``qzeros`` and ``scales`` of each quantized layer, with the export in ``config.json``.

    AutoRound keeps scales in float16, so they are stored so. From 2^−17 up that is exact; below, a scale moves by at most 2^−25,
    and a weight of b bits by at most 2^(b−26).
    """

    target: ClassVar[str] = "autoround"

    def write(self, planned: PlannedCheckpoint, directory: Path) -> Path:
        """Safetensors with ``quantization_config``."""
        quantized = {f"{name}.scales" for name, fmt in planned.assignment.items() if fmt.is_quantized}

        def arranged(tensors: Iterator[Stored]) -> Iterator[Stored]:
            return renamed((name, half_scales(name, tensor) if name in quantized else tensor) for name, tensor in tensors)

        return write_checkpoint(
            planned.state,
            planned.assignment,
            directory,
            config={**planned.config, "quantization_config": planned.exported["quantization_config"]},
            container=Container(pack=autoround, arrange=arranged),
            companions=planned.companions,
            rounding=planned.rounding,
            files=planned.files,
        )


def half_scales(name: str, scales: Tensor) -> Tensor:
    """Scales of a layer in float16.

    Raises:
        ExportError: a scale is too large for float16; names the layer.
    """
    found = scales.to(torch.float16)
    if not bool(torch.isfinite(found).all()):
        layer = name.removesuffix(".scales")
        largest = float(scales.abs().max())
        msg = f"{layer} has a scale of {largest:.3g}, and AutoRound's float16 scales end at 65504. Leave the layer unquantized"
        raise ExportError(msg, layers=[layer], rule="float16-scales")
    return found


WRITER = AutoRoundWriter()
