"""Error curves as planning reads them: arrays over layers and formats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic

import numpy as np
from numpy.typing import NDArray

from sensitivity.formats.candidate import FormatT
from sensitivity.statistics import CellStatus

Indices = Sequence[int]
_USUAL: Final = max(len(status) for status in CellStatus if status is not CellStatus.UNSUPPORTED_SHAPE)


@dataclass(frozen=True, slots=True)
class Curves(Generic[FormatT]):
    """The cells of one probe setting.

    Attributes:
        layers: layer names, first axis.
        formats: candidate formats, second axis.
        loss: float64 (layers, formats); NaN where there is no number.
        standard_error: float64 (layers, formats); NaN where unknown.
        status: ``CellStatus`` values as text (layers, formats); empty text where nobody measured.
    """

    layers: tuple[str, ...]
    formats: tuple[FormatT, ...]
    loss: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    status: NDArray[np.str_]

    @property
    def bytes(self) -> int:
        """Memory of the arrays."""
        return self.loss.nbytes + self.standard_error.nbytes + self.status_bytes

    @property
    def status_bytes(self) -> int:
        """Memory of the statuses alone."""
        return self.status.itemsize if self.status.strides == (0, 0) else self.status.nbytes

    def freeze(self) -> None:
        """Make the arrays read-only, here and in every part that is taken from now on."""
        for array in (self.loss, self.standard_error, self.status):
            array.setflags(write=False)

    def packed(self) -> "Curves[FormatT]":
        """The same curves with shorter texts of the statuses, where none needs the longest; one text if all are alike."""
        if self.status.size and (self.status == self.status.flat[0]).all():
            return replace(self, status=np.broadcast_to(self.status.flat[0], self.status.shape))
        if (self.status == CellStatus.UNSUPPORTED_SHAPE).any():
            return self
        return replace(self, status=self.status.astype(f"<U{_USUAL}"))

    def part(self, rows: Indices, columns: Indices) -> "Curves[FormatT]":
        """The curves of some layers in some formats, by their places on both axes; neighbours in order share the memory."""
        first, second = _places(rows), _places(columns)
        return Curves(
            tuple(self.layers[i] for i in rows),
            tuple(self.formats[k] for k in columns),
            self.loss[first][:, second],
            self.standard_error[first][:, second],
            self.status[first][:, second],
        )

    def beside(self, other: "Curves[FormatT]") -> "Curves[FormatT]":
        """These formats and, behind them, another's, of the same layers."""
        return Curves(
            self.layers,
            (*self.formats, *other.formats),
            np.hstack([self.loss, other.loss]),
            np.hstack([self.standard_error, other.standard_error]),
            np.hstack([self.status, other.status]),
        )

    def with_exact_formats(self, dtype: str) -> "Curves[FormatT]":
        """The same curves, where a format that keeps the model's own dtype costs nothing, unless it was measured."""
        names = {"bfloat16": "BF16", "float16": "FP16"}
        columns = [k for k, fmt in enumerate(self.formats) if fmt.name == names.get(dtype)]
        if not columns:
            return self
        missing = self.status[:, columns] == ""
        if not missing.any():
            return self
        loss, error = self.loss.copy(), self.standard_error.copy()
        status = self.status.astype(np.promote_types(self.status.dtype, f"<U{len(CellStatus.MEASURED)}"))
        unknown = np.zeros(loss.shape, dtype=bool)
        unknown[:, columns] = missing
        loss[unknown], error[unknown], status[unknown] = 0.0, 0.0, CellStatus.MEASURED
        return replace(self, loss=loss, standard_error=error, status=status)


def _places(indices: Indices) -> slice | list[int]:
    """A slice where the places are neighbours in order: numpy copies nothing then."""
    places = list(indices)
    if not places or places != list(range(places[0], places[0] + len(places))):
        return places
    return slice(places[0], places[0] + len(places))


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A plan that cells were measured around, and its own loss.

    Attributes:
        layers: format of each layer, by names.
        loss: nats per token, measured on the text that the cells were measured on.
        standard_error: over sequences; NaN with a single one.
    """

    layers: Mapping[str, str]
    loss: float
    standard_error: float
