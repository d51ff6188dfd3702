"""What a plan says of each layer and each layer group: made once, then shared by all documents.

Plans of very many layers share nothing: their choices are made, and written, all in one go.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from planner.build import Classes, GroupCurves
from planner.runtimes.profile import RuntimeProfile
from planner.schemas.base import Shared
from planner.schemas.choices import Choice, GroupChoice
from planner.services.collector import collector_paused
from planner.solving import Solved

MOST_KEPT: Final = 8192
"""Choices that one question keeps. A plan of 224 layers has twice as many choices; the largest models make theirs anew."""

KEPT_BYTES: Final = 1400
"""About what one of them takes: a validated document of a handful of fields, its JSON, and its place in a dictionary."""

Made = TypeVar("Made", bound=Shared)

_WRITTEN: Final = attrgetter("written")
_LAYERS: Final = TypeAdapter(list[Choice])
_GROUPS: Final = TypeAdapter(list[GroupChoice])


def most_bytes(classes: Classes) -> int:
    """About what the choices of one question can come to take."""
    return 0 if len(classes.layers) > MOST_KEPT else KEPT_BYTES * min(MOST_KEPT, 2 * classes.legal.size)


def written(parts: Sequence[Choice] | Sequence[GroupChoice]) -> str:
    """The JSON of choices, comma-separated: of each what was written for other plans already, unless they are very many."""
    if len(parts) <= MOST_KEPT:
        return ",".join(map(_WRITTEN, parts))
    adapter: TypeAdapter[Any] = _LAYERS if isinstance(parts[0], Choice) else _GROUPS
    return adapter.dump_json(parts)[1:-1].decode()


class PlanChoices:
    """The choices of one question's layers and groups; documents are frozen, so plans may share them."""

    def __init__(self, classes: Classes, curves: GroupCurves, runtime: RuntimeProfile) -> None:
        """Choices of which none is made yet.

        Args:
            classes: layer groups.
            curves: the losses that plans are made with.
            runtime: whose packing counts the bits.
        """
        self._classes = classes
        self._curves = curves
        self._runtime = runtime
        self._members = [[classes.layers[i].name for i in members] for members in classes.groups]
        shapes = {shape: number for number, shape in enumerate(dict.fromkeys(layer.shape for layer in classes.layers))}
        self._shapes = list(shapes)
        self._shape_of_layer = np.array([shapes[layer.shape] for layer in classes.layers], dtype=np.int64)
        self._choices: dict[int, Choice] = {}
        self._group_choices: dict[int, GroupChoice] = {}
        self._sizes = np.full((len(shapes), len(classes.formats)), -1, dtype=np.int64)

    def of_layers(self, solved: Solved) -> list[Choice]:
        """What the plan gives every layer, in model order."""
        columns = solved.proved.choice[self._classes.group_of_layer]
        return self._kept(self._choices, self._make_layers, (columns.shape[0], self._classes.legal.shape[1]), columns)

    def of_groups(self, solved: Solved) -> list[GroupChoice]:
        """What the plan gives every layer group, and why."""
        count, formats = len(self._members), self._classes.legal.shape[1]  # groups of caches come behind those of weights
        parts = (solved.proved.choice[:count], solved.next_up[:count] + 1, solved.fragile[:count])
        return self._kept(self._group_choices, self._make_groups, (count, formats, formats + 1, 2), *parts)

    def _kept(
        self, kept: dict[int, Made], make: Callable[..., list[Made]], shape: tuple[int, ...], *parts: NDArray[np.int64 | np.bool_]
    ) -> list[Made]:
        """One choice for each position on the first axis of ``shape``, by the other parts of its key; what is missing is made."""
        positions = [np.arange(shape[0]), *(part.astype(np.int64) for part in parts)]
        if shape[0] > MOST_KEPT:
            with collector_paused:
                return make(*positions)
        keys = np.ravel_multi_index(positions, shape).tolist()
        try:
            return list(map(kept.__getitem__, keys))
        except KeyError:
            missing = [place for place, key in enumerate(keys) if key not in kept]
        found = dict(zip([keys[place] for place in missing], make(*(part[missing] for part in positions)), strict=True))
        room = max(0, MOST_KEPT - len(self._choices) - len(self._group_choices))
        kept.update(islice(found.items(), room))
        return [found[key] if key in found else kept[key] for key in keys]

    def _make_layers(self, layers: NDArray[np.int64], columns: NDArray[np.int64]) -> list[Choice]:
        classes, names = self._classes, [fmt.name for fmt in self._classes.formats]
        given = (layers, classes.group_of_layer[layers], columns, self._size_bits(self._shape_of_layer[layers], columns))
        fields = [
            {
                "layer": (layer := classes.layers[index]).name,
                "kind": layer.kind,
                "block": layer.block,
                "group": group,
                "format": names[column],
                "size_bits": size,
            }
            for index, group, column, size in zip(*(part.tolist() for part in given), strict=True)
        ]
        return _LAYERS.validate_python(fields)

    def _size_bits(self, shapes: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Stored bits of layers by their shapes and columns; each shape in each format is counted once."""
        missing = self._sizes[shapes, columns] < 0
        for shape, column in set(zip(shapes[missing].tolist(), columns[missing].tolist(), strict=True)):
            self._sizes[shape, column] = self._runtime.size_bits(self._classes.formats[column], self._shapes[shape])
        return self._sizes[shapes, columns]

    def _make_groups(
        self, groups: NDArray[np.int64], columns: NDArray[np.int64], above: NDArray[np.int64], fragile: NDArray[np.int64]
    ) -> list[GroupChoice]:
        """``above`` is 0 where no larger format is useful, else one more than its column."""
        names, cells, up = [fmt.name for fmt in self._classes.formats], (groups, columns), (groups, np.maximum(above - 1, 0))
        sizes, losses = self._classes.sizes, self._curves.loss
        more, change = (sizes[up] - sizes[cells]).tolist(), (losses[up] - losses[cells]).tolist()
        fields = [
            {
                "layers": self._members[group],
                "format": names[column],
                "size_bits": size,
                "predicted_loss": loss,
                "standard_error": error,
                "next_up": {"format": names[next_up - 1], "more_bits": bits, "loss_change": better} if next_up else None,
                "fragile": bool(close),
            }
            for group, column, size, loss, error, next_up, bits, better, close in zip(
                groups.tolist(),
                columns.tolist(),
                sizes[cells].tolist(),
                losses[cells].tolist(),
                self._curves.standard_error[cells].tolist(),
                above.tolist(),
                more,
                change,
                fragile.tolist(),
                strict=True,
            )
        ]
        return _GROUPS.validate_python(fields)
