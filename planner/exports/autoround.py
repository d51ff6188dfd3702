"""AutoRound's ``quantization_config`` of a checkpoint and ``layer_config`` of its own quantizer.

Layers are named exactly: AutoRound searches patterns anywhere in a name, and its quantizer escapes the dots of a pattern once
more, so that an escaped dot never matches. The file says only what differs from its own format; routers and the gates of
shared experts, which are linear modules of the blocks, are the one pattern.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

from planner.exports.architectures import require_architecture
from planner.exports.autoround_reader import read_assignment
from planner.exports.expressible import require_expressible
from planner.exports.target import AbstractExporter, ExportedModel, Json
from planner.exports.ties import Assignment
from planner.exports.transformers_names import engine_layers
from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing_gptq import gptq_refusal

UNLOADABLE: Final[Mapping[str, str]] = {"gpt2": "AutoRound 0.16 takes the two sides of a Conv1D module for each other"}
"""Architectures that AutoRound cannot load, with the reason."""

ROUTERS: Final = r".*\.(gate|router|shared_expert_gate)$"
UNQUANTIZED: Final[Json] = {"bits": 16}


class AutoRoundExporter(AbstractExporter):
    """Exact names, the commonest format at the top."""

    name: ClassVar[str] = "autoround"
    description: ClassVar[str] = "quantization_config of a checkpoint in AutoRound's packing, and layer_config for its quantizer"

    def write(self, assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> Json:
        """``{"quantization_config": …, "layer_config": …}``; the first is for the checkpoint's ``config.json``.

        ``layer_config`` has every layer, for ``AutoRound(model, layer_config=…, scheme=…)`` with any scheme of integers.
        """
        require_architecture(model, UNLOADABLE)
        require_expressible(assignment, model, gptq_refusal)
        layers = engine_layers(model.layers)
        formats = [fmt if (fmt := assignment.get(layer.name)) and fmt.is_quantized else None for layer in model.layers]
        words = {layer.name: _words(fmt) for layer, fmt in zip(layers, formats, strict=True)}
        base = _words(Counter(fmt for fmt in formats if fmt is not None).most_common(1)[0][0])
        extra = {layer.name: words[layer.name] for layer in layers if layer.block is None or words[layer.name] != base}
        if any(layer.expert is not None for layer in layers):
            extra[ROUTERS] = UNQUANTIZED
        config = {
            "quant_method": "auto-round",
            "packing_format": "auto_round:auto_gptq",
            "data_type": "int",
            "sym": True,
            **base,
            "block_name_to_quantize": ",".join(_lists_of_blocks(layers)),
            "extra_config": extra,
        }
        return {"quantization_config": config, "layer_config": words}

    def read(self, document: Json, model: ExportedModel) -> Assignment:
        """As AutoRound reads the checkpoint and, with the same answer, the configuration of its quantizer."""
        return read_assignment(document, model)


def _words(fmt: CandidateFormat | None) -> Json:
    return UNQUANTIZED if fmt is None else {"bits": fmt.num_bits, "group_size": fmt.group_size or -1}


def _lists_of_blocks(layers: Iterable[Layer]) -> list[str]:
    """``model.layers``; the path of every list of blocks, once."""
    return list(dict.fromkeys(layer.name.partition(f".{layer.block}.")[0] for layer in layers if layer.block is not None))


EXPORTER = AutoRoundExporter()
