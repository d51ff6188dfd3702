"""KL of the next token with one layer changed, measured by running the rest of the model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch

from sensitivity.memory_forecast import FEW_CELLS
from sensitivity.probe_facts import KL, ProbeFacts
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit, block_and_sequence_units, with_silent_sequences
from sensitivity.probes.rounding_errors import DTYPES, KEPT_BYTES
from sensitivity.probes.single_changes import VARIANT_BYTES, SingleChanges, walks
from sensitivity.probes.weight_changes import sequence_statistics, weight_changes
from sensitivity.statistics import Statistics

UNIT_SEQUENCES: Final = 4
"""Sequences of a unit."""
ALL_BLOCKS: Final = -1
"""Stands for the block in a unit of all cells of a run on a sequence."""
_Layers = Sequence[tuple[int, str]]


@final
@dataclass(frozen=True, slots=True)
class KLDivergence(AbstractProbe):
    """KL(reference ‖ model with only layer l in format k) of the next token: nats per token, full vocabulary.

    What ``fisher`` estimates, measured: all orders in ΔW are in it, and no labels are drawn. A sample is the mean over the
    tokens of a sequence. Each cell is exact by itself; losses of different layers add up to the loss of a plan as those of
    ``fisher`` do: as far as cross terms and higher orders are small.

    **Mixtures.** A sequence that sends no token to an expert is a sample of zero for it. A unit counts only the sequences that
    reached the layer, and ``completed`` counts the others once the whole run is in: an expert that no sequence reached keeps
    count 0.

    Units: a block × four sequences, in the order of the sequences; a block more stands for the head. A unit that follows the
    one of the block before goes on from its hidden states, others start at the embeddings. Cost: for each cell and
    sequence, the part of the model behind the layer (``last_hidden``) and the head (``divergences``); for each unit, one pass of
    the reference. A cell whose ΔW is zero adds nothing. A job for few named cells of a model in memory has units of all its
    cells on one sequence, with one pass of the reference through the model and the head for all of them, and the same bits.
    Memory: the model, the states of one sequence for the cells of a block (up to 1 GiB), inputs and outputs of one block's
    linears, the head once more in bfloat16, and ΔW of all cells (up to 4 GiB, else rounded anew for each unit, of few named cells
    1 GiB at a time, with a pass of the reference for each).

    Attributes:
        arithmetic: of the products of changes: ΔW with the layer's input, W with the change of a later layer's input, the head
            with the change of the last hidden state. The reference, and all that is not a product with a weight, is float32.
            ``bfloat16`` (accumulated in float32) changes a cell by less than half a percent, and takes two thirds of the time
            where the processor has it.
    """

    facts: ClassVar[ProbeFacts] = KL

    arithmetic: str = "bfloat16"

    def units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """Block and sequences of each unit: all blocks of the first sequences, then those of the next."""
        return block_and_sequence_units(blocks, sequences, UNIT_SEQUENCES)

    def cell_units(self, *, blocks: int, sequences: int, cells: int) -> list[Unit]:
        """Few cells: all of them on a sequence, for each sequence."""
        if cells > FEW_CELLS * (blocks + 1):
            return self.units(blocks=blocks, sequences=sequences)
        return [Unit(f"{sequence:06d}", (ALL_BLOCKS, sequence)) for sequence in range(sequences)]

    @torch.no_grad()
    def run(self, run: ProbeRun, unit: Unit) -> Statistics:
        """Measure the layers of one block, or of all, on some sequences; the indices are the block's, then the sequences'.

        Raises:
            CalibrationError: the run has no tokens.
            CorruptCheckpointError: a weight is NaN or infinite.
        """
        block, *sequences = unit.indices
        result = run.no_statistics()
        if block == ALL_BLOCKS:
            for sequence in sequences:
                result += self._of_all_blocks(run, sequence)
            return result
        layers = run.layers_of_block(block)
        if layers:
            cells = weight_changes(run, layers, self.arithmetic)
            standing = walks(run, sequences)
            for walk in standing:
                walk.to(block)
            for reached, samples in SingleChanges(run, self.arithmetic).measure_each(standing, list(cells.values())):
                result += sequence_statistics(run, layers, reached, dict(zip(cells, samples.tolist(), strict=True)))
        return result

    def _of_all_blocks(self, run: ProbeRun, sequence: int) -> Statistics:
        """Measure all cells of the run on one sequence."""
        blocks = [(block, run.layers_of_block(block)) for block in range(len(run.model.blocks) + 1)]
        wanted = {block: layers for block, layers in blocks if any(run.storable(name) for _, name in layers)}
        result = run.no_statistics()
        for part in _in_parts(run, wanted, DTYPES[self.arithmetic].itemsize):
            result += self._of_blocks(run, part, sequence)
        return result

    def _of_blocks(self, run: ProbeRun, wanted: Mapping[int, _Layers], sequence: int) -> Statistics:
        cells = {block: weight_changes(run, layers, self.arithmetic) for block, layers in wanted.items()}
        (walk,) = walks(run, [sequence])
        changes = {block: list(found.values()) for block, found in cells.items()}
        reached, samples = SingleChanges(run, self.arithmetic).measure_blocks(walk, changes)
        places = [cell for found in cells.values() for cell in found]
        layers = [layer for of_block in wanted.values() for layer in of_block]
        return sequence_statistics(run, layers, reached, dict(zip(places, samples.tolist(), strict=True)))

    def completed(self, merged: Statistics, *, sequences: int) -> Statistics:
        """Count the sequences that sent no token to an expert: each is a sample of zero, if any sequence reached it."""
        return with_silent_sequences(merged, sequences)


def _in_parts(run: ProbeRun, wanted: Mapping[int, _Layers], element_bytes: int) -> Iterator[dict[int, _Layers]]:
    """Blocks whose ΔW are in memory together: all of them if they stay there for the next sequence, else some at a time."""
    sizes = {block: element_bytes * _changed(run, layers) for block, layers in wanted.items()}
    most = KEPT_BYTES if sum(sizes.values()) <= KEPT_BYTES else VARIANT_BYTES
    part: dict[int, _Layers] = {}
    for block, layers in wanted.items():
        if part and sum(sizes[known] for known in part) + sizes[block] > most:
            yield part
            part = {}
        part[block] = layers
    if part:
        yield part


def _changed(run: ProbeRun, layers: _Layers) -> int:
    """Elements of the ΔW of all cells of some layers."""
    return sum(len(run.storable(name)) * run.model.linears[name].weight.numel() for _, name in layers)
