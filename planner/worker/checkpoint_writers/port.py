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
from sensitivity.writing import Files


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
        file_bytes: what the files of weights are to come to, as the plan says; ``None`` where it does not.
    """

    description: ModelDescription
    state: Mapping[str, Tensor]
    config: Mapping[str, Any]
    companions: Sequence[Path]
    assignment: Mapping[str, CandidateFormat]
    exported: Json
    runtime: RuntimeProfile
    rounding: LayerRounding
    file_bytes: int | None = None

    @property
    def files(self) -> Files:
        """The files of weights; what is not planned is kept in the dtype that it is counted in."""
        return Files(dtype=self.description.dtype, total_bytes=self.file_bytes)


class AbstractCheckpointWriter(ABC):
    """Writes what one target loads. Concrete writers are final and without state."""

    target: ClassVar[str]

    def check(self, description: ModelDescription) -> None:  # noqa: B027  (most targets write every model)
        """Refuse a model that cannot be written, before its weights are rounded; by default none.

        Raises:
            CheckpointError: its configuration or its tokenizer is none that the target can have.
        """

    @abstractmethod
    def write(self, planned: PlannedCheckpoint, directory: Path) -> Path:
        """Write the checkpoint into a new directory; nothing is left behind when it fails.

        Returns:
            The directory.

        Raises:
            CheckpointError: the directory is in use or cannot be written, or the files would be larger than the plan says.
            ExportError: the target cannot store what was planned.
        """
