"""Checkpoints of llama.cpp: one GGUF file with our own codes, which llama.cpp and transformers load.

llama-quantize rounds by itself; here the bytes are those that were measured. Tensors are made and written one after the other.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from gguf import GGUFWriter
from transformers import AutoConfig

from planner.exports.llama_cpp_names import ARCHITECTURES
from planner.worker.checkpoint_writers.gguf_fields import add_fields
from planner.worker.checkpoint_writers.gguf_tensors import GgufTensor, gguf_tensors
from planner.worker.checkpoint_writers.gguf_vocabulary import add_vocabulary, copy_vocabulary
from planner.worker.checkpoint_writers.port import AbstractCheckpointWriter, PlannedCheckpoint
from sensitivity.checkpoint.description import SourceKind
from sensitivity.errors import CheckpointError
from sensitivity.writing import whole_or_nothing

FILE: Final = "model.gguf"


class GgufCheckpointWriter(AbstractCheckpointWriter):
    """``model.gguf``: metadata, tokenizer, and every tensor in the type of the plan."""

    target: ClassVar[str] = "llama.cpp"

    def write(self, planned: PlannedCheckpoint, directory: Path) -> Path:
        """The file in a directory of its own."""
        architecture = planned.description.architecture
        whole = replace(planned, config=_with_defaults(architecture, planned.config))
        known_as = ARCHITECTURES.get(architecture, architecture)
        with whole_or_nothing(directory) as place, closing(GGUFWriter(place / FILE, known_as)) as writer:
            add_fields(writer, architecture, whole.config)
            writer.add_name(Path(whole.description.source).name)
            _add_vocabulary(writer, whole)
            _write(writer, gguf_tensors(whole))
        return directory


def _with_defaults(architecture: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as transformers computes with it, with what ``config.json`` leaves out or says in former words."""
    said = {key: value for key, value in config.items() if key != "model_type"}
    found: dict[str, Any] = AutoConfig.for_model(architecture, **said).to_dict()
    return found


def _add_vocabulary(writer: GGUFWriter, planned: PlannedCheckpoint) -> None:
    if planned.description.kind is SourceKind.GGUF:
        copy_vocabulary(writer, Path(planned.description.path))
        return
    if not planned.companions:
        msg = f"{planned.description.source} has no tokenizer, without which no GGUF is written; put it beside the weights"
        raise CheckpointError(msg)
    add_vocabulary(writer, planned.companions[0].parent, int(planned.config["vocab_size"]))


def _write(writer: GGUFWriter, tensors: list[GgufTensor]) -> None:
    for tensor in tensors:
        shape = tensor.byte_shape
        writer.add_tensor_info(tensor.name, shape, np.dtype(np.uint8), int(np.prod(shape)), raw_dtype=tensor.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(tensor.content())


WRITER = GgufCheckpointWriter()
