"""The tensors of a block's experts as one tensor, for engines that keep them stacked."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sensitivity.errors import CheckpointError
from sensitivity.writing import Stored


@dataclass(frozen=True, slots=True)
class Place:
    """Where a projection of an expert goes.

    Attributes:
        stack: what it is stacked in.
        expert: index along the first dimension of the stack.
        part: which rows of the expert's matrix it is, where several projections lie above each other: 0, 1, …
    """

    stack: str
    expert: int
    part: int = 0


class StackedExperts:
    """Every tensor as it comes, and those of experts as stacks of shape (experts, rows, columns)."""

    def __init__(self, places: Mapping[str, Place], stored_as: Callable[[str, str], str]) -> None:
        """Stacks of some layers.

        Args:
            places: of each layer that is stacked, by name.
            stored_as: name of a stored tensor from the stack's and the last part of the tensor's own.
        """
        self._places = places
        self._stored_as = stored_as
        self._counts = Counter(place.stack for place in places.values())

    def arranged(self, tensors: Iterator[Stored]) -> Iterator[Stored]:
        """The stacks come when the last tensor of theirs has come.

        Raises:
            CheckpointError: the tensors end before a stack is whole.
        """
        waiting: dict[str, dict[tuple[int, int], Tensor]] = {}
        for name, tensor in tensors:
            layer, _, part = name.rpartition(".")
            place = self._places.get(layer)
            if place is None:
                yield name, tensor
                continue
            stored = self._stored_as(place.stack, part)
            found = waiting.setdefault(stored, {})
            found[place.expert, place.part] = tensor
            if len(found) == self._counts[place.stack]:
                yield stored, _stack(waiting.pop(stored))
        if waiting:
            msg = f"{next(iter(waiting))} lacks experts in the model's files; register the model again"
            raise CheckpointError(msg)


def _stack(found: Mapping[tuple[int, int], Tensor]) -> Tensor:
    experts = sorted({expert for expert, _ in found})
    return torch.stack([torch.cat([found[key] for key in sorted(found) if key[0] == expert]) for expert in experts])
