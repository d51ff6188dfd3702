"""Codes of layers on disk: what a model that does not fit in memory keeps of a rounding method with data."""

import shutil
import tempfile
import weakref
from collections.abc import Iterator, MutableMapping
from itertools import count
from pathlib import Path
from typing import Final

from safetensors import SafetensorError
from safetensors.torch import load, save_file

from sensitivity.errors import ScratchSpaceError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.rounding.codec import Encoded, Scaling

Cell = tuple[str, CandidateFormat]
"""Layer and format."""

_CODES: Final = "codes"
_SCALING: Final = ("stored", "effective", "zero_point", "global_scale")
_PREFIX: Final = "bitplan-codes-"


class SpilledCodes(MutableMapping[Cell, Encoded]):
    """A dictionary of encoded layers whose tensors are files in a temporary folder, which goes when this object goes.

    The folder is where ``tempfile`` makes it (``TMPDIR``): about a byte for each weight and format.

    Raises:
        ScratchSpaceError: the folder is full or cannot be written.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._numbers = count()
        self._files: dict[Cell, tuple[Path, tuple[int, int]]] = {}

    def __getitem__(self, cell: Cell) -> Encoded:
        path, shape = self._files[cell]
        parts = load(path.read_bytes())  # not mapped: the file may be written again
        codes = parts.pop(_CODES)
        return Encoded(cell[1], shape, codes, Scaling(**parts) if parts else None)

    def __setitem__(self, cell: Cell, encoded: Encoded) -> None:
        path = self._files[cell][0] if cell in self._files else self._folder / f"{next(self._numbers)}.safetensors"
        scaling = encoded.scaling
        parts = {} if scaling is None else {name: getattr(scaling, name) for name in _SCALING}
        stored = {name: part.clone() for name, part in parts.items() if part is not None}
        try:
            save_file(stored | {_CODES: encoded.codes.contiguous()}, path)
        except (OSError, SafetensorError) as error:
            path.unlink(missing_ok=True)
            where = f"the codes of {cell[0]} cannot be written to {self._folder} ({error})"
            msg = f"{where}; free space there, or set TMPDIR to a folder on a larger disk"
            raise ScratchSpaceError(msg) from error
        self._files[cell] = path, encoded.shape

    def __delitem__(self, cell: Cell) -> None:
        path, _ = self._files.pop(cell)
        path.unlink(missing_ok=True)

    def __iter__(self) -> Iterator[Cell]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)
