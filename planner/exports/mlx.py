"""mlx-lm's ``quantization`` of ``config.json``: one entry for each module path.

mlx-lm loads a module as its entry says (bits, group size and mode, or ``false``), and one without an entry as its tensors look:
quantized if the file has ``scales`` for it. Here every layer has an entry. Embeddings, norms and routers have none, and no
``scales`` in our checkpoints, so they stay as they are.

The experts of a block are stacked to one module for each projection, in mlx-lm's names (``switch_mlp.gate_proj``). The default
group size is the smallest one planned: ``mlx_lm.convert`` leaves out modules whose inputs are not divisible by the default,
whatever their own entry says.
"""

from typing import ClassVar, Final

from planner.errors import ExportError
from planner.exports.expressible import require_expressible
from planner.exports.mlx_reader import read_assignment
from planner.exports.target import AbstractExporter, ExportedModel, Json
from planner.exports.ties import Assignment
from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat, ElementType
from sensitivity.formats.packing_mlx import mlx_refusal

ARCHITECTURES: Final = frozenset(
    {
        *("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "smollm3", "phi3"),
        *("mixtral", "qwen2_moe", "qwen3_moe"),
    }
)
"""Those whose layers have the same names in mlx-lm (experts apart); it has no OPT, and keeps GPT-2 and GPT-NeoX otherwise.

mlx-lm 0.32 computes the GELU of the first Gemma by the error function, where transformers takes the approximation by tanh: logits
differ by nearly a thousandth of their standard deviation, whatever the plan.
"""
STACKED: Final = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}


class MlxExporter(AbstractExporter):
    """An entry for each layer; ``quantization_config`` repeats it, as mlx-lm writes it for other readers."""

    name: ClassVar[str] = "mlx"
    description: ClassVar[str] = "quantization of an mlx-lm checkpoint: bits, group size and mode of each module"

    def write(self, assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> Json:
        """``{"quantization": …, "quantization_config": …}``, ready to be merged into the checkpoint's ``config.json``."""
        _require_architecture(model)
        require_expressible(assignment, model, mlx_refusal)
        quantized = {name: fmt for name, fmt in assignment.items() if fmt.is_quantized}
        _require_stackable(quantized, model)
        entries: Json = {
            module_path(layer): mode_arguments(quantized[layer.name]) if layer.name in quantized else False
            for layer in model.layers
        }
        least = min(quantized.values(), key=lambda fmt: (fmt.group_size or 0, fmt.num_bits))
        found: Json = {**mode_arguments(least), **entries}
        return {"quantization": found, "quantization_config": found}

    def read(self, document: Json, model: ExportedModel) -> Assignment:
        """As mlx-lm reads it."""
        return read_assignment(document, model)


def module_path(layer: Layer) -> str:
    """Where mlx-lm keeps a layer: the experts of a projection share one path."""
    if layer.expert is None:
        return layer.name
    parent, _, kind = layer.name.rpartition(".")
    experts = parent.removesuffix(f".experts.{layer.expert}")
    return f"{experts}.switch_mlp.{STACKED.get(kind, kind)}"


def mode_arguments(fmt: CandidateFormat) -> Json:
    """Arguments of ``to_quantized`` for a quantized format."""
    mode = "affine" if fmt.type is ElementType.INT else "mxfp4"
    return {"group_size": fmt.group_size, "bits": fmt.num_bits, "mode": mode}


def _require_architecture(model: ExportedModel) -> None:
    """mlx-lm's Qwen2-MoE has experts in every block; those of Mixtral are so anyway, those of Qwen3-MoE may be dense."""
    if model.architecture not in ARCHITECTURES:
        msg = f"{model.architecture} is not among what mlx-lm is known to load under the checkpoint's names; export json"
        raise ExportError(msg, rule="architecture")
    mixtures = {layer.block for layer in model.layers if layer.expert is not None}
    for layer in model.layers:
        if model.architecture == "qwen2_moe" and layer.block is not None and layer.block not in mixtures:
            msg = f"mlx-lm has experts in every block of qwen2_moe, but block {layer.block} of {model.source} is dense"
            raise ExportError(msg, layers=[layer.name], rule="architecture")


def _require_stackable(quantized: Assignment, model: ExportedModel) -> None:
    formats: dict[str, tuple[str, str]] = {}
    for layer in model.layers:
        stored = quantized[layer.name].name if layer.name in quantized else "unquantized"
        first, expected = formats.setdefault(module_path(layer), (layer.name, stored))
        if stored != expected:
            msg = f"mlx-lm stacks {first} and {layer.name} in one module, but the plan says {expected} and {stored}"
            raise ExportError(msg, layers=[first, layer.name], rule="stacked-experts")


EXPORTER = MlxExporter()
