"""A GGUF: metadata, tokenizer, the table of tensors, and what tensors are padded with.

The table is the same for every plan: names and shapes do not depend on types. Tensors are padded to 32 bytes; counted is the
type that needs most, which is nothing for most shapes. What is counted too much is written behind the last tensor.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

from gguf import GGUFWriter
from typing_extensions import override

from planner.containers.gguf_fields import WRITABLE, add_fields, some_config
from planner.containers.gguf_metadata import metadata_bytes
from planner.containers.gguf_rotary import TENSOR
from planner.containers.port import AbstractContainer, ContainedModel
from planner.exports.llama_cpp_names import ARCHITECTURES, EMBEDDING, module_name, name_table
from planner.runtimes.profile import RuntimeProfile
from planner.runtimes.rest import BYTES_OF_DTYPE
from sensitivity.checkpoint.description import Layer, RestTensor
from sensitivity.formats.registry import all_formats, get_format

ALIGNMENT: Final = 32
HEAD_BYTES: Final = 24
"""Magic, version, and how many tensors and fields there are."""
_INFO_BYTES: Final = 8 + 4 + 4 + 8
"""Of a tensor in the table: length of its name, number of dimensions, type, offset."""
_DIMENSION_BYTES: Final = 8
ROTARY_ARCHITECTURE: Final = "llama"
"""The only one whose rotary embedding may be scaled, by factors that are a tensor of their own."""


def info_bytes(name: str, dimensions: int) -> int:
    """Bytes of a tensor's row in the table."""
    return _INFO_BYTES + len(name.encode()) + _DIMENSION_BYTES * dimensions


def padded(size: int) -> int:
    """The next multiple of ``ALIGNMENT``."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@final
@dataclass(frozen=True, slots=True)
class GgufContainer(AbstractContainer):
    """``model.gguf``."""

    target: str = "llama.cpp"

    @override
    def bytes_beside(
        self, model: ContainedModel, planned: Sequence[Layer], ignored: Sequence[Layer], runtime: RuntimeProfile
    ) -> int | None:
        if model.architecture not in WRITABLE or model.tokenizer_bytes is None:
            return None
        tensors = [*_layers(model, planned, ignored, runtime), *_rest(model)]
        writer = GGUFWriter(None, ARCHITECTURES[model.architecture])
        add_fields(writer, model.architecture, some_config(model.architecture))
        writer.add_name(max(model.names, key=lambda name: len(name.encode())))
        table = sum(info_bytes(tensor.name, tensor.dimensions) for tensor in tensors)
        header = HEAD_BYTES + metadata_bytes(writer) + model.tokenizer_bytes + table
        rotary = info_bytes(TENSOR, 1) if model.architecture == ROTARY_ARCHITECTURE else 0
        factors = padded(4 * (model.head_size // 2)) if rotary else 0
        return padded(header + rotary) + factors + sum(tensor.padding for tensor in tensors)


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor of the table, and the bytes of padding behind it."""

    name: str
    dimensions: int
    padding: int


def _layers(model: ContainedModel, planned: Sequence[Layer], ignored: Sequence[Layer], runtime: RuntimeProfile) -> list[_Tensor]:
    table = name_table(model.architecture, model.blocks)
    stacks: dict[str, list[Layer]] = {}
    for layer in (*planned, *ignored):
        stacks.setdefault(f"{table.get_name(module_name(layer.name, layer.expert))}.weight", []).append(layer)
    paddings: dict[tuple[object, ...], int] = {}
    found = []
    for name, stack in stacks.items():
        first = stack[0]
        key = first.shape, first.expert is None, len(stack)
        if key not in paddings:
            formats = [fmt for fmt in all_formats() if runtime.refusal(fmt, first) is None] or [get_format("BF16")]
            sizes = [len(stack) * runtime.size_bits(fmt, first.shape) // 8 for fmt in formats]
            sizes.append(len(stack) * first.parameters * BYTES_OF_DTYPE.get(model.dtype, 2))
            paddings[key] = max(padded(size) - size for size in sizes)
        found.append(_Tensor(name, 2 if first.expert is None else 3, paddings[key]))
    return found


def _rest(model: ContainedModel) -> list[_Tensor]:
    table = name_table(model.architecture, model.blocks)
    return [_rest_tensor(tensor, table.get_name, model.dtype) for tensor in model.rest]


def _rest_tensor(tensor: RestTensor, name_of: Callable[[str], str | None], dtype: str) -> _Tensor:
    path, _, part = tensor.name.rpartition(".")
    name = f"{name_of(path) or path}.{part}"
    size = tensor.elements * (BYTES_OF_DTYPE.get(dtype, 2) if name == EMBEDDING else 4)
    return _Tensor(name, len(tensor.shape), padded(size) - size)
