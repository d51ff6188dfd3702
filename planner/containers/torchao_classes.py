"""What the headers of a torchao checkpoint say of each parameter: its tensor class, and the arguments of that. No torch here."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from planner.exports.torchao import parameter_name
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat, Strategy
from sensitivity.formats.packing_torchao import FLOAT8, is_torchao_int8

PLAIN: Final = {"_type": "Tensor"}
"""Of a parameter that stays as it is."""
LISTED_BYTES: Final = len(r"\"\", ")
"""Of a name in the list of names, which is JSON in JSON."""
DTYPES: Final = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}


def stacked_name(layer: Layer) -> str | None:
    """What the names of the tensors begin with that transformers stacks an expert's projection to; ``None`` for other layers."""
    if layer.expert is None:
        return None
    parent = layer.name.rpartition(f".{layer.expert}.")[0]
    return f"{parent}._{parameter_name(layer).rpartition('.')[2]}"


def class_bytes(fmt: CandidateFormat | None, layer: Layer | None, dtype: str) -> int:
    """Bytes of what a header says of one parameter, without its name, which it says twice.

    Args:
        fmt: its format; ``None`` where it stays as it is.
        layer: one that is in it, where it has a format.
        dtype: of the decoded weights, in safetensors' words.
    """
    said = PLAIN if fmt is None or layer is None else tensor_class(fmt, layer, dtype=DTYPES[dtype])
    return len(json.dumps(json.dumps(said))) + len('"":,') + LISTED_BYTES


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
            found[name] = PLAIN
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
