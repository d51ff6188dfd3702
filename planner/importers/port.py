"""The port of every importer: from files of another tool to values in our words, free of torch and of the database."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from planner.grouping import Tying
from planner.importers.names import ModelNames
from planner.importers.source import SourceFile
from sensitivity.formats.candidate import CandidateFormat

OptionValue = int | str


@final
@dataclass(frozen=True, slots=True)
class ImportedCells:
    """Losses that another tool measured.

    Attributes:
        losses: layer → format → loss; what a file says of several layers together stands as shares that add up to it.
        parameters: provenance: what the file says of how it was made.
        additive: the tool itself adds the losses of different layers.
        measured_together: which layers the file says something of only together, so that a plan must give them one format.
        skipped: names of the file that are no layers here (embedding, routers).
        notes: what was assumed, in words.
    """

    losses: Mapping[str, Mapping[CandidateFormat, float]]
    parameters: Mapping[str, float | int | str]
    additive: bool
    measured_together: Tying = Tying.FREE
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class ImportedAssignment:
    """A decision of another tool.

    Attributes:
        formats: layer → format.
        notes: what was assumed, in words.
    """

    formats: Mapping[str, CandidateFormat]
    notes: tuple[str, ...] = ()


@final
@dataclass(frozen=True, slots=True, eq=False)
class ImportedMoments:
    """Second moments of layers' inputs: no loss, but with the weights at hand one can be made of them.

    Attributes:
        moments: layer → float64 (in,): E[x²] of each input over the tokens that reached the layer.
        silent: layers that no token reached.
        parameters: provenance.
        skipped: names of the file that are no layers here.
    """

    moments: Mapping[str, NDArray[np.float64]]
    silent: tuple[str, ...] = ()
    parameters: Mapping[str, float | int | str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()


Imported = ImportedCells | ImportedAssignment | ImportedMoments


class AbstractImporter(ABC):
    """Reads the files of one tool. Concrete importers are final and without state.

    Attributes:
        name: key in the registry; the cells' probe is ``imported_<name>``.
        tool: what the tool calls itself.
        version: raised whenever the same file would give other values; part of a cell's identity.
        options: what the user may say because the file does not, with the tool's own defaults.
        rounding: how the tool's weights reached the grid, in the name of the nearest of our methods.
    """

    name: ClassVar[str]
    tool: ClassVar[str]
    version: ClassVar[int]
    options: ClassVar[Mapping[str, OptionValue]] = {}
    rounding: ClassVar[str] = "rtn"

    @abstractmethod
    def detects(self, file: SourceFile) -> bool:
        """Whether the file looks like this tool's. Never raises, whatever the content."""

    @abstractmethod
    def read(self, files: Sequence[SourceFile], names: ModelNames, options: Mapping[str, OptionValue]) -> Imported:
        """What the files say of the model.

        Args:
            files: one at least.
            names: layers of the model and what else may be named.
            options: all of ``self.options``, as the user wants them.

        Raises:
            InvalidImportError: the files are not what this tool writes, or are of another model; names file, key and advice.
        """
