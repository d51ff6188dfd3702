"""A plan for HQQ: our own JSON, because HQQ's own files have settings by projection and not by layer.

``layers`` has the arguments of ``hqq.core.quantize.BaseQuantizeConfig`` of each quantized module, by its name in transformers;
the others stay as they are. With the library::

    for name, settings in plan["layers"].items():
        linear = model.get_submodule(name)
        config = BaseQuantizeConfig(**settings)
        model.set_submodule(name, HQQLinear(linear, config, compute_dtype=torch.bfloat16, device=device))

HQQ then rounds by itself. A checkpoint has our own codes instead: ``W_q``, ``scale`` and ``zero`` of each module.
"""

from typing import ClassVar

from planner.exports.architectures import require_dense, require_linear_modules
from planner.exports.expressible import require_expressible
from planner.exports.hqq_reader import FORMAT_VERSION, read_assignment
from planner.exports.target import AbstractExporter, ExportedModel, Json
from planner.exports.ties import Assignment
from planner.exports.transformers_names import engine_name
from planner.runtimes.profile import RuntimeProfile
from sensitivity.formats.packing_hqq import hqq_refusal


class HqqExporter(AbstractExporter):
    """``{"layers": {module: {"nbits", "group_size", "axis"}}}``."""

    name: ClassVar[str] = "hqq"
    description: ClassVar[str] = "BaseQuantizeConfig of each module for the hqq library, as JSON"

    def write(self, assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> Json:
        """The settings of each quantized layer."""
        require_linear_modules(model, "HQQ")
        require_expressible(assignment, model, hqq_refusal)
        require_dense(assignment, model, "HQQ")
        quantized = [layer for layer in model.layers if layer.name in assignment and assignment[layer.name].is_quantized]
        settings = {
            engine_name(layer.name): {"nbits": (fmt := assignment[layer.name]).num_bits, "group_size": fmt.group_size, "axis": 1}
            for layer in quantized
        }
        return {"quant_method": "hqq", "format_version": FORMAT_VERSION, "layers": settings}

    def read(self, document: Json, model: ExportedModel) -> Assignment:
        """As the loop above applies it."""
        return read_assignment(document, model)


EXPORTER = HqqExporter()
