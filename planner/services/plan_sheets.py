"""What plans of one question are chosen from: layers, groups, sizes and losses, apart from what each plan chose of them.

Plans of one question repeat each other: names, sizes and losses of every layer, 78 kB of JSON for 224 layers. They are stored
once, as a sheet of arrays, and a plan keeps three small numbers a group.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json, to_json
from safetensors.numpy import load, save

from planner.build import Classes, GroupCurves
from planner.runtimes.profile import RuntimeProfile
from planner.solving import Solved

_STORED: Final = np.dtype("<u2")
_NAME_BYTES: Final = 100
_TEXTS: Final = ("model", "names", "kinds", "blocks", "formats")
_ARRAYS: Final = ("group_of_layer", "shape_of_layer", "layer_bits", "bits", "losses", "errors")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What one plan chose of its sheet.

    Attributes:
        columns: int64 (groups,): the format.
        above: int64 (groups,): the next format that helps, plus one; 0 where there is none.
        fragile: bool (groups,): another format would win if the losses moved by one standard error.
    """

    columns: NDArray[np.int64]
    above: NDArray[np.int64]
    fragile: NDArray[np.bool_]

    @classmethod
    def of(cls, solved: Solved, groups: int) -> "Chosen":
        """Of an answer; groups of caches come behind the ``groups`` of weights."""
        return cls(solved.proved.choice[:groups], solved.next_up[:groups] + 1, solved.fragile[:groups])

    def packed(self) -> bytes:
        """Six bytes a group."""
        return np.stack([self.columns, self.above, self.fragile]).astype(_STORED).tobytes()

    @classmethod
    def unpacked(cls, packed: bytes) -> "Chosen":
        """What ``packed`` gave."""
        columns, above, fragile = np.frombuffer(packed, dtype=_STORED).astype(np.int64).reshape(3, -1)
        return cls(columns, above, fragile.astype(np.bool_))


@dataclass(frozen=True)
class PlanSheet:
    """What the plans of one question are chosen from.

    Attributes:
        model: id of the model.
        names: of the planned layers, in model order.
        kinds: their kinds: q_proj, down_proj, …
        blocks: their transformer blocks; ``None`` outside of the blocks.
        formats: names of the candidate formats.
        group_of_layer: int64 (layers,): layers of one group share their format.
        shape_of_layer: int64 (layers,): row of ``layer_bits``; layers of one shape take the same bits.
        layer_bits: int64 (shapes, formats): exact stored bits; -1 where no layer of the shape may take the format.
        bits: int64 (groups, formats): exact stored bits of all layers of a group.
        losses: float64 (groups, formats): sum of their losses.
        errors: float64 (groups, formats): standard errors of ``losses``.
    """

    model: str
    names: Sequence[str]
    kinds: Sequence[str]
    blocks: Sequence[int | None]
    formats: Sequence[str]
    group_of_layer: NDArray[np.int64]
    shape_of_layer: NDArray[np.int64]
    layer_bits: NDArray[np.int64]
    bits: NDArray[np.int64]
    losses: NDArray[np.float64]
    errors: NDArray[np.float64]

    @classmethod
    def of(cls, model: str, classes: Classes, curves: GroupCurves, runtime: RuntimeProfile) -> "PlanSheet":
        """The sheet of a posed question, for an engine whose packing counts the bits."""
        shapes = {shape: row for row, shape in enumerate(dict.fromkeys(layer.shape for layer in classes.layers))}
        of_layer = np.array([shapes[layer.shape] for layer in classes.layers], dtype=np.int64)
        legal = np.zeros((len(shapes), len(classes.formats)), dtype=np.bool_)
        np.logical_or.at(legal, of_layer, classes.legal[classes.group_of_layer])
        sizes = np.full(legal.shape, -1, dtype=np.int64)
        for shape, row in shapes.items():
            for column in np.flatnonzero(legal[row]).tolist():
                sizes[row, column] = runtime.size_bits(classes.formats[column], shape)
        return cls(
            model,
            [layer.name for layer in classes.layers],
            [layer.kind for layer in classes.layers],
            [layer.block for layer in classes.layers],
            [fmt.name for fmt in classes.formats],
            classes.group_of_layer,
            of_layer,
            sizes,
            classes.sizes,
            curves.loss,
            curves.standard_error,
        )

    @cached_property
    def packed(self) -> bytes:
        """As it is stored: safetensors, with the names as its metadata."""
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        texts = {name: getattr(self, name) for name in _TEXTS}
        return save(arrays, metadata={"texts": to_json(texts).decode()})

    @classmethod
    def unpacked(cls, packed: bytes) -> "PlanSheet":
        """What ``packed`` gave."""
        length = int.from_bytes(packed[:8], "little")
        texts = from_json(from_json(packed[8 : 8 + length])["__metadata__"]["texts"])
        arrays: dict[str, Any] = load(packed)
        return cls(**{name: texts[name] for name in _TEXTS} | {name: arrays[name] for name in _ARRAYS})

    @cached_property
    def id(self) -> str:
        """A hash of the content."""
        return hashlib.sha256(self.packed).hexdigest()[:32]

    @cached_property
    def members(self) -> list[list[str]]:
        """Names of the layers of each group, in model order."""
        found: list[list[str]] = [[] for _ in range(len(self.bits))]
        for name, group in zip(self.names, self.group_of_layer.tolist(), strict=True):
            found[group].append(name)
        return found

    @property
    def bytes(self) -> int:
        """About what it takes in memory, packed and unpacked."""
        arrays = sum(int(getattr(self, name).nbytes) for name in _ARRAYS)
        return 2 * arrays + 3 * _NAME_BYTES * len(self.names)

    def fields(self, chosen: Chosen) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Fields of ``Choice`` of every layer and of ``GroupChoice`` of every group."""
        columns = chosen.columns[self.group_of_layer]
        return self.layer_fields(np.arange(len(columns)), columns), self.group_fields(np.arange(len(chosen.columns)), chosen)

    def layer_fields(self, layers: NDArray[np.int64], columns: NDArray[np.int64]) -> list[dict[str, Any]]:
        """Fields of ``Choice`` of some layers, each with the column of its format."""
        given = (layers, self.group_of_layer[layers], columns, self.layer_bits[self.shape_of_layer[layers], columns])
        return [
            {
                "layer": self.names[index],
                "kind": self.kinds[index],
                "block": self.blocks[index],
                "group": group,
                "format": self.formats[column],
                "size_bits": size,
            }
            for index, group, column, size in zip(*(part.tolist() for part in given), strict=True)
        ]

    def group_fields(self, groups: NDArray[np.int64], chosen: Chosen) -> list[dict[str, Any]]:
        """Fields of ``GroupChoice`` of some groups; ``chosen`` has these groups alone."""
        columns, above, names, members = chosen.columns, chosen.above, self.formats, self.members
        cells, up = (groups, columns), (groups, np.maximum(above - 1, 0))
        more, change = (self.bits[up] - self.bits[cells]).tolist(), (self.losses[up] - self.losses[cells]).tolist()
        return [
            {
                "layers": members[group],
                "format": names[column],
                "size_bits": size,
                "predicted_loss": loss,
                "standard_error": error,
                "next_up": {"format": names[next_up - 1], "more_bits": bits, "loss_change": better} if next_up else None,
                "fragile": close,
            }
            for group, column, size, loss, error, next_up, bits, better, close in zip(
                groups.tolist(),
                columns.tolist(),
                self.bits[cells].tolist(),
                self.losses[cells].tolist(),
                self.errors[cells].tolist(),
                above.tolist(),
                more,
                change,
                chosen.fragile.tolist(),
                strict=True,
            )
        ]
