"""One sequence going through a model as the reference, and beside it as variants with a single changed layer each."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from sensitivity.loading import LoadedModel
from sensitivity.loading.experts import RoutedExperts
from sensitivity.probes.block_walk import BlockCall, enter, leave
from sensitivity.probes.linear_calls import Answer, LinearCall, answered, recorded


@dataclass(slots=True)
class Walk:
    """The reference of one sequence at the door of a block.

    Attributes:
        model: the model.
        tokens: int64 (1, length).
        block: index of the block whose door the states are at.
        states: float32 (1, length, hidden).
        calls: what the model passes to each block.
    """

    model: LoadedModel
    tokens: Tensor
    block: int = field(init=False)
    states: Tensor = field(init=False)
    calls: list[BlockCall] = field(init=False)

    def __post_init__(self) -> None:
        self._start()

    def to(self, block: int) -> None:
        """Go to the door of a block; back to the embeddings first if the walk is beyond it."""
        if block < self.block:
            self._start()
        while self.block < block:
            self.states = self.calls[self.block].through(self.model.block(self.block), self.states)
            self.block += 1

    def _start(self) -> None:
        self.block = 0
        self.states, self.calls = enter(self.model, self.tokens)


class AbstractChange(ABC):
    """What one variant has different in the block that the walk is at; everything behind the block is the same model.

    Attributes:
        layer: the linear that the change is about: where the block does not call it, there is no variant. ``None`` for a
            change of the block itself.
    """

    layer: nn.Linear | None

    @abstractmethod
    def answers(self, linears: Mapping[nn.Linear, LinearCall]) -> dict[nn.Linear, Answer]:
        """What linears of the block give in the variant, from their calls in the reference; others are left to the walk."""

    def through(self, block: nn.Module, call: BlockCall, states: Tensor) -> Tensor:
        """The variant's states behind the block, from the states at its door."""
        return call.through(block, states)


@final
@dataclass(frozen=True)
class Change(AbstractChange):
    """A layer of the block in other weights.

    Attributes:
        layer: the linear.
        error: ΔW, shape (out, in); its dtype is that of the product with it.
    """

    layer: nn.Linear
    error: Tensor

    def answers(self, linears: Mapping[nn.Linear, LinearCall]) -> dict[nn.Linear, Answer]:
        """``y + ΔW x`` of the layer; what is called before it, or with the same input, gives what it gave."""
        own = linears[self.layer]
        product = linear(own.inputs.to(self.error.dtype), self.error)
        return {**unchanged_up_to(self.layer, linears), self.layer: _always(own.output + product)}


@dataclass(frozen=True, slots=True)
class Ends:
    """States of the reference and of the variants: at the end of ``last_hidden``, the last hidden ones.

    Attributes:
        reference: float32 (length, hidden).
        variants: as much for each change, in order; ``None`` if its block did not call the layer (an expert without a token).
        called: linears that the changed blocks called.
    """

    reference: Tensor
    variants: list[Tensor | None]
    called: Collection[nn.Linear]


def last_hidden(walks: Sequence[Walk], changes: Sequence[AbstractChange], dtype: torch.dtype) -> list[Ends]:
    """Run the rest of the model for each reference, and once for each change in the block that the walks are at.

    Args:
        walks: references at the door of one block of one model; they are left there.
        changes: in that block, for each of the walks.
        dtype: as for ``last_hidden_of_blocks``.

    Returns:
        The ends of each walk.
    """
    return last_hidden_of_blocks(walks, {walks[0].block: changes}, dtype)


def last_hidden_of_blocks(
    walks: Sequence[Walk], changes: Mapping[int, Sequence[AbstractChange]], dtype: torch.dtype
) -> list[Ends]:
    """Run the rest of the model for each reference, and from the door of its block on for each change of any block.

    All go block by block, so that the weights of a block stay in cache, and a streamed model reads it once. A variant is run
    by itself, on one sequence: its bits do not depend on what else is measured.

    A variant needs only what is different. With x and y the reference's input and output of a linear, the variant's output
    is ``y + W (x′ − x)``; because the change is rounded and not the state, this product may be bfloat16. Linears before the
    changed layer, and those with the same input, give what they gave. In the changed layer ``x′ = x`` and the output
    is ``y + ΔW x``. Linears of routed experts are run plainly: a variant's tokens may be routed elsewhere.

    Args:
        walks: references at the door of one block of one model; they are left there.
        changes: of each changed block, which is that block or one behind it, for each of the walks.
        dtype: of ``W (x′ − x)``; in float32, linears behind the changed layer are run plainly.

    Returns:
        The ends of each walk, with the variants in the order of their blocks.
    """
    model = walks[0].model
    behind = [Ends(walk.states, [], frozenset()) for walk in walks]
    for index in range(walks[0].block, len(model.blocks)):
        block = model.block(index)
        behind = [
            _through(block, walk.calls[index], ends, changes.get(index), dtype) for walk, ends in zip(walks, behind, strict=True)
        ]
    return [_left(walk, ends) for walk, ends in zip(walks, behind, strict=True)]


def _through(block: nn.Module, call: BlockCall, ends: Ends, changes: Sequence[AbstractChange] | None, dtype: torch.dtype) -> Ends:
    """The reference and the variants behind a block, each (1, length, hidden), with those that begin in it."""
    with recorded(block) as linears:
        ahead = call.through(block, ends.reference)
    besides = _besides(block, linears, dtype)
    with answered(besides):
        variants = [None if states is None else call.through(block, states) for states in ends.variants]
    if changes is None:
        return Ends(ahead, variants, ends.called)
    for change in changes:
        if change.layer is not None and change.layer not in linears:
            variants.append(None)
            continue
        with answered({**besides, **change.answers(linears)}):
            variants.append(change.through(block, call, ends.reference))
    return Ends(ahead, variants, {*ends.called, *linears})


def _left(walk: Walk, ends: Ends) -> Ends:
    """Last hidden states from those behind the last block."""
    variants = [None if states is None else leave(walk.model, walk.tokens, states)[0] for states in ends.variants]
    return Ends(leave(walk.model, walk.tokens, ends.reference)[0], variants, ends.called)


def unchanged_up_to(layer: nn.Linear, linears: Mapping[nn.Linear, LinearCall]) -> dict[nn.Linear, Answer]:
    """Answers of a layer, of all linears that are called before it, and of those that share its input: what they gave."""
    own = linears[layer]
    answers: dict[nn.Linear, Answer] = {}
    before = True
    for other, call in linears.items():
        if before or call.inputs is own.inputs:
            answers[other] = _always(call.output)
        before = before and other is not layer
    return answers


def _besides(block: nn.Module, linears: Mapping[nn.Linear, LinearCall], dtype: torch.dtype) -> dict[nn.Linear, Answer]:
    """Answers ``y + W (x′ − x)`` of all linears whose rows are the same tokens in every variant."""
    if dtype is torch.float32:
        return {}
    routed = {layer for part in block.modules() if isinstance(part, RoutedExperts) for layer in part.modules()}
    return {layer: _beside(layer, call, dtype) for layer, call in linears.items() if layer not in routed}


def _always(output: Tensor) -> Answer:
    return lambda _: output


def _beside(layer: nn.Linear, call: LinearCall, dtype: torch.dtype) -> Answer:
    weight = layer.weight.to(dtype)
    return lambda inputs: call.output + linear((inputs - call.inputs).to(dtype), weight)
