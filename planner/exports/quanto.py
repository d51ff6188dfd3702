"""optimum-quanto's quantization map (``quanto_qmap.json``): the type of each quantized module's weights by its exact name.

``optimum.quanto.requantize`` and ``QuantizedModelForCausalLM.from_pretrained`` read it. Modules without an entry stay as they
are. The map says nothing of groups: quanto chooses them by the number of inputs, and the runtime profile refuses all others.
"""

from typing import ClassVar

from planner.exports.architectures import require_dense, require_linear_modules
from planner.exports.expressible import require_expressible
from planner.exports.quanto_reader import read_assignment
from planner.exports.target import AbstractExporter, ExportedModel, Json
from planner.exports.ties import Assignment
from planner.exports.transformers_names import engine_name
from planner.runtimes.profile import RuntimeProfile
from sensitivity.formats.candidate import CandidateFormat, ElementType
from sensitivity.formats.packing_quanto import quanto_refusal


class QuantoExporter(AbstractExporter):
    """``{module: {"weights": …, "activations": "none"}}`` of the quantized layers."""

    name: ClassVar[str] = "quanto"
    description: ClassVar[str] = "quantization map of optimum-quanto: quanto_qmap.json of a checkpoint"

    def write(self, assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> Json:
        """The whole file."""
        require_linear_modules(model, "quanto")
        require_expressible(assignment, model, quanto_refusal)
        require_dense(assignment, model, "quanto")
        return {
            engine_name(layer.name): {"weights": weight_type(assignment[layer.name]), "activations": "none"}
            for layer in model.layers
            if layer.name in assignment and assignment[layer.name].is_quantized
        }

    def read(self, document: Json, model: ExportedModel) -> Assignment:
        """As ``requantize`` reads it."""
        return read_assignment(document, model)


def weight_type(fmt: CandidateFormat) -> str:
    """Quanto's name of the elements of a quantized format."""
    return "qfloat8_e4m3fn" if fmt.type is ElementType.FLOAT else f"qint{fmt.num_bits}"


EXPORTER = QuantoExporter()
