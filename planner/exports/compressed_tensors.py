"""compressed-tensors' ``quantization_config``, as vLLM and transformers read it from ``config.json``.

Targets are exact layer names: the library and vLLM give patterns different precedence, and a pattern for layer 1 also
matches layer 10 unless it is anchored. Only the experts of a block that share a format are one anchored pattern, because
transformers finds the experts' scheme by it. What is written is read back by an independent reader before it is returned.

Limits of transformers 5.24 (vLLM has neither): it decodes all experts of a model with one scheme, and cannot load layers
with zero points.
"""

import re
from collections.abc import Mapping
from typing import ClassVar

from planner.exports.architectures import require_linear_modules
from planner.exports.compressed_tensors_reader import read_assignment
from planner.exports.expressible import require_expressible
from planner.exports.target import AbstractExporter, ExportedModel, Json
from planner.exports.ties import Assignment
from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat, ElementType, Strategy
from sensitivity.formats.packing import compressed_tensors_refusal

# Linear modules of mixtures that are no layers of ours (they choose experts) and must never be quantized by accident.
ROUTER_PATTERNS = (r"re:.*\.(gate|router)$", r"re:.*\.shared_expert_gate$")
HEAD = "lm_head"
MIXED = "mixed-precision"


class CompressedTensorsExporter(AbstractExporter):
    """One config group a format, exact names as targets, everything else in ``ignore``."""

    name: ClassVar[str] = "compressed-tensors"
    description: ClassVar[str] = "quantization_config of a compressed-tensors checkpoint, for vLLM and transformers"

    def write(self, assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> Json:
        """``{"quantization_config": …}``, ready to be merged into the checkpoint's ``config.json``."""
        require_linear_modules(model, "compressed-tensors")
        require_expressible(assignment, model, compressed_tensors_refusal)
        return {"quantization_config": _quantization_config(assignment, model)}

    def read(self, document: Json, model: ExportedModel) -> Assignment:
        """As compressed-tensors and vLLM read it."""
        config = document.get("quantization_config")
        return read_assignment(config if isinstance(config, Mapping) else {}, model)


def compression_format(fmt: CandidateFormat) -> str:
    """How compressed-tensors stores the elements of a quantized format."""
    if fmt.type is ElementType.INT:
        return "pack-quantized"
    if fmt.num_bits == 8:
        return "float-quantized"
    return "nvfp4-pack-quantized" if fmt.strategy is Strategy.TENSOR_GROUP else "mxfp4-pack-quantized"


def weight_arguments(fmt: CandidateFormat) -> Json:
    """``QuantizationArgs`` of the weights of a quantized format; activations are not quantized."""
    found: Json = {
        "num_bits": fmt.num_bits,
        "type": fmt.type.value,
        "symmetric": fmt.symmetric,
        "strategy": fmt.strategy.value,
        "dynamic": False,
    }
    if fmt.group_size is not None:
        found["group_size"] = fmt.group_size
    if fmt.type is ElementType.FLOAT and fmt.num_bits == 4:
        found["scale_dtype"] = "torch.float8_e4m3fn" if fmt.strategy is Strategy.TENSOR_GROUP else "torch.uint8"
    return found


def _quantization_config(assignment: Assignment, model: ExportedModel) -> Json:
    targets: dict[CandidateFormat, list[str]] = {}
    patterns = _expert_patterns(assignment, model)
    ignore = [HEAD] if all(layer.name != HEAD for layer in model.layers) else []
    for layer in model.layers:
        fmt = assignment.get(layer.name)
        if fmt is None or not fmt.is_quantized:
            ignore.append(layer.name)
        else:
            targets.setdefault(fmt, []).append(patterns.get(layer.name, layer.name))
    if any(layer.expert is not None for layer in model.layers):
        ignore.extend(ROUTER_PATTERNS)
    storage = {compression_format(fmt) for fmt in targets}
    return {
        "quant_method": "compressed-tensors",
        "format": storage.pop() if len(storage) == 1 else MIXED,
        "quantization_status": "compressed",
        "config_groups": {
            fmt.name.lower(): {
                "targets": list(dict.fromkeys(names)),
                "weights": weight_arguments(fmt),
                "format": compression_format(fmt),
            }
            for fmt, names in targets.items()
        },
        "ignore": ignore,
    }


def _expert_patterns(assignment: Assignment, model: ExportedModel) -> dict[str, str]:
    """Layer name → the pattern of its block's experts, where all of them are planned and share one format."""
    blocks: dict[str, list[Layer]] = {}
    for layer in model.layers:
        if layer.expert is not None:
            blocks.setdefault(layer.name.rpartition(f".{layer.expert}.")[0], []).append(layer)
    found: dict[str, str] = {}
    for parent, layers in blocks.items():
        if len({assignment.get(layer.name) for layer in layers}) == 1:
            kinds = sorted({layer.name.rpartition(".")[2] for layer in layers})
            pattern = rf"re:^{re.escape(parent)}\.\d+\.({'|'.join(kinds)})$"
            found.update({layer.name: pattern for layer in layers})
    return found


EXPORTER = CompressedTensorsExporter()
