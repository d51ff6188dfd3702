"""What a plan says of each layer and each layer group: made once for a sheet, then shared by all documents.

Plans of very many layers share nothing: their choices are made, and written, all in one go.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar, final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from pydantic_core import to_json

from planner.build import Classes
from planner.schemas.base import Shared
from planner.schemas.choices import Choice, GroupChoice
from planner.services.collector import collector_paused
from planner.services.plan_sheets import Chosen, PlanSheet

MOST_KEPT: Final = 8192
"""Choices that one sheet keeps. A plan of 224 layers has twice as many choices; the largest models make theirs anew."""

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
    """The JSON of choices, comma-separated: of each what was written for other plans already."""
    return ",".join(map(_WRITTEN, parts))


@final
class FromSheet(list[Made], Generic[Made]):
    """Choices that can be made again from a sheet and what was chosen of it: of them a stored plan keeps no more than that."""

    def __init__(self, made: Sequence[Made], choices: "PlanChoices", chosen: Chosen) -> None:
        """The choices ``made`` are what ``choices`` has for ``chosen``."""
        super().__init__(made)
        self.choices = choices
        self.chosen = chosen


class PlanChoices:
    """The choices of one sheet's layers and groups; documents are frozen, so plans may share them."""

    def __init__(self, sheet: PlanSheet) -> None:
        """Choices of which none is made yet."""
        self.sheet = sheet
        self._choices: dict[int, Choice] = {}
        self._group_choices: dict[int, GroupChoice] = {}

    @property
    def bytes(self) -> int:
        """About what they can come to take, with their sheet."""
        kept = 0 if self.are_very_many else KEPT_BYTES * min(MOST_KEPT, 2 * self.sheet.bits.size)
        return self.sheet.bytes + kept

    def of(self, chosen: Chosen) -> dict[str, Any]:
        """Fields of ``PlanDocument``: what a plan gives its layers and groups."""
        return {"choices": self.of_layers(chosen), "groups": self.of_groups(chosen)}

    @property
    def are_very_many(self) -> bool:
        """So many layers that nothing of them is kept."""
        return len(self.sheet.names) > MOST_KEPT

    @property
    def is_full(self) -> bool:
        """No choice that is made from now on is shared with other plans."""
        return len(self._choices) + len(self._group_choices) >= MOST_KEPT

    def written(self, chosen: Chosen) -> tuple[str, str]:
        """The JSON of ``of_layers`` and of ``of_groups``, comma-separated; no documents are made of very many layers for it."""
        if not self.are_very_many:
            return written(self.of_layers(chosen)), written(self.of_groups(chosen))
        with collector_paused:
            layers, groups = (to_json(fields, inf_nan_mode="null")[1:-1].decode() for fields in self.sheet.fields(chosen))
        return layers, groups

    def of_layers(self, chosen: Chosen) -> FromSheet[Choice]:
        """What a plan gives every layer, in model order."""
        columns = chosen.columns[self.sheet.group_of_layer]
        made = self._kept(self._choices, self._make_layers, (len(columns), len(self.sheet.formats)), columns)
        return FromSheet(made, self, chosen)

    def of_groups(self, chosen: Chosen) -> FromSheet[GroupChoice]:
        """What a plan gives every layer group, and why."""
        groups, formats = self.sheet.bits.shape
        parts = (chosen.columns, chosen.above, chosen.fragile)
        made = self._kept(self._group_choices, self._make_groups, (groups, formats, formats + 1, 2), *parts)
        return FromSheet(made, self, chosen)

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
        return _LAYERS.validate_python(self.sheet.layer_fields(layers, columns))

    def _make_groups(self, groups: NDArray[np.int64], *chosen: NDArray[np.int64]) -> list[GroupChoice]:
        columns, above, fragile = chosen
        return _GROUPS.validate_python(self.sheet.group_fields(groups, Chosen(columns, above, fragile.astype(np.bool_))))
