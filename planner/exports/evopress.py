"""EvoPress' layer configuration: ``name: bits`` a line, for ``eval_ppl.py --quant_config_path``; layers left out stay dense."""

from typing import ClassVar, Final

from planner.exports.evopress_reader import read_assignment
from planner.exports.expressible import require_expressible
from planner.exports.target import AbstractExporter, ExportedModel, Json
from planner.exports.ties import Assignment
from planner.runtimes.evopress import evopress_refusal
from planner.runtimes.profile import RuntimeProfile

FILE: Final = "evopress.txt"


class EvoPressExporter(AbstractExporter):
    """A line for each quantized layer."""

    name: ClassVar[str] = "evopress"
    description: ClassVar[str] = "layer configuration of EvoPress' evaluation, a level (bits) for each layer"

    def write(self, assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> Json:
        """``text`` is the file, without a blank line, which the tool cannot read."""
        require_expressible(assignment, model, evopress_refusal)
        planned = ((layer.name, assignment.get(layer.name)) for layer in model.layers)
        lines = [f"{name}: {fmt.num_bits}" for name, fmt in planned if fmt is not None and fmt.is_quantized]
        return {"file": FILE, "text": "\n".join(lines) + "\n"}

    def read(self, document: Json, model: ExportedModel) -> Assignment:
        """As the tool loads weights by it."""
        return read_assignment(str(document.get("text", "")), model)


EXPORTER = EvoPressExporter()
