"""The port of every probe: a map-reduce over units."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from sensitivity.formats.candidate import CandidateFormat
from sensitivity.loading import LoadedModel
from sensitivity.statistics import Statistics


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
class ProbeRun:
    """Everything the units of one run share; a worker keeps it between units.

    Attributes:
        model: the loaded model.
        layers: names of the layers to measure, first axis of the statistics.
        formats: candidate formats to measure, second axis of the statistics.
        rounding: rounding method (``rtn``).
        tokens: int64 calibration tokens of shape ``(sequences, sequence_length)``; ``None`` for probes without data.
        seed: seed of everything random in the run.
        cache: what a probe wants to keep between units of this process (rounded weights, activations at a block's door).
    """

    model: LoadedModel
    layers: Sequence[str]
    formats: Sequence[CandidateFormat]
    rounding: str
    tokens: torch.Tensor | None
    seed: int
    cache: dict[str, object] = field(default_factory=dict)


class AbstractProbe(ABC):
    """One measurement procedure. Concrete probes are final and hold only hyper-parameters.

    Class attributes:
        name: key in the registry and in the cells.
        code_version: raised whenever the numbers would change; part of a cell's identity.
        in_nats: the loss is in nats per token.
        additive: losses of different layers may be added.
        needs_calibration: the probe runs on tokens.
    """

    name: ClassVar[str]
    code_version: ClassVar[int]
    in_nats: ClassVar[bool]
    additive: ClassVar[bool]
    needs_calibration: ClassVar[bool]

    @abstractmethod
    def units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """All units of a run over a model of ``blocks`` blocks and a calibration set of ``sequences`` sequences."""

    @abstractmethod
    def run(self, run: ProbeRun, unit: Unit) -> Statistics:
        """Measure one unit: float64 statistics of shape ``(layers, formats, 3)``; cells it does not touch are zero."""

    @property
    def parameters(self) -> Mapping[str, float | int | str]:
        """Hyper-parameters that change the numbers; part of a cell's identity."""
        return {}
