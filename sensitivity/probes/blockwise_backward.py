"""Forward and backward passes block by block, for a model whose blocks are in memory one at a time."""

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from io import FileIO

import numpy as np
import torch
from torch import Tensor

from sensitivity.errors import ScratchSpaceError
from sensitivity.loading import LoadedModel
from sensitivity.probes.block_walk import BlockCall, batches_of, enter, leave

Watching = Callable[[int, slice], AbstractContextManager[Callable[[int], None]]]
"""Entered while a block is run with gradients on some sequences: called with both, gives what is told each draw in turn."""

AtEnd = Callable[[Tensor, slice], Tensor]
"""Gradients (draws, sequences, length, hidden) at the last hidden states (sequences, length, hidden) of some sequences."""


@dataclass(slots=True)
class _Batch:
    """Some sequences: first their states at the door of a block, then their gradients there."""

    sequences: slice
    states: Tensor
    calls: list[BlockCall]
    gradients: Tensor = field(default_factory=lambda: torch.empty(0))

    def pull(self, output: Tensor, door: Tensor, starting: Callable[[int], None]) -> None:
        """Take the gradients of all draws from the output back to the door, which may be of another width (OPT's projections)."""
        draws, same = len(self.gradients), output.shape == door.shape
        behind = self.gradients if same else self.gradients.new_empty((draws, *door.shape))
        for draw, gradient in enumerate(self.gradients):
            starting(draw)
            found = torch.autograd.grad(output, door, gradient, retain_graph=draw + 1 < draws)
            behind[draw].copy_(found[0])
        self.gradients = behind


@torch.no_grad()
def backward_by_blocks(model: LoadedModel, tokens: Tensor, *, down_to: int, at_end: AtEnd, watching: Watching) -> None:
    """One forward pass, and a backward pass for each draw, with the graph of one block and one batch in memory.

    Going forward, the hidden states at the door of every block are written to a temporary file. Going back, each block is run
    again from there with gradients, and the gradients of all draws go through it. The operations on a batch are those of a pass
    through the whole model, in the same order. A streamed model reads each block twice.

    The file (``sequences × length × hidden × 4`` bytes a block) is written and read, not mapped: pages of a map would count as
    the process's memory. It is where ``tempfile`` makes it (``TMPDIR``) and goes with the process, also when that is killed.

    Args:
        model: the model.
        tokens: int64 (sequences, length).
        down_to: the first block that is needed; the passes end at its door.
        at_end: called with the last hidden states of each batch.
        watching: entered around each block and batch on the way back, from the last block to the first.

    Raises:
        ScratchSpaceError: the temporary file cannot be written.
        CorruptCheckpointError: a block cannot be read.
    """
    batches = [_Batch(part, *enter(model, tokens[part])) for part in batches_of(tokens)]
    with ExitStack() as stack:
        doors = _Doors(stack.enter_context(tempfile.TemporaryFile(buffering=0, prefix="bitplan-doors-")), len(tokens))
        for index in range(len(model.blocks)):
            block = model.block(index)
            for batch in batches:
                if index >= down_to:
                    doors.write(index - down_to, batch)
                batch.states = batch.calls[index].through(block, batch.states)
        for batch in batches:
            _turn(model, tokens[batch.sequences], batch, at_end)
        for index in reversed(range(down_to, len(model.blocks))):
            block = model.block(index)
            for batch in batches:
                door = doors.read(index - down_to, batch)
                with torch.enable_grad(), watching(index, batch.sequences) as starting:
                    batch.pull(batch.calls[index].through(block, door.requires_grad_()), door, starting)


def _turn(model: LoadedModel, tokens: Tensor, batch: _Batch, at_end: AtEnd) -> None:
    """From the states behind the last block to the gradients there."""
    with torch.enable_grad():
        door = batch.states.requires_grad_()
        hidden = leave(model, tokens, door)
        batch.gradients = at_end(hidden, batch.sequences)
        batch.pull(hidden, door, lambda _: None)
    batch.states = torch.empty(0)


@dataclass(frozen=True, slots=True)
class _Doors:
    """Hidden states at doors, float32, door by door and sequence by sequence in a file without a buffer."""

    file: FileIO
    sequences: int

    def write(self, door: int, batch: _Batch) -> None:
        states = batch.states.contiguous()
        try:
            self._seek(door, batch, states[0].nbytes)
            rest = states.numpy().data.cast("B")
            while rest:
                rest = rest[self.file.write(rest) :]
        except OSError as error:
            where = f"hidden states cannot be written to a temporary file in {tempfile.gettempdir()} ({error.strerror or error})"
            msg = f"{where}; free space there, or set TMPDIR to a folder on a larger disk"
            raise ScratchSpaceError(msg) from error

    def read(self, door: int, batch: _Batch) -> Tensor:
        shape = batch.gradients.shape[1:]
        self._seek(door, batch, shape[1:].numel() * 4)
        return torch.from_numpy(np.fromfile(self.file, dtype=np.float32, count=shape.numel())).view(shape)

    def _seek(self, door: int, batch: _Batch, sequence_bytes: int) -> None:
        self.file.seek((door * self.sequences + batch.sequences.start) * sequence_bytes)
