"""The error tree of this package; every message says what to do.

SensitivityError
├── CheckpointError            a model source that cannot be registered or read
│   ├── SourceNotFoundError    no such directory, file or hub id
│   ├── NoWeightsError         a directory without safetensors or GGUF
│   ├── CorruptCheckpointError a header or a shard that cannot be read, or weights that are not finite
│   ├── UnknownArchitectureError
│   ├── AlreadyQuantizedError  the weights are stored quantized: nothing is left to plan
│   └── ModelChangedError      the files differ from what was registered
├── FormatError
│   ├── UnknownFormatError
│   └── UnsupportedShapeError  a format that cannot store a tensor of this shape
├── CalibrationError           empty text, too few tokens
├── NonFiniteError             a measurement that is NaN or infinite
├── LinkError                  too few cells for a link, or losses that foretell nothing of the exact ones
├── ScratchSpaceError          a temporary file that cannot be written
├── TooManyProductsError       a run whose score products would not fit in memory
└── UnknownProbeError          no such probe, or a hyper-parameter that it does not have
"""


class SensitivityError(Exception):
    """Root of everything this package raises on purpose."""


class CheckpointError(SensitivityError):
    """A model source that cannot be registered or read."""


class SourceNotFoundError(CheckpointError):
    """No such directory, file or hub id."""


class NoWeightsError(CheckpointError):
    """The source holds neither safetensors nor GGUF."""


class CorruptCheckpointError(CheckpointError):
    """A header or a shard cannot be read, or the weights are not finite."""


class UnknownArchitectureError(CheckpointError):
    """No family of this package knows the architecture."""


class AlreadyQuantizedError(CheckpointError):
    """The weights are stored quantized: nothing is left to plan."""


class ModelChangedError(CheckpointError):
    """The files on disk differ from what was registered."""


class FormatError(SensitivityError):
    """A candidate format that cannot be used as asked."""


class UnknownFormatError(FormatError):
    """No candidate format has this name."""


class UnsupportedShapeError(FormatError):
    """The format cannot store a tensor of this shape."""


class CalibrationError(SensitivityError):
    """The text gives no usable calibration set."""


class NonFiniteError(SensitivityError):
    """A measurement is NaN or infinite."""


class ScratchSpaceError(SensitivityError):
    """A temporary file cannot be written."""


class TooManyProductsError(SensitivityError):
    """The score products of the run would not fit in memory."""


class LinkError(SensitivityError):
    """Too few cells for a link, or losses that foretell nothing of the exact ones."""


class UnknownProbeError(SensitivityError):
    """No probe has this name, or the probe does not have this hyper-parameter."""
