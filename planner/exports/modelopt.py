"""ModelOpt's ``MIXED_PRECISION``: an algorithm for each quantized layer, everything else unquantized.

The same content in both files that engines look into: ``hf_quant_config.json`` as ModelOpt writes it, and
``quantization_config`` of ``config.json``. A plan of one format is written as a mixed one too, with every layer listed:
ModelOpt's own files then name what is *not* quantized, by patterns, which is the list that goes wrong.
"""

from typing import ClassVar

from planner.exports.expressible import require_expressible
from planner.exports.modelopt_reader import read_assignment
from planner.exports.target import AbstractExporter, ExportedModel, Json
from planner.exports.ties import Assignment
from planner.runtimes.profile import RuntimeProfile
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing_modelopt import modelopt_refusal

MIXED = "MIXED_PRECISION"
ALGORITHMS = {"FP8": "FP8_PER_CHANNEL_PER_TOKEN", "NVFP4": "W4A16_NVFP4"}
PRODUCER = {"name": "bitplan", "version": "1"}


class ModelOptExporter(AbstractExporter):
    """Exact layer names: experts by name, fused projections shard by shard."""

    name: ClassVar[str] = "modelopt"
    description: ClassVar[str] = "hf_quant_config.json and quantization_config of a ModelOpt checkpoint, for vLLM"

    def write(self, assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> Json:
        """``{"hf_quant_config": …, "quantization_config": …}``: a file of its own, and a part of ``config.json``."""
        require_expressible(assignment, model, modelopt_refusal)
        planned = ((layer.name, assignment.get(layer.name)) for layer in model.layers)
        layers = {name: _words(fmt) for name, fmt in planned if fmt is not None and fmt.is_quantized}
        return {
            "hf_quant_config": {
                "producer": PRODUCER,
                "quantization": {"quant_algo": MIXED, "kv_cache_quant_algo": None, "quantized_layers": layers},
            },
            "quantization_config": {
                "quant_method": "modelopt",
                "quant_algo": MIXED,
                "quantized_layers": layers,
                "ignore": [],
                "producer": PRODUCER,
            },
        }

    def read(self, document: Json, model: ExportedModel) -> Assignment:
        """As vLLM resolves a mixed checkpoint; both files must say the same."""
        return read_assignment(document, model)


def _words(fmt: CandidateFormat) -> dict[str, object]:
    size = {} if fmt.group_size is None else {"group_size": fmt.group_size}
    return {"quant_algo": ALGORITHMS[fmt.name], **size}


EXPORTER = ModelOptExporter()
