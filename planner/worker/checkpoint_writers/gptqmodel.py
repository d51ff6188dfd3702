"""Checkpoints of GPTQModel: our codes in the layout that the export names."""

import json
from pathlib import Path
from typing import ClassVar

from planner.worker.checkpoint_writers.port import AbstractCheckpointWriter, PlannedCheckpoint
from planner.worker.checkpoint_writers.renaming import renamed
from sensitivity.rounding.packing_gptq import gptqmodel, gptqmodel_planar
from sensitivity.writing import Container, write_checkpoint


class GPTQModelWriter(AbstractCheckpointWriter):
    """``qweight``, ``qzeros``, ``scales`` and ``g_idx`` of each quantized layer.

    Scales stay in bfloat16, in which they are exact: GPTQModel casts them to the dtype that it runs in.
    """

    target: ClassVar[str] = "gptqmodel"

    def write(self, planned: PlannedCheckpoint, directory: Path) -> Path:
        """Safetensors with ``quantization_config``, and the same as ``quantize_config.json``."""
        config = planned.exported["quantization_config"]
        assert isinstance(config, dict)  # noqa: S101  (the export was read back)
        container = Container(
            pack=gptqmodel_planar if config["checkpoint_format"] == "gptq_p" else gptqmodel,
            arrange=renamed,
            texts={"quantize_config.json": json.dumps(config, indent=2) + "\n"},
        )
        return write_checkpoint(
            planned.state,
            planned.assignment,
            directory,
            config={**planned.config, **planned.exported},
            container=container,
            companions=planned.companions,
            rounding=planned.rounding,
            files=planned.files,
        )


WRITER = GPTQModelWriter()
