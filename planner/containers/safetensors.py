"""Checkpoints of safetensors: headers of the files, and the index where there may be several.

A header has an entry for each tensor, and how many tensors a layer has, and how long their shapes are, depends on its format.
Counted is what takes most among the formats that the runtime allows, so that the bytes beside the tensors are the same for every
plan of a model.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from typing_extensions import override

from planner.containers.port import AbstractContainer, ContainedModel
from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.checkpoint.safetensors_layout import (
    INDEX_LINE_BYTES,
    SHARD_BYTES,
    aligned,
    empty_header_bytes,
    empty_index_bytes,
    entry_bytes,
    most_shards,
    quoted_bytes,
)
from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import all_formats, get_format
from sensitivity.formats.stored import Parts, StoredPart, stored_bits

WORDS: Final = {"bfloat16": "BF16", "float16": "F16", "float32": "F32", "float64": "F64"}
WIDTHS: Final = {"F32": 4, "F64": 8}
"""Bytes of an element that is not planned, where they are not two."""
QUOTES: Final = len('""')

ClassBytes = Callable[[CandidateFormat | None, Layer | None, str], int]
"""Bytes that the metadata of a header say of one parameter, without its name: format and layer (none: as it is), the dtype."""


def itself(name: str) -> str:
    """The name in the checkpoint."""
    return name


def alone(layer: Layer) -> str | None:
    """No layer shares its tensors with another."""
    return None


@dataclass(frozen=True, slots=True)
class _Unit:
    """A layer, or the layers that are stacked to one: what its tensors' names begin with, and whether it is a stack."""

    name: str
    layers: tuple[Layer, ...]
    is_stack: bool

    @property
    def key(self) -> tuple[object, ...]:
        """What the tensors of a unit depend on, its name apart."""
        return self.layers[0].shape, self.layers[0].expert is None, len(self.layers), self.is_stack


@dataclass(frozen=True, slots=True)
class _Files:
    """What entries depend on: how many files there may be, the digits of their greatest offset, the dtype of what is kept."""

    count: int
    digits: int
    dtype: str

    @property
    def names(self) -> int:
        """How often a tensor's name is written: in a header, and in the index if there may be one."""
        return 1 if self.count == 1 else 2

    def beside(self, dtype: str, shape: Sequence[int]) -> int:
        """Bytes of a tensor's entries without its name, which is in quotes each time."""
        line = 0 if self.count == 1 else INDEX_LINE_BYTES
        return entry_bytes(dtype, shape, digits=self.digits) + self.names * QUOTES + line


@dataclass(frozen=True, slots=True)
class _Taken:
    """What the entries of a unit take in one format: its name so many times, and bytes beside."""

    names: int
    beside: int


@final
@dataclass(frozen=True, slots=True)
class SafetensorsContainer(AbstractContainer):
    """Files of safetensors in one target's packing.

    Attributes:
        target: the export target.
        parts: the tensors of a layer in a format.
        named: name of a tensor in the new files, from that in the checkpoint.
        stack: what a layer is stacked under; ``None`` for a layer alone.
        stacks_all: layers that are not quantized are stacked, too.
        metadata: ``format`` in the headers.
        class_bytes: what the headers say of each parameter, if they do.
        shard_bytes: greatest sum of the tensors of a file.
    """

    target: str
    parts: Parts
    named: Callable[[str], str] = itself
    stack: Callable[[Layer], str | None] = alone
    stacks_all: bool = True
    metadata: str = "pt"
    class_bytes: ClassBytes | None = None
    shard_bytes: int = SHARD_BYTES

    @override
    def bytes_beside(
        self, model: ContainedModel, planned: Sequence[Layer], ignored: Sequence[Layer], runtime: RuntimeProfile
    ) -> int:
        units = [(unit.key, unit) for unit in self._units(planned)]
        kinds = dict(units)
        stored = {key: self._stored(unit, runtime) for key, unit in kinds.items()}
        kept = [(self.named(tensor.name), tensor.shape) for tensor in model.rest]
        kept += [(f"{unit.name}.weight", _stacked_shape(unit)) for unit in self._units(ignored, stacked=self.stacks_all)]
        largest = {key: max(map(stored_bits, found.values())) // 8 for key, found in stored.items()}
        dtype = WORDS.get(model.dtype, "BF16")
        data = sum(largest[key] for key, _ in units) + WIDTHS.get(dtype, 2) * sum(math.prod(shape) for _, shape in kept)
        files = _Files(most_shards(data, self.shard_bytes), len(str(data)), dtype)
        taken = {
            key: _most(self._taken(kinds[key], fmt, parts, files) for fmt, parts in found.items())
            for key, found in stored.items()
        }
        beyond = {key: _packed_beyond(kinds[key], found, runtime) for key, found in stored.items()}
        total = 0
        for key, unit in units:
            name = _name_bytes(unit)
            total += max(names * name + beside for names, beside in taken[key].items()) + beyond[key]
        total += sum(self._kept(name, shape, files) for name, shape in kept)
        total += files.count * self._empty_header() + (empty_index_bytes(data) if files.count > 1 else 0)
        return aligned(total)

    def _units(self, layers: Sequence[Layer], *, stacked: bool = True) -> list[_Unit]:
        units: list[_Unit] = []
        stacks: dict[str, list[Layer]] = {}
        for layer in layers:
            stack = self.stack(layer) if stacked else None
            if stack is None:
                units.append(_Unit(self.named(layer.name), (layer,), is_stack=False))
            else:
                stacks.setdefault(stack, []).append(layer)
        return [*units, *(_Unit(name, tuple(members), is_stack=True) for name, members in stacks.items())]

    def _stored(self, unit: _Unit, runtime: RuntimeProfile) -> dict[CandidateFormat, list[StoredPart]]:
        """The tensors of a unit in every format that the runtime allows and the packing stores, and as it is."""
        layer = unit.layers[0]
        allowed = [fmt for fmt in all_formats() if runtime.refusal(fmt, layer) is None]
        found = {}
        for fmt in (get_format("BF16"), *allowed):
            try:
                found[fmt] = self._parts(unit, fmt)
            except UnsupportedShapeError:
                continue
        return found

    def _parts(self, unit: _Unit, fmt: CandidateFormat) -> list[StoredPart]:
        parts = self.parts(fmt, unit.layers[0].shape)
        if not unit.is_stack:
            return list(parts)
        if self._stays_apart(unit, fmt):
            return [part for _ in unit.layers for part in parts]
        return [StoredPart(part.name, part.dtype, _stacked_shape(unit, part.shape)) for part in parts]

    def _stays_apart(self, unit: _Unit, fmt: CandidateFormat) -> bool:
        return unit.is_stack and not fmt.is_quantized and not self.stacks_all

    def _taken(self, unit: _Unit, fmt: CandidateFormat, parts: Sequence[StoredPart], files: _Files) -> _Taken:
        beside = sum(files.beside(part.dtype, part.shape) + files.names * len(f".{part.name}") for part in parts)
        if self.class_bytes is None:
            return _Taken(files.names * len(parts), beside)
        parameters = len(parts) if self._stays_apart(unit, fmt) else 1
        said = self.class_bytes(fmt if fmt.is_quantized else None, unit.layers[0], files.dtype) + 2 * len(".weight")
        return _Taken(files.names * len(parts) + 2 * files.count * parameters, beside + files.count * parameters * said)

    def _kept(self, name: str, shape: Sequence[int], files: _Files) -> int:
        plain = quoted_bytes(name) - QUOTES
        found = files.beside(files.dtype, shape) + files.names * plain
        return (
            found if self.class_bytes is None else found + files.count * (2 * plain + self.class_bytes(None, None, files.dtype))
        )

    def _empty_header(self) -> int:
        names = {} if self.class_bytes is None else {"tensor_names": "[]"}
        return empty_header_bytes({"format": self.metadata, **names})


def _packed_beyond(unit: _Unit, stored: Mapping[CandidateFormat, Sequence[StoredPart]], runtime: RuntimeProfile) -> int:
    """Bytes that the packing has beyond what the runtime counts: none, but where the runtime is no engine in particular."""
    shape = unit.layers[0].shape
    counted = ((stored_bits(parts), len(unit.layers) * runtime.size_bits(fmt, shape)) for fmt, parts in stored.items())
    return max(0, *(-(-(bits - planned) // 8) for bits, planned in counted))


def _most(taken: Iterable[_Taken]) -> dict[int, int]:
    """Of the formats that write names so many times, the most bytes beside."""
    found: dict[int, int] = {}
    for one in taken:
        found[one.names] = max(one.beside, found.get(one.names, 0))
    return found


def _name_bytes(unit: _Unit) -> int:
    """Of the longest name that a tensor of the unit begins with: a layer of a stack that stays apart has one of its own."""
    if not unit.is_stack:
        return quoted_bytes(unit.name) - QUOTES
    return max(quoted_bytes(name) for name in (unit.name, *(layer.name for layer in unit.layers))) - QUOTES


def _stacked_shape(unit: _Unit, shape: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Shape of a unit's tensor, from that of a layer's (by default of its weight): projections of an expert above each other."""
    one = unit.layers[0].shape if shape is None else shape
    if not unit.is_stack:
        return one
    experts = len({layer.expert for layer in unit.layers})
    return (experts, one[0] * (len(unit.layers) // experts), *one[1:]) if one else (experts,)
