"""NNCF's passes: for each format one call of ``compress_weights`` that ignores everything but the layers of that format.

NNCF has no map of layers; a pass compresses whatever it is not told to ignore: the embedding, a head that is the embedding, and
the routers of mixtures as well. So every pass names all nodes of ``MatMul`` that are not its own, and ignores every ``Gather``.
With the library::

    for settings in plan["passes"]:
        scope = nncf.IgnoredScope(**settings.pop("ignored_scope"))
        nncf.compress_weights(model, mode=nncf.CompressWeightsMode(settings.pop("mode")), ignored_scope=scope, **settings)

NNCF stops at a name that the graph does not have: a model that was converted otherwise than ``openvino_nodes`` says is noticed.
"""

from typing import ClassVar, Final

from planner.exports.expressible import require_expressible
from planner.exports.openvino_nodes import GATHER, MATMUL, Node, weight_nodes
from planner.exports.openvino_reader import read_assignment
from planner.exports.target import AbstractExporter, ExportedModel, Json
from planner.exports.ties import Assignment
from planner.runtimes.openvino import MODES, openvino_refusal
from planner.runtimes.profile import RuntimeProfile

INT8: Final = ("int8_sym", "int8_asym")


class OpenVINOExporter(AbstractExporter):
    """One ignored scope a format, by exact names of nodes and the type of the others."""

    name: ClassVar[str] = "openvino"
    description: ClassVar[str] = "passes of nncf.compress_weights over an OpenVINO model, one for each format"

    def write(self, assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> Json:
        """``passes``: arguments of ``nncf.compress_weights``, in order; ``ignored_scope`` are those of ``nncf.IgnoredScope``."""
        require_expressible(assignment, model, openvino_refusal)
        stored = {name: fmt.name for name, fmt in assignment.items() if fmt.is_quantized}
        planned = dict.fromkeys(stored[layer.name] for layer in model.layers if layer.name in stored)
        nodes = [node for node in weight_nodes(model) if node.type == MATMUL]
        return {"passes": [{**_arguments(name), "ignored_scope": _scope(name, stored, nodes)} for name in planned]}

    def read(self, document: Json, model: ExportedModel) -> Assignment:
        """As NNCF goes through the passes."""
        return read_assignment(document.get("passes"), model)


def _scope(name: str, stored: dict[str, str], nodes: list[Node]) -> Json:
    return {"names": [node.name for node in nodes if stored.get(node.layer or "") != name], "types": [GATHER]}


def _arguments(name: str) -> Json:
    mode, group_size = MODES[name]
    if mode in INT8:  # takes neither
        return {"mode": mode}
    return {"mode": mode, "ratio": 1.0, "group_size": group_size, "all_layers": True}


EXPORTER = OpenVINOExporter()
