"""The port of every probe: a map-reduce over units."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic

import numpy as np
import torch
from numpy.typing import NDArray

from sensitivity.errors import CalibrationError, CheckpointError
from sensitivity.formats.candidate import FormatT
from sensitivity.loading import LoadedModel
from sensitivity.probe_facts import ProbeFacts
from sensitivity.statistics import Statistics, summed


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest piece of a probe run that is done or not done.

    Attributes:
        key: unique within the run, sortable; results are merged in the order of keys.
        indices: blocks or sequences that the unit covers, as the probe defines.
    """

    key: str
    indices: tuple[int, ...]


@dataclass(slots=True)
class ProbeRun(Generic[FormatT]):
    """Everything the units of one run share; a worker keeps it between units.

    Attributes:
        model: the loaded model.
        layers: names of the layers to measure, first axis of the statistics.
        formats: formats to measure, second axis of the statistics.
        rounding: name of the rounding method.
        tokens: int64 calibration tokens of shape ``(sequences, sequence_length)``; ``None`` where neither probe nor rounding
            method runs on text.
        seed: seed of everything random in the run.
        cells: names of the formats to measure each layer in; ``None`` for all layers in all formats.
        around: the plan that a probe with ``around_plan`` measures around, layer to format; its formats are among ``formats``.
        cache: what a probe wants to keep between units of this process (rounding errors, hidden states at a block's door).
    """

    model: LoadedModel
    layers: Sequence[str]
    formats: Sequence[FormatT]
    rounding: str
    tokens: torch.Tensor | None
    seed: int
    cells: Mapping[str, Collection[str]] | None = None
    around: Mapping[str, FormatT] = field(default_factory=dict)
    cache: dict[str, Any] = field(default_factory=dict)

    @property
    def calibration_tokens(self) -> torch.Tensor:
        """The tokens.

        Raises:
            CalibrationError: the run has none.
        """
        if self.tokens is None or self.tokens.numel() == 0:
            msg = "this probe runs on text; give the run a calibration set"
            raise CalibrationError(msg)
        return self.tokens

    def storable(self, layer: str) -> list[int]:
        """Indices of the formats that concern the layer, can store it and are asked for; its other cells keep count 0."""
        asked = None if self.cells is None else self.cells.get(layer, ())
        linear, kind = self.model.linears[layer], layer.rsplit(".", 1)[-1]
        shape = (linear.out_features, linear.in_features)
        there = [k for k, fmt in enumerate(self.formats) if asked is None or fmt.name in asked]
        return [k for k in there if self.formats[k].concerns(kind) and self.formats[k].refusal(shape) is None]

    def layers_of_block(self, block: int) -> list[tuple[int, str]]:
        """Index and name of the layers to measure in a block; ``len(model.blocks)`` stands for those outside all blocks."""
        wanted = None if block == len(self.model.blocks) else block
        return [(i, name) for i, name in enumerate(self.layers) if self.model.block_of(name) == wanted]

    def no_statistics(self) -> Statistics:
        """Statistics of shape ``(layers, formats, 3)`` without a sample."""
        return np.zeros((len(self.layers), len(self.formats), 3))


class AbstractProbe(ABC, Generic[FormatT]):
    """One measurement procedure. Concrete probes are final, frozen, and hold only hyper-parameters.

    Class attributes:
        facts: name, version, unit and hyper-parameters, as planning knows them.
    """

    facts: ClassVar[ProbeFacts]

    @abstractmethod
    def units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """All units of a run over a model of ``blocks`` blocks and a calibration set of ``sequences`` sequences."""

    def streamed_units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """All units of a run over a model whose blocks are read one at a time: those of ``units``, unless reading has to pay.

        The numbers of a run do not depend on how it is cut into units, but for the order of float64 sums.
        """
        return self.units(blocks=blocks, sequences=sequences)

    def cell_units(self, *, blocks: int, sequences: int, cells: int) -> list[Unit]:
        """All units of a run over so many named cells of a model in memory: those of ``units``, unless few cells ask for others.

        The numbers of a run do not depend on how it is cut into units, but for the order of float64 sums.
        """
        return self.units(blocks=blocks, sequences=sequences)

    @abstractmethod
    def run(self, run: ProbeRun[FormatT], unit: Unit) -> Statistics:
        """Measure one unit: float64 statistics of shape ``(layers, formats, 3)``; cells it does not touch are zero.

        A probe with a ``merge`` of its own may have more columns.
        """

    def merge(self, results: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """One result of all units', at least one, in the order of their keys: the sum, unless the probe keeps samples apart."""
        return summed(results)

    def products(self, merged: NDArray[np.float64]) -> NDArray[np.float32] | None:
        """What is kept beside the cells: score products (layers, formats, sequences, draws), or nothing."""
        return None

    def point(self, merged: NDArray[np.float64]) -> Statistics | None:
        """Statistics (3,) of the loss of the plan that was measured around, for a probe with ``around_plan``."""
        return None

    def completed(self, merged: Statistics, *, sequences: int) -> Statistics:
        """Statistics of the whole run from all units' results; most probes have nothing to add.

        Args:
            merged: ``merge`` of all units of the run.
            sequences: sequences of the calibration set, 0 without one.
        """
        return merged

    @property
    def parameters(self) -> Mapping[str, float | int | str]:
        """Hyper-parameters that change the numbers; part of a cell's identity."""
        return {name: getattr(self, name) for name in self.facts.allowed}


def block_units(blocks: int) -> list[Unit]:
    """A unit for each block, and a last one for the layers outside all blocks."""
    return [Unit(key=f"{index:06d}", indices=(index,)) for index in range(blocks + 1)]


def sequence_units(sequences: int, size: int) -> list[Unit]:
    """Chunks of ``size`` sequences."""
    starts = range(0, sequences, size)
    return [Unit(f"{start:06d}", tuple(range(start, min(start + size, sequences)))) for start in starts]


def block_and_sequence_units(blocks: int, sequences: int, size: int) -> list[Unit]:
    """Block and ``size`` sequences of each unit: all blocks of the first sequences, then those of the next.

    A block more stands for the layers outside all blocks; the indices are the block's, then the sequences'.
    """
    return [
        Unit(f"{first:06d}-{block:06d}", (block, *range(first, min(first + size, sequences))))
        for first in range(0, sequences, size)
        for block in range(blocks + 1)
    ]


def with_silent_sequences(merged: Statistics, sequences: int) -> Statistics:
    """Count the sequences that sent no token to an expert: each is a sample of zero, if any sequence reached it."""
    result = merged.copy()
    result[..., 0] = np.where(merged[..., 0] > 0, float(sequences), 0.0)
    return result


def sample_statistics(run: ProbeRun[Any], samples: NDArray[np.float64], reached: NDArray[np.bool_]) -> Statistics:
    """Statistics of a sample a sequence, shape (layers, formats, 3), of the cells that are asked for and can be stored.

    Args:
        run: layers and formats.
        samples: (sequences, layers, formats); zero where the layer saw no token.
        reached: whether it saw one, of the same shape.
    """
    result = run.no_statistics()
    for index, name in enumerate(run.layers):
        storable = run.storable(name)
        result[index, storable, 0] = reached[:, index, storable].sum(axis=0)
        result[index, storable, 1] = samples[:, index, storable].sum(axis=0)
        result[index, storable, 2] = np.square(samples[:, index, storable]).sum(axis=0)
    return result


def refuse_streamed(run: ProbeRun[Any], probe: str) -> None:
    """For probes that need all weights at once.

    Raises:
        CheckpointError: the model's blocks are streamed.
    """
    if run.model.is_streamed:
        msg = f"the probe {probe} needs the whole model in memory; set streaming to never, or use fisher"
        raise CheckpointError(msg)
