"""The tensors of a GGUF: which there are, of which type and shape, and the bytes of each when it is its turn."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, final

import numpy as np
import torch
from gguf import GGMLQuantizationType
from gguf.quants import quant_shape_to_byte_shape
from numpy.typing import NDArray
from torch import Tensor

from planner.containers.gguf_fields import PERMUTED
from planner.containers.gguf_rotary import TENSOR, rotary_factors
from planner.exports.llama_cpp_names import EMBEDDING, name_table, tensor_names
from planner.exports.target import ExportedModel
from planner.worker.checkpoint_writers.port import PlannedCheckpoint
from sensitivity.checkpoint.description import Layer
from sensitivity.checkpoint.families import get_family
from sensitivity.errors import CheckpointError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format
from sensitivity.rounding import encode
from sensitivity.rounding.packing_gguf import ggml_type, gguf_rows

FLOAT_TYPES: Final[Mapping[str, tuple[GGMLQuantizationType, torch.dtype]]] = {
    "bfloat16": (GGMLQuantizationType.BF16, torch.bfloat16),
    "float16": (GGMLQuantizationType.F16, torch.float16),
    "float32": (GGMLQuantizationType.F32, torch.float32),
}
HEADS: Final = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
"""Which heads the rows of a projection belong to."""


@final
@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor of the file.

    Attributes:
        name: in GGUF.
        kind: ggml's type.
        shape: outermost dimension first, in elements.
        rows: its bytes, uint8 with the shape of ``byte_shape``; made anew at each call.
    """

    name: str
    kind: GGMLQuantizationType
    shape: tuple[int, ...]
    rows: Callable[[], Tensor]

    @property
    def byte_shape(self) -> tuple[int, ...]:
        """``shape`` with bytes instead of elements in the last dimension."""
        return tuple(quant_shape_to_byte_shape(self.shape, self.kind))

    def content(self) -> NDArray[np.uint8]:
        """Its bytes."""
        found: NDArray[np.uint8] = self.rows().reshape(self.byte_shape).contiguous().numpy()
        return found


def gguf_tensors(planned: PlannedCheckpoint) -> list[GgufTensor]:
    """All tensors: those that are no layer in the order of the checkpoint, then the layers in model order.

    Beside them the factors of a scaled rotary embedding, which are no parameters of the model.

    Raises:
        CheckpointError: the checkpoint has a tensor that llama.cpp does not know.
        ExportError: llama.cpp does not have the architecture, or a layer's name.
    """
    return [*_rotary(planned.config), *_others(planned), *_layers(planned)]


def _rotary(config: Mapping[str, Any]) -> Iterator[GgufTensor]:
    factors = rotary_factors(config)
    if factors is not None:
        yield GgufTensor(TENSOR, GGMLQuantizationType.F32, factors.shape, lambda: torch.from_numpy(factors).view(torch.uint8))


def _layers(planned: PlannedCheckpoint) -> Iterator[GgufTensor]:
    """The layers' tensors; the experts of a projection are one."""
    found = planned.description
    model = ExportedModel(found.fingerprint, found.source, found.architecture, found.dtype, found.layers)
    names = tensor_names(model)
    unquantized = get_format(model.unquantized_format)
    stacks: dict[str, list[Layer]] = {}
    for layer in found.layers:
        stacks.setdefault(names[layer.name], []).append(layer)
    for name, stack in stacks.items():
        fmt = planned.assignment.get(stack[0].name, unquantized)
        shape = stack[0].shape if stack[0].expert is None else (len(stack), *stack[0].shape)
        yield GgufTensor(name, ggml_type(fmt), shape, partial(_stacked, planned, stack, unquantized))


def _stacked(planned: PlannedCheckpoint, stack: Sequence[Layer], unquantized: CandidateFormat) -> Tensor:
    return torch.stack([_rows(planned, layer, unquantized) for layer in stack])


def _rows(planned: PlannedCheckpoint, layer: Layer, unquantized: CandidateFormat) -> Tensor:
    """Bytes of a layer's rows in llama.cpp's order, uint8 (out, bytes of a row)."""
    fmt = planned.assignment.get(layer.name)
    if fmt is not None:
        rows = gguf_rows(planned.rounding.encode(layer.name, fmt))
    else:
        rows = gguf_rows(encode(planned.state[f"{layer.name}.weight"].detach().cpu(), unquantized))
    return _in_order(rows, layer.name, planned)


def _others(planned: PlannedCheckpoint) -> Iterator[GgufTensor]:
    """Embeddings in the model's dtype; norms, biases and routers in float32, as llama.cpp's converter writes them."""
    found = planned.description
    family = get_family(found.architecture)
    table = name_table(found.architecture, found.blocks)
    skipped = {f"{layer.name}.weight" for layer in found.layers} | {f"{family.head}.weight"}
    for name, tensor in planned.state.items():
        if name in skipped:
            continue
        path, _, part = name.rpartition(".")
        known = table.get_name(path)
        if known is None:
            msg = f"llama.cpp does not know the tensor {name!r} of a {found.architecture}; use its own converter for this model"
            raise CheckpointError(msg)
        kind, dtype = FLOAT_TYPES[found.dtype if f"{known}.{part}" == EMBEDDING else "float32"]
        shape = (tensor.numel(),) if min(tensor.shape) == 1 else tuple(tensor.shape)  # a gate of one row is a vector
        yield GgufTensor(f"{known}.{part}", kind, shape, partial(_cast, planned, name, dtype))


def _cast(planned: PlannedCheckpoint, name: str, dtype: torch.dtype) -> Tensor:
    tensor = planned.state[name].detach().to("cpu", dtype).contiguous()
    path = name.rpartition(".")[0]
    if tensor.dim() == 1:
        return _in_order(tensor.view(torch.uint8).view(len(tensor), -1), path, planned)
    return tensor.view(torch.uint8)


def _in_order(rows: Tensor, path: str, planned: PlannedCheckpoint) -> Tensor:
    """Rows of queries and keys as llama.cpp's rotary embedding wants them: the two halves of a head interleaved."""
    key = HEADS.get(path.rpartition(".")[2])
    if key is None or planned.description.architecture not in PERMUTED:
        return rows
    heads = int(planned.config.get(key) or planned.config["num_attention_heads"])
    return rows.view(heads, 2, -1, rows.shape[1]).transpose(1, 2).reshape(rows.shape)
