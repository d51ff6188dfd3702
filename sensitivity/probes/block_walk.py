"""Walking a model block by block: hidden states wait at the door of a block for all batches at once."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from sensitivity.loading import LoadedModel
from sensitivity.next_token import hidden_states
from sensitivity.probes.base import ProbeRun

BATCH_TOKENS: Final = 2048
"""Tokens of a forward pass, unless a single sequence is longer."""

Watching = Callable[[nn.Module, slice], AbstractContextManager[None]]
"""What is entered while a block runs on a batch: called with the block and the sequences of the batch."""


def batches_of(tokens: Tensor) -> Iterator[slice]:
    """Sequences of each batch."""
    step = max(1, BATCH_TOKENS // tokens.shape[1])
    for first in range(0, len(tokens), step):
        yield slice(first, min(first + step, len(tokens)))


@dataclass(frozen=True, slots=True)
class BlockCall:
    """What a model passes to a block beside the hidden states: masks, positions. The same whatever the states are.

    Attributes:
        arguments: positional arguments after the states.
        keywords: keyword arguments.
    """

    arguments: tuple[Any, ...]
    keywords: dict[str, Any]

    def through(self, block: nn.Module, states: Tensor) -> Tensor:
        """What the block makes of the states."""
        found: Tensor = block(states, *self.arguments, **self.keywords)
        return found


@dataclass(slots=True)
class _Batch:
    sequences: slice
    states: Tensor
    calls: list[BlockCall]


class BlockWalk:
    """Hidden states of a whole run at the door of one block.

    Units that follow each other cost one forward pass together. A unit that is run alone, or out of order, starts again at the
    embeddings and goes through the same operations on the same batches, so it finds the same bits. All batches go through a block
    before the next one is asked for, so that a streamed model reads each block once.

    Attributes:
        block: index of the block whose door the states are at.
    """

    def __init__(self, model: LoadedModel, tokens: Tensor) -> None:
        self.block = 0
        self._model = model
        self._tokens = tokens
        self._batches = self._start()

    @classmethod
    def of(cls, run: ProbeRun[Any]) -> "BlockWalk":
        """The walk of this run, kept in its cache."""
        if "block walk" not in run.cache:
            run.cache["block walk"] = cls(run.model, run.calibration_tokens)
        found: BlockWalk = run.cache["block walk"]
        return found

    @torch.no_grad()
    def cross(self, block: int, watching: Watching) -> None:
        """Go to the door of a block, then through it, batch by batch, and on to the next door.

        Args:
            block: index of the block.
            watching: entered while the block runs on each batch.
        """
        self._go_to(block)
        self._advance(watching)

    @torch.no_grad()
    def leave(self, watching: Watching, receive: Callable[[Tensor, slice], None]) -> None:
        """Go behind the last block, and from there to the last hidden states, batch by batch.

        Args:
            watching: entered with the whole model while what lies outside the blocks runs on each batch.
            receive: called within it, with the last hidden states (sequences, length, hidden) and their sequences.
        """
        self._go_to(len(self._model.blocks))
        for batch in self._batches:
            with watching(self._model.module, batch.sequences):
                receive(leave(self._model, self._tokens[batch.sequences], batch.states), batch.sequences)

    def _go_to(self, block: int) -> None:
        if block < self.block:
            self.block, self._batches = 0, self._start()
        while self.block < block:
            self._advance(lambda *_: contextlib.nullcontext())

    def _advance(self, watching: Watching) -> None:
        """Through one block with all batches; after an exception the states are still at the door that they were at."""
        block = self._model.block(self.block)
        behind = []
        for batch in self._batches:
            with watching(block, batch.sequences):
                behind.append(batch.calls[self.block].through(block, batch.states))
        for batch, states in zip(self._batches, behind, strict=True):
            batch.states = states
        self.block += 1

    @torch.no_grad()
    def _start(self) -> list[_Batch]:
        return [_Batch(part, *enter(self._model, self._tokens[part])) for part in batches_of(self._tokens)]


def enter(model: LoadedModel, tokens: Tensor) -> tuple[Tensor, list[BlockCall]]:
    """States at the first block's door and the calls of all blocks, from a forward pass in which blocks do nothing."""
    calls: list[BlockCall] = []
    doors: list[Tensor] = []

    def skip(states: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        calls.append(BlockCall(arguments, keywords))
        doors.append(states)
        return states

    _with_blocks_as(skip, model, tokens)
    return doors[0], calls


def leave(model: LoadedModel, tokens: Tensor, states: Tensor) -> Tensor:
    """Last hidden states of the tokens when the last block gives these states, both of shape (sequences, length, hidden)."""
    return _with_blocks_as(lambda *_, **__: states, model, tokens)


def _with_blocks_as(stand_in: Callable[..., Tensor], model: LoadedModel, tokens: Tensor) -> Tensor:
    """Last hidden states of a forward pass in which every block does what the stand-in does."""
    try:
        for block in model.blocks:
            block.forward = stand_in
        return hidden_states(model.module, tokens)
    finally:
        for block in model.blocks:
            vars(block).pop("forward", None)
