"""Checkpoints of llama.cpp: one GGUF file with our own codes, which llama.cpp and transformers load.

llama-quantize rounds by itself; here the bytes are those that were measured. Tensors are made and written one after the other.
"""

import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from gguf import GGUFWriter
from transformers import AutoConfig
from typing_extensions import override

from planner.containers.gguf import HEAD_BYTES, info_bytes, padded
from planner.containers.gguf_fields import add_fields, refuse_architecture
from planner.containers.gguf_metadata import metadata_bytes
from planner.containers.gguf_vocabulary import add_vocabulary, copy_vocabulary, refuse_other_vocabulary
from planner.exports.llama_cpp_names import ARCHITECTURES
from planner.worker.checkpoint_writers.gguf_tensors import GgufTensor, gguf_tensors
from planner.worker.checkpoint_writers.port import AbstractCheckpointWriter, PlannedCheckpoint
from sensitivity.checkpoint.description import ModelDescription, SourceKind
from sensitivity.safetensors_file import too_large
from sensitivity.writing import whole_or_nothing

FILE: Final = "model.gguf"


class GgufCheckpointWriter(AbstractCheckpointWriter):
    """``model.gguf``: metadata, tokenizer, and every tensor in the type of the plan."""

    target: ClassVar[str] = "llama.cpp"

    @override
    def check(self, description: ModelDescription) -> None:
        """Refuse an architecture that is not written, and a tokenizer that is none of this model's or of a kind not written."""
        refuse_architecture(description.architecture)
        path, rows = Path(description.path), description.embedding_rows
        if description.kind is SourceKind.GGUF:
            refuse_other_vocabulary(path, rows)
        else:
            add_vocabulary(GGUFWriter(None, ""), path, rows)

    def write(self, planned: PlannedCheckpoint, directory: Path) -> Path:
        """The file in a directory of its own."""
        architecture = planned.description.architecture
        whole = replace(planned, config=_with_defaults(architecture, planned.config))
        known_as = ARCHITECTURES.get(architecture, architecture)
        with whole_or_nothing(directory) as place, closing(GGUFWriter(place / FILE, known_as)) as writer:
            add_fields(writer, architecture, whole.config)
            writer.add_name(Path(whole.description.source).name)
            _add_vocabulary(writer, whole.description)
            _write(writer, gguf_tensors(whole), planned.file_bytes)
            writer.close()
            if planned.file_bytes is not None:
                os.truncate(place / FILE, planned.file_bytes)  # zeros behind the last tensor, which readers pass over
        return directory


def _with_defaults(architecture: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as transformers computes with it, with what ``config.json`` leaves out or says in former words."""
    said = {key: value for key, value in config.items() if key != "model_type"}
    found: dict[str, Any] = AutoConfig.for_model(architecture, **said).to_dict()
    return found


def _add_vocabulary(writer: GGUFWriter, description: ModelDescription) -> None:
    path, rows = Path(description.path), description.embedding_rows
    if description.kind is SourceKind.GGUF:
        refuse_other_vocabulary(path, rows)
        copy_vocabulary(writer, path)
    else:
        add_vocabulary(writer, path, rows)


def _write(writer: GGUFWriter, tensors: list[GgufTensor], most: int | None) -> None:
    """Write everything; before any weight is rounded the file is known to have no more than ``most`` bytes.

    Raises:
        CheckpointError: it would have more.
    """
    size = HEAD_BYTES + metadata_bytes(writer)
    for tensor in tensors:
        shape = tensor.byte_shape
        writer.add_tensor_info(tensor.name, shape, np.dtype(np.uint8), int(np.prod(shape)), raw_dtype=tensor.kind)
        size += info_bytes(tensor.name, len(shape))
    size = padded(size) + sum(padded(int(np.prod(tensor.byte_shape))) for tensor in tensors)
    if most is not None and size > most:
        raise too_large(FILE, size, most)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(tensor.content())


WRITER = GgufCheckpointWriter()
