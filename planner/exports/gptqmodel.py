"""GPTQModel's ``quantization_config``: one format for the file, and ``dynamic`` rules for every layer.

The first rule that matches a name decides, from its start on. GPTQModel moves rules that leave a layer alone (``-:``) to
the front, vLLM keeps the order of the file: here they come first, and no layer is matched by two rules. A 5-, 6- or 7-bit
layer makes GPTQModel read the whole file in its planar layout, so the file says so; no other engine reads that.
"""

from collections import Counter
from collections.abc import Mapping
from typing import ClassVar, Final

from planner.errors import ExportError
from planner.exports.architectures import require_architecture
from planner.exports.expressible import require_expressible
from planner.exports.gptqmodel_patterns import patterns
from planner.exports.gptqmodel_reader import read_assignment
from planner.exports.target import AbstractExporter, ExportedModel, Json
from planner.exports.ties import Assignment
from planner.exports.transformers_names import engine_layers, engine_name
from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing_gptq import gptq_refusal

PLANAR_BITS: Final = frozenset({5, 6, 7})
UNLOADABLE: Final[Mapping[str, str]] = {
    "gpt2": "GPTQModel 7.7 makes index tensors of the wrong length for Conv1D modules",
    "phi3": "GPTQModel 7.7 splits gate_up_proj into two modules that the checkpoint does not have",
}
"""Architectures that GPTQModel cannot load, with the reason."""

GEMMA2_BLOCKS: Final = 42
"""GPTQModel 7.7 refuses to load a quantized Gemma 2 of more blocks (27B), by an unset variable."""


class GPTQModelExporter(AbstractExporter):
    """Anchored patterns, fused names beside their members', every layer in exactly one rule."""

    name: ClassVar[str] = "gptqmodel"
    description: ClassVar[str] = "quantization_config with dynamic rules of a GPTQ checkpoint, for GPTQModel"

    def write(self, assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> Json:
        """``{"quantization_config": …}``, ready to be merged into ``config.json``; its value is ``quantize_config.json``."""
        require_architecture(model, _unloadable(model))
        require_expressible(assignment, model, gptq_refusal)
        _require_in_module_tree(assignment, model)
        quantized, rest = _by_format(assignment, model)
        untouched, *found = patterns([rest, *quantized.values()], engine_layers(model.layers))
        rules: dict[str, Json] = {f"-:{pattern}": {} for pattern in untouched}
        for fmt, its_patterns in zip(quantized, found, strict=True):
            rules.update({f"+:{pattern}": _words(fmt) for pattern in its_patterns})
        commonest = Counter({fmt: len(members) for fmt, members in quantized.items()}).most_common(1)[0][0]
        return {
            "quantization_config": {
                "quant_method": "gptq",
                "checkpoint_format": "gptq_p" if any(fmt.num_bits in PLANAR_BITS for fmt in quantized) else "gptq",
                **_words(commonest),
                "sym": True,
                "desc_act": False,
                "pack_dtype": "int32",
                "lm_head": any(layer.block is None for members in quantized.values() for layer in members),
                "dynamic": rules,
            }
        }

    def read(self, document: Json, model: ExportedModel) -> Assignment:
        """As GPTQModel and vLLM read it."""
        config = document.get("quantization_config")
        return read_assignment(config if isinstance(config, Mapping) else {}, model)


def _unloadable(model: ExportedModel) -> Mapping[str, str]:
    blocks = len({layer.block for layer in model.layers if layer.block is not None})
    if blocks <= GEMMA2_BLOCKS:
        return UNLOADABLE
    return {
        **UNLOADABLE,
        "gemma2": f"GPTQModel 7.7 stops at a Gemma 2 of more than {GEMMA2_BLOCKS} blocks, and this one has {blocks}",
    }


def _words(fmt: CandidateFormat) -> Json:
    return {"bits": fmt.num_bits, "group_size": fmt.group_size or -1}


def _by_format(assignment: Assignment, model: ExportedModel) -> tuple[dict[CandidateFormat, list[Layer]], list[Layer]]:
    """Layers by the engine's names: those of each quantized format, and those that stay as they are."""
    quantized: dict[CandidateFormat, list[Layer]] = {}
    rest: list[Layer] = []
    for layer, named in zip(model.layers, engine_layers(model.layers), strict=True):
        fmt = assignment.get(layer.name)
        members = rest if fmt is None or not fmt.is_quantized else quantized.setdefault(fmt, [])
        members.append(named)
    return quantized, rest


def _require_in_module_tree(assignment: Assignment, model: ExportedModel) -> None:
    """GPTQModel's tree of a mixture knows its experts, not the dense MLP that some blocks have instead: it would stay random."""
    if all(layer.expert is None for layer in model.layers):
        return
    for layer in model.layers:
        fmt = assignment.get(layer.name)
        dense = layer.expert is None and engine_name(layer.name).endswith(f".mlp.{layer.kind}")
        if dense and fmt is not None and fmt.is_quantized:
            msg = (
                f"{layer.name} cannot be exported: GPTQModel does not quantize the dense MLP of a mixture's block. "
                f"Pin the layer to {model.unquantized_format}"
            )
            raise ExportError(msg, layers=[layer.name], rule="module-tree")


EXPORTER = GPTQModelExporter()
