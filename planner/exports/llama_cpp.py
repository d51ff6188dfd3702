"""llama-quantize's tensor-type file: one anchored pattern for each matrix of the model, planned or not.

The file is read with ``--pure``, where a tensor that no pattern matches gets the type of the base ftype; without it the
tool's own mixture of types would have a say. ``--token-embedding-type`` and ``--output-tensor-type`` beat patterns, so neither
is used: the embedding and the head have patterns like all others. The file has no comments: the tool reads ``#`` as a malformed
entry.

The tool rounds by itself, so its weights are not those that were measured; ``--checkpoint`` writes ours.
"""

import re
from collections.abc import Mapping
from typing import ClassVar, Final

from planner.errors import ExportError
from planner.exports.llama_cpp_names import ARCHITECTURES, EMBEDDING, tensor_names
from planner.exports.llama_cpp_reader import read_assignment
from planner.exports.target import AbstractExporter, ExportedModel, Json
from planner.exports.ties import Assignment
from planner.runtimes.profile import RuntimeProfile

BASE_TYPE: Final = "q8_0"
"""An ftype that is quantized, so that patterns count; no tensor of ours gets it."""
FILE: Final = "tensor-types.txt"
TYPE_NAMES: Final[Mapping[str, str]] = {"FP16": "f16"}
EMBEDDING_TYPES: Final[Mapping[str, str]] = {"float16": "f16", "float32": "f32"}


class LlamaCppExporter(AbstractExporter):
    """A pattern a tensor, and the command line that uses them."""

    name: ClassVar[str] = "llama.cpp"
    description: ClassVar[str] = "tensor-type file of llama-quantize, with its command line; as checkpoint a GGUF file"

    def write(self, assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> Json:
        """``text`` is the file; ``command`` uses it."""
        types = {EMBEDDING: EMBEDDING_TYPES.get(model.dtype, "bf16"), **_types(assignment, model)}
        lines = [f"^{re.escape(name)}$={type_name}" for name, type_name in types.items()]
        source = f"model-{types[EMBEDDING]}.gguf"
        return {
            "architecture": ARCHITECTURES[model.architecture],
            "base_type": BASE_TYPE,
            "file": FILE,
            "command": f"llama-quantize --pure --tensor-type-file {FILE} {source} model.gguf {BASE_TYPE}",
            "text": "\n".join(lines) + "\n",
        }

    def read(self, document: Json, model: ExportedModel) -> Assignment:
        """As llama-quantize reads it."""
        return read_assignment(str(document.get("text", "")), str(document.get("command", "")), model)


def _types(assignment: Assignment, model: ExportedModel) -> dict[str, str]:
    """Type of each tensor that holds layers."""
    if not any(fmt.is_quantized for fmt in assignment.values()):
        msg = "the plan leaves every layer unquantized, so there is nothing to export: convert the original checkpoint"
        raise ExportError(msg, rule="nothing-quantized")
    names = tensor_names(model)
    found: dict[str, tuple[str, str]] = {}
    for layer in model.layers:
        fmt = assignment.get(layer.name)
        name = model.unquantized_format if fmt is None else fmt.name
        first, expected = found.setdefault(names[layer.name], (layer.name, name))
        if name != expected:
            msg = f"GGUF keeps {first} and {layer.name} in one tensor, but the plan says {expected} and {name}"
            raise ExportError(msg, layers=[first, layer.name], rule="one-type-per-tensor")
    return {tensor: TYPE_NAMES.get(name, name.lower()) for tensor, (_, name) in found.items()}


EXPORTER = LlamaCppExporter()
