"""ModelOpt checkpoints, which vLLM loads: our codes in ModelOpt's tensors, with its file beside the configuration."""

import json
from pathlib import Path
from typing import ClassVar

from planner.worker.checkpoint_writers.port import AbstractCheckpointWriter, PlannedCheckpoint
from sensitivity.rounding.packing_modelopt import modelopt
from sensitivity.writing import Container, write_checkpoint


class ModelOptWriter(AbstractCheckpointWriter):
    """Safetensors with ``hf_quant_config.json`` and the same in ``config.json``."""

    target: ClassVar[str] = "modelopt"

    def write(self, planned: PlannedCheckpoint, directory: Path) -> Path:
        """Weights, scales, and both files."""
        texts = {"hf_quant_config.json": json.dumps(planned.exported["hf_quant_config"], indent=2) + "\n"}
        return write_checkpoint(
            planned.state,
            planned.assignment,
            directory,
            config={**planned.config, "quantization_config": planned.exported["quantization_config"]},
            container=Container(pack=modelopt, texts=texts),
            companions=planned.companions,
            rounding=planned.rounding,
            files=planned.files,
        )


WRITER = ModelOptWriter()
