"""NNCF's passes: for each format one call of ``compress_weights`` that ignores every layer of another.

NNCF has no map of layers; a pass compresses whatever it is not told to ignore, and passes over what an earlier one compressed.
So every pass names all layers of all other formats. The names are those of ``openvino.convert_model`` of the transformers model
itself; a wrapper around it puts its own path in front.
"""

from typing import ClassVar, Final

from planner.exports.expressible import require_expressible
from planner.exports.openvino_reader import read_assignment
from planner.exports.target import AbstractExporter, ExportedModel, Json
from planner.exports.ties import Assignment
from planner.runtimes.openvino import MODES, openvino_refusal
from planner.runtimes.profile import RuntimeProfile

NODE: Final = "__module.{}/aten::linear/MatMul"
INT8: Final = ("int8_sym", "int8_asym")


class OpenVINOExporter(AbstractExporter):
    """One ignored scope a format, by exact names."""

    name: ClassVar[str] = "openvino"
    description: ClassVar[str] = "passes of nncf.compress_weights over an OpenVINO model, one for each format"

    def write(self, assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> Json:
        """``passes``: arguments of ``nncf.compress_weights``, in order; ``ignored_scope`` is a list of node names."""
        require_expressible(assignment, model, openvino_refusal)
        formats = list(dict.fromkeys(fmt.name for fmt in assignment.values() if fmt.is_quantized))
        stored = {layer.name: fmt.name if (fmt := assignment.get(layer.name)) else None for layer in model.layers}
        return {
            "passes": [
                {**_arguments(name), "ignored_scope": [NODE.format(layer) for layer, fmt in stored.items() if fmt != name]}
                for name in formats
            ]
        }

    def read(self, document: Json, model: ExportedModel) -> Assignment:
        """As NNCF goes through the passes."""
        return read_assignment(document.get("passes"), model)


def _arguments(name: str) -> Json:
    mode, group_size = MODES[name]
    if mode in INT8:  # takes neither
        return {"mode": mode}
    return {"mode": mode, "ratio": 1.0, "group_size": group_size, "all_layers": True}


EXPORTER = OpenVINOExporter()
