"""The weights of one transformer block at a time, read from safetensors when the block is asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming, rename_source_key

from sensitivity.checkpoint.description import ModelDescription
from sensitivity.checkpoint.families import get_family
from sensitivity.checkpoint.safetensors_header import read_directory
from sensitivity.checkpoint.tensors import StoredTensor
from sensitivity.checkpoint.weights import stored_bytes
from sensitivity.errors import CorruptCheckpointError
from sensitivity.heap import give_back
from sensitivity.loading.surplus import refuse_surplus


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a stored tensor belongs.

    Attributes:
        stored: the tensor in its file.
        transposed: it is stored as (in, out) (Conv1D).
        owners: modules that hold the parameter, with the name that each knows it by; more than one where it is tied.
        empty: the parameter without memory that stands there while the weights are not needed.
    """

    stored: StoredTensor
    transposed: bool
    owners: tuple[tuple[nn.Module, str], ...]
    empty: nn.Parameter

    def fill(self) -> None:
        """Read the tensor, in float32.

        Raises:
            CorruptCheckpointError: it cannot be read, or holds NaN or infinite weights.
        """
        found = read_tensor(self.stored)
        weight = found.T.contiguous() if self.transposed else found
        if not weight.sum().isfinite() and not weight.isfinite().all():
            msg = f"{self.stored.name} in {self.stored.file} holds NaN or infinite weights; fetch its files again"
            raise CorruptCheckpointError(msg)
        self._set(nn.Parameter(weight, requires_grad=False))

    def drop(self) -> None:
        """Let go of the tensor."""
        self._set(self.empty)

    def _set(self, parameter: nn.Parameter) -> None:
        for module, name in self.owners:
            setattr(module, name, parameter)


class BlockStream:
    """Keeps the weights of at most one block in memory: those of the block that was asked for last.

    A weight that somebody still holds (a graph for a backward pass does) stays until it is let go.

    Attributes:
        reads: blocks read so far.
    """

    def __init__(self, places: Sequence[Sequence[Place]]) -> None:
        """A stream that has read nothing.

        Args:
            places: the parameters of each block.
        """
        self.reads = 0
        self._places = places
        self._present: int | None = None

    def enter(self, block: int) -> None:
        """Have the weights of this block in memory, and of no other.

        Raises:
            CorruptCheckpointError: they cannot be read, or are NaN or infinite.
        """
        if block == self._present:
            return
        if self._present is not None:
            _drop(self._places[self._present])
        self._present = None
        try:
            for place in self._places[block]:
                place.fill()
        except CorruptCheckpointError:
            _drop(self._places[block])
            raise
        self._present = block
        self.reads += 1


def _drop(places: Sequence[Place]) -> None:
    for place in places:
        place.drop()
    give_back()


def read_tensor(stored: StoredTensor) -> Tensor:
    """A tensor of a file in float32. It is read, not mapped: no page of the file stays in the process's memory.

    Raises:
        CorruptCheckpointError: the file is gone or shorter than its header says.
    """
    dtype = cast("torch.dtype", getattr(torch, stored.dtype))
    return torch.from_numpy(stored_bytes(stored)).view(dtype).reshape(stored.shape).to(torch.float32)


def find_places(module: nn.Module, description: ModelDescription, linears: dict[str, nn.Linear]) -> dict[nn.Parameter, Place]:
    """The stored tensor of every parameter of a model without memory.

    Layers are found by the description's names. For all other parameters (norms, biases, routers, embeddings) transformers'
    own renaming says which stored name is which parameter.

    Args:
        module: the model, Conv1D turned around and fused experts taken apart.
        description: of its checkpoint.
        linears: the linear of every layer of the description.

    Raises:
        CorruptCheckpointError: a parameter has no stored tensor, or one of another shape, or a tensor of a block has no place.
    """
    owners: dict[nn.Parameter, list[tuple[nn.Module, str]]] = {}
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            owners.setdefault(parameter, []).append((part, name))
    transposed = get_family(description.architecture).transposed
    weights = {linear.weight for linear in linears.values()}
    places: dict[nn.Parameter, Place] = {}
    for parameter, stored in _matches(module, description, linears):
        places.setdefault(
            parameter, Place(stored, transposed and parameter in weights, tuple(owners.get(parameter, ())), parameter)
        )
    _check(module, places, description)
    return places


def _matches(
    module: nn.Module, description: ModelDescription, linears: dict[str, nn.Linear]
) -> Iterator[tuple[nn.Parameter, StoredTensor]]:
    """Parameters and their stored tensors; what is stored beside the parameters (masks, rotary tables) is left out.

    Raises:
        CorruptCheckpointError: a tensor of a block is no parameter.
    """
    prefix = f"{get_family(description.architecture).base}."
    parameters = dict(module.named_parameters(remove_duplicate=False))
    surplus: list[str] = []
    renamings = [rule for rule in get_model_conversion_mapping(module) if isinstance(rule, WeightRenaming)]
    for stored in (tensor for file in read_directory(Path(description.path)) for tensor in file.tensors):
        layer = stored.name.removesuffix(".weight")
        linear = linears.get(layer) or linears.get(prefix + layer)
        if linear is not None and stored.name.endswith(".weight"):
            yield cast("nn.Parameter", linear.weight), stored
            continue
        name, _ = rename_source_key(stored.name, renamings, [], module.base_model_prefix, parameters)
        if name in parameters:
            yield parameters[name], stored
        else:
            surplus.append(stored.name)
    refuse_surplus(surplus, description)


def _check(module: nn.Module, places: dict[nn.Parameter, Place], description: ModelDescription) -> None:
    missing = [name for name, parameter in module.named_parameters() if parameter not in places]
    if missing:
        msg = f"{description.source} lacks tensors of its architecture ({', '.join(missing[:5])}); fetch its files again"
        raise CorruptCheckpointError(msg)
    for name, parameter in module.named_parameters():
        place = places[parameter]
        shape = place.stored.shape[::-1] if place.transposed else place.stored.shape
        if shape != tuple(parameter.shape):
            found = f"{description.source} stores {place.stored.name} as {shape} instead of {tuple(parameter.shape)}"
            msg = f"{found}, as its configuration says of {name}; take config.json and weights from the same place"
            raise CorruptCheckpointError(msg)
