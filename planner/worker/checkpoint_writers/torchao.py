"""Checkpoints of torchao, as transformers writes and loads them: flattened tensor classes, described in the files' headers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from planner.exports.torchao import parameter_name
from planner.worker.checkpoint_writers.port import AbstractCheckpointWriter, PlannedCheckpoint
from planner.worker.checkpoint_writers.stacking import Place, StackedExperts
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat, Strategy
from sensitivity.formats.packing_torchao import FLOAT8, is_torchao_int8
from sensitivity.rounding.packing_torchao import torchao
from sensitivity.writing import Container, write_checkpoint

WEIGHT = "_weight"


class TorchaoWriter(AbstractCheckpointWriter):
    """``_weight_qdata``, ``_weight_scale`` and ``_weight_zero_point`` of each quantized layer; quantized experts stacked."""

    target: ClassVar[str] = "torchao"

    def write(self, planned: PlannedCheckpoint, directory: Path) -> Path:
        """Safetensors with ``quantization_config`` that ``from_pretrained`` reads."""
        chosen = planned.assignment
        layers = [layer for layer in planned.description.layers if layer.name in chosen and chosen[layer.name].is_quantized]
        return write_checkpoint(
            planned.state,
            chosen,
            directory,
            config={**planned.config, **planned.exported},
            container=Container(
                pack=torchao,
                arrange=stacked_experts(layers).arranged,
                header=tensor_classes(layers, chosen, planned.state, dtype=planned.description.dtype),
            ),
            companions=planned.companions,
            rounding=planned.rounding,
        )


def stacked_experts(layers: Iterable[Layer]) -> StackedExperts:
    """Quantized experts as transformers stacks them: the gate above up, and down."""
    places = {}
    for layer in layers:
        if layer.expert is not None:
            parent = layer.name.rpartition(f".{layer.expert}.")[0]
            stack = f"{parent}._{parameter_name(layer).rpartition('.')[2]}"
            places[layer.name] = Place(stack, layer.expert, part=int(layer.kind in ("up_proj", "w3")))
    return StackedExperts(places, stored_as=lambda stack, part: stack + part.removeprefix(WEIGHT))


def tensor_classes(
    layers: Sequence[Layer], assignment: Mapping[str, CandidateFormat], names: Iterable[str], *, dtype: str
) -> dict[str, str]:
    """What torchao wants to know of each parameter, for the header of every file: its class and the arguments of that.

    Args:
        layers: the quantized layers.
        assignment: their formats, by name.
        names: of all tensors of the unquantized checkpoint.
        dtype: of the decoded weights.
    """
    quantized = {f"{layer.name}.weight": layer for layer in layers}
    found: dict[str, object] = {}
    for name in names:
        layer = quantized.get(name)
        if layer is None:
            found[name] = {"_type": "Tensor"}
        else:
            found[parameter_name(layer)] = tensor_class(assignment[layer.name], layer, dtype=dtype)
    return {"tensor_names": json.dumps(list(found)), **{name: json.dumps(said) for name, said in found.items()}}


def tensor_class(fmt: CandidateFormat, layer: Layer, *, dtype: str) -> dict[str, object]:
    """The class of a layer's parameter in a quantized format, and its attributes that are no tensors."""
    rows = layer.out_features if fmt.strategy is Strategy.TENSOR else 1
    block = [rows, fmt.group_size or layer.in_features]
    common = {"block_size": block if layer.expert is None else [1, *block], "dtype": _dtype(dtype)}
    if fmt.name in FLOAT8:
        kernels = {"_type": "KernelPreference", "_data": "AUTO"}
        extra = {"mm_config": None, "act_quant_kwargs": None, "kernel_preference": kernels}
        return _class("Float8Tensor", {**common, **extra}, ("qdata", "scale"))
    if is_torchao_int8(fmt):
        return _class("Int8Tensor", {**common, "act_quant_kwargs": None, "reduce_range": False}, ("qdata", "scale"))
    extra = {"target_dtype": _dtype(f"int{fmt.num_bits}"), "activation_quantization": None}
    return _class("IntxUnpackedToInt8Tensor", {**common, **extra}, ("qdata", "scale", "zero_point"))


def _class(name: str, attributes: Mapping[str, object], tensors: Sequence[str]) -> dict[str, object]:
    return {"_type": name, "_data": dict(attributes), "_tensor_data_names": list(tensors)}


def _dtype(name: str) -> dict[str, str]:
    return {"_type": "torch.dtype", "_data": name}


WRITER = TorchaoWriter()
