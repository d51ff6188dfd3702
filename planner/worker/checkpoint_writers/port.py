"""The port of every checkpoint writer."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from planner.exports.target import Json
from planner.runtimes import RuntimeProfile
from sensitivity.checkpoint.description import ModelDescription
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.layer_rounding import LayerRounding


@dataclass(frozen=True, slots=True)
class PlannedCheckpoint:
    """A plan with the weights that it is for.

    Attributes:
        description: the registered checkpoint.
        state: its tensors by name; the weight of a layer is ``<layer>.weight``, (out, in) unless the module is a Conv1D.
        config: its ``config.json``, without an earlier ``quantization_config``.
        companions: files to copy beside the weights: tokenizer, generation settings.
        assignment: format of each planned layer by name.
        exported: the target's export of this assignment, read back and checked.
        runtime: the engine that the plan is for.
        rounding: codes of each planned layer as the plan's curves rounded it.
    """

    description: ModelDescription
    state: Mapping[str, Tensor]
    config: Mapping[str, Any]
    companions: Sequence[Path]
    assignment: Mapping[str, CandidateFormat]
    exported: Json
    runtime: RuntimeProfile
    rounding: LayerRounding


class AbstractCheckpointWriter(ABC):
    """Writes what one target loads. Concrete writers are final and without state."""

    target: ClassVar[str]

    @abstractmethod
    def write(self, planned: PlannedCheckpoint, directory: Path) -> Path:
        """Write the checkpoint into a new directory; nothing is left behind when it fails.

        Returns:
            The directory.

        Raises:
            CheckpointError: the directory is in use or cannot be written.
            ExportError: the target cannot store what was planned.
        """
