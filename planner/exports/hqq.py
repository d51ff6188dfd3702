"""A plan for HQQ: our own JSON, because HQQ's own files have settings by projection and not by layer.

``layers`` has the arguments of ``hqq.core.quantize.BaseQuantizeConfig`` of each quantized module, by its name in transformers;
the others stay as they are. With the library::

    for name, settings in plan["layers"].items():
        linear = model.get_submodule(name)
        config = BaseQuantizeConfig(**settings)
        model.set_submodule(name, HQQLinear(linear, config, compute_dtype=torch.bfloat16, device=device))

HQQ then rounds by itself. A checkpoint has our own codes instead: ``W_q``, ``scale`` and ``zero`` of each module.
"""

from typing import ClassVar, Final

from planner.errors import ExportError
from planner.exports.expressible import require_expressible
from planner.exports.hqq_reader import FORMAT_VERSION, read_assignment
from planner.exports.target import AbstractExporter, ExportedModel, Json
from planner.exports.ties import Assignment
from planner.exports.transformers_names import engine_name
from planner.runtimes.profile import RuntimeProfile
from sensitivity.formats.packing_hqq import hqq_refusal

CONV1D_ARCHITECTURES: Final = frozenset({"gpt2", "openai-gpt"})


class HqqExporter(AbstractExporter):
    """``{"layers": {module: {"nbits", "group_size", "axis"}}}``."""

    name: ClassVar[str] = "hqq"
    description: ClassVar[str] = "BaseQuantizeConfig of each module for the hqq library, as JSON"

    def write(self, assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> Json:
        """The settings of each quantized layer."""
        if model.architecture in CONV1D_ARCHITECTURES:
            msg = f"{model.architecture} keeps its layers in Conv1D modules, which HQQ does not replace; export json"
            raise ExportError(msg, rule="linear-modules")
        require_expressible(assignment, model, hqq_refusal)
        quantized = [layer for layer in model.layers if layer.name in assignment and assignment[layer.name].is_quantized]
        experts = [layer.name for layer in quantized if layer.expert is not None]
        if experts:
            msg = f"{experts[0]} cannot be exported: transformers stacks experts, and HQQ replaces linear modules alone"
            raise ExportError(msg, layers=experts[:20], rule="linear-modules")
        settings = {
            engine_name(layer.name): {"nbits": (fmt := assignment[layer.name]).num_bits, "group_size": fmt.group_size, "axis": 1}
            for layer in quantized
        }
        return {"quant_method": "hqq", "format_version": FORMAT_VERSION, "layers": settings}

    def read(self, document: Json, model: ExportedModel) -> Assignment:
        """As the loop above applies it."""
        return read_assignment(document, model)


EXPORTER = HqqExporter()
